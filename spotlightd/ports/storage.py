"""Ports for bytes: documents, the bucket, file systems."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spotlightd.model.disk import Measured


@dataclass(frozen=True, slots=True)
class Stored:
    digest: str
    size: int
    new: bool


class Documents(Protocol):
    """The bytes that publishers sent, under their SHA-256, never changed: in a folder, or in the bucket alone."""

    async def ping(self) -> None:
        """StoreError unless an object can be written and read back."""

    async def put(self, chunks: AsyncIterator[bytes]) -> Stored:
        """Keep the bytes. Durable when it returns; nothing is left behind when `chunks` raises."""

    def file(self, digest: str) -> AbstractAsyncContextManager[Path]:
        """A local file with the document's bytes, for a parser; it stays while the block runs. StoreError when there is
        none, and when it is in the bucket alone and cannot be had from there now.
        """

    def read(self, digest: str) -> AsyncGenerator[bytes]:
        """The document's bytes in pieces of at most 1 MiB. StoreError as of `file`, or at the end if they are damaged."""


@dataclass(frozen=True, slots=True)
class Object:
    """What a bucket says of one object. `digest` is the SHA-256 that was given at `put`, empty where it is not known."""

    key: str
    size: int
    digest: str = ""


class Bucket(Protocol):
    """Objects by key, where old data goes: a folder, or any S3. An object never changes, and nothing here deletes one.

    A key is words with `/` between them (model/bucket.py); a key that continues another behind a `/` may be refused, or
    not be listed, so nobody makes one. Every call to the store has a time-out, also where an answer
    takes many of them. What the store refuses is a StoreError that names the store and the remedy.
    """

    async def ping(self) -> None:
        """StoreError unless the store does what is asked of it here, tried with a probe of our own: put, create-only
        put, ranged get, list, delete of the probe. It says which of them the store does not do.
        """

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        """Keep the bytes, which have that SHA-256, under the key: whole or not at all, durable when it returns. An
        object of the same digest and size that is there already is left as it is; another one is a StoreError.
        """

    def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes, or some of them, in pieces of at most 1 MiB. StoreError when there is none, or fewer."""

    async def head(self, key: str) -> Object | None:
        """None when there is no such object; StoreError when that cannot be known."""

    def list(self, prefix: str) -> AsyncIterator[Object]:
        """All objects whose keys begin so, in the order of their keys as bytes; digests are not told."""

    async def sweep(self) -> int:
        """End uploads that were never finished, begun a day ago or more or by a process that is gone; how many."""

    def table(self, keys: Sequence[str], structure: str) -> str:
        """What stands behind FROM for the warehouse to read these Parquet objects as one table of that structure
        (`name Type, …`). It holds no secret. An object that is not there, that is empty, or that lacks a column is an
        error of the question, never a shorter answer or one with something filled in.
        """


class Disks(Protocol):
    """The file systems of this machine. A disk may hang: every call ends in time, with StoreError then."""

    async def measure(self, folder: Path) -> Measured:
        """The file system of a folder, or of the nearest one above it that exists."""

    async def taken(self, file: Path) -> int:
        """Bytes that a file takes on its disk; 0 when there is none."""

    async def reserve(self, file: Path, size: int) -> None:
        """Make a file that takes so many bytes, for our eyes only, durable. StoreError when they are not really taken;
        then there is no file.
        """

    async def remove(self, file: Path) -> None:
        """Remove a file, if there is one, for good."""
