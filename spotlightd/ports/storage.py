"""Ports for bytes: documents, the bucket, file systems."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spotlightd.model.bundle import Manifest
from spotlightd.model.disk import DiskUsage
from spotlightd.model.document_tiers import LocalDocument


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The result of storing a document. `new` is false when the same bytes were stored before."""

    digest: str
    size: int
    new: bool


class Documents(Protocol):
    """The bytes that publishers sent, under their SHA-256, never changed. They are in a folder, or only in the bucket."""

    async def ping(self) -> None:
        """StoreError unless an object can be written and read back."""

    async def put(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store the bytes. They are durable when this returns; nothing stays behind when `chunks` raises."""

    def file(self, digest: str) -> AbstractAsyncContextManager[Path]:
        """A local file with the document's bytes, for a parser; it exists while the block runs. StoreError when there is
        no such document, and when it is only in the bucket and the bucket cannot be read now.
        """

    def read(self, digest: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The document's bytes, or a range of them, in pieces of at most 1 MiB. StoreError as in `file`, when the range is
        not there, and at the end of a whole document that is damaged.
        """


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a bucket. `digest` is the SHA-256 that was given to `put`, empty where it is not known.

    Objects written by other programs carry no digest.
    """

    key: str
    size: int
    digest: str = ""


class Bucket(Protocol):
    """Objects by key, where old data goes: a folder, or any S3 store. Objects never change and are never deleted.

    A key is one or more words with `/` between them (model/bucket.py). No key may extend another one behind a `/`: a
    store may refuse such a key, or not list it. Every request to the store has a time-out, also where a call needs many
    requests. A refusal by the store is a StoreError that names the store and the remedy.
    """

    async def ping(self) -> None:
        """StoreError unless the store supports what this port needs. A probe object is used for: put, create-only put,
        ranged get, list, delete of the probe. The error names what the store does not support.
        """

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        """Store the bytes, which have that SHA-256, under the key: whole or not at all, durable when this returns. An
        existing object of the same digest and size is left as it is; any other existing object is a StoreError.
        """

    def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes, or a range of them, in pieces of at most 1 MiB. StoreError when there is no such object,
        or when it is shorter.
        """

    async def head(self, key: str) -> Object | None:
        """None when there is no such object; StoreError when that cannot be determined."""

    def list(self, prefix: str) -> AsyncIterator[Object]:
        """All objects whose keys start with the prefix, ordered by the bytes of their keys, without digests."""

    async def sweep(self) -> int:
        """End unfinished uploads that started a day ago or more, or whose process has ended. Returns how many."""

    def table(self, keys: Sequence[str], structure: str) -> str:
        """The text after FROM with which the warehouse reads these Parquet objects as one table of that structure
        (`name Type, …`). It contains no secret. An object that is missing or empty, or that lacks a column, fails the
        query: the answer is never shortened and never filled in.
        """


class Disks(Protocol):
    """The file systems of this machine. A disk may hang: every call has a time limit, and raises StoreError then."""

    async def measure(self, folder: Path) -> DiskUsage:
        """The file system of a folder, or of its nearest parent that exists."""

    async def allocated_bytes(self, file: Path) -> int:
        """Bytes that a file occupies on its disk; 0 when it does not exist."""

    async def reserve(self, file: Path, size: int) -> None:
        """Create a durable file that occupies that many bytes, readable by this user only. StoreError when the space
        cannot really be allocated; the file does not exist then.
        """

    async def remove(self, file: Path) -> None:
        """Remove a file if it exists."""


class LocalDocuments(Protocol):
    """The documents that are in the folder. `Documents` also reads those that are only in the bucket."""

    def file(self, digest: str) -> AbstractAsyncContextManager[Path]:
        """The document's file; it exists while the block runs."""

    def local(self) -> AsyncIterator[LocalDocument]:
        """All documents in the folder, ordered by digest."""

    async def drop(self, digest: str) -> bool:
        """Remove the file unless it is being read. True when the file no longer exists."""


class MemberWriter(Protocol):
    """Writes the members of a bundle in order."""

    async def add(self, name: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """Add a member of that many bytes. StoreError when `chunks` has another length, or the disk fails."""


class OpenBundle(Protocol):
    """A checked bundle: its members are those of its manifest, byte for byte."""

    @property
    def manifest(self) -> Manifest: ...

    def read(self, name: str) -> AsyncIterator[bytes]:
        """A member's bytes in pieces. FormatError at the end if they changed since the bundle was checked."""
