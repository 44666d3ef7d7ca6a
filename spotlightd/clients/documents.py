"""The raw store in a folder: every document under the SHA-256 of its bytes, at `root/ab/cd/abcd…`, never changed.

An object appears whole or not at all: bytes go to `root/incoming`, are hashed on the way and flushed, and only then is
the finished file linked to its name, which cannot replace one that is there. The folders are flushed last, each time:
an earlier attempt may have died between making a name and making it durable.

Only one daemon may use a root (the lock of the state folder sees to it), so what lies in `incoming` at opening is what
a crash left there. Disk work runs in two threads of our own: a disk that hangs takes those and no more.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from spotlightd.clients.incoming import PIECE_BYTES, Incoming, blaming, flush, piece
from spotlightd.model.errors import StoreError
from spotlightd.model.ports import Stored

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
PING_SECONDS = 10.0
INCOMING = "incoming"

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FolderDocuments:
    """Documents in a folder of this machine.

    Opening it sweeps `incoming`, so only the daemon, or a command that holds the lock, opens it. A command beside a
    running daemon takes it unopened, and only reads.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="documents")
        self._probe: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        await self._run(_prepare, self._root)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def ping(self) -> None:
        """StoreError unless a probe is written and read back within 10 s. One probe at a time, on a disk that hangs."""
        if self._probe is None or self._probe.done():
            self._probe = self._run(_probe, self._root)
        try:
            async with asyncio.timeout(PING_SECONDS):
                await asyncio.shield(self._probe)
        except TimeoutError:
            raise StoreError(
                f"documents folder {self._root} did not answer within {PING_SECONDS:g} s: check its disk"
            ) from None

    async def put(self, chunks: AsyncIterator[bytes]) -> Stored:
        """Keep the bytes; see the port. Memory: one piece of 1 MiB."""
        coming = Incoming(self._root / INCOMING)
        try:
            await self._run(coming.open)
            async with aclosing(pieces(chunks)) as whole:
                async for one in whole:
                    await self._run(coming.write, one)
            return await self._run(coming.keep, self._link)
        finally:
            await asyncio.shield(self._run(coming.discard))

    def path(self, digest: str) -> Path:
        """The object's file; see the port."""
        return _existing(self._root, digest)

    async def read(self, digest: str) -> AsyncGenerator[bytes]:
        """The object's bytes; see the port. StoreError at the end if they are no longer those that were stored."""
        path = await self._run(_existing, self._root, digest)
        seen, offset = hashlib.sha256(), 0
        while found := await self._run(piece, path, offset):
            seen.update(found)
            offset += len(found)
            yield found
        if seen.hexdigest() != digest:
            raise StoreError(
                f"document {path} is damaged: its bytes no longer have its SHA-256; restore it or fetch it again"
            )

    def _link(self, finished: Path, digest: str, size: int) -> Stored:
        return Stored(digest, size, _link(finished, place(self._root, digest), size))

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Disk work in one of our threads; StoreError for what the disk refuses."""

        def blamed() -> T:
            with blaming("documents folder", self._root, "the fetch"):
                return work(*args, **kwargs)

        return asyncio.get_running_loop().run_in_executor(self._threads, blamed)


async def pieces(chunks: AsyncIterator[bytes], size: int = PIECE_BYTES) -> AsyncGenerator[bytes]:
    """The same bytes in pieces of at least `size`, the last one apart: fewer errands to the disk's threads."""
    held, length = [], 0
    async for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length >= size:
            yield b"".join(held)
            held, length = [], 0
    if length:
        yield b"".join(held)


def place(root: Path, digest: str) -> Path:
    """Where an object lies. StoreError for anything but 64 hexadecimal digits: no path is built from it."""
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest[:80]!r} is not a SHA-256 (64 digits of 0-9 and a-f)")
    return root / digest[:2] / digest[2:4] / digest


def _existing(root: Path, digest: str) -> Path:
    path = place(root, digest)
    if not path.is_file():
        raise StoreError(f"there is no document {digest} in {root}")
    return path


def _link(finished: Path, target: Path, size: int) -> bool:
    """Give a finished file its name; false if the object was there. Durable, folders and all, in both cases."""
    cd, ab, root = target.parent, target.parent.parent, target.parent.parent.parent
    for folder in (ab, cd):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    try:
        os.link(finished, target)
        new = True
    except FileExistsError:
        new = False
        if target.stat().st_size != size:
            raise StoreError(
                f"document {target} is damaged: it has not its length; delete it, it is fetched again"
            ) from None
    for folder in (root, ab, cd):
        flush(folder)
    return new


def _prepare(root: Path) -> None:
    """Make the folders, and remove what a crash left behind."""
    incoming = root / INCOMING
    if not incoming.is_dir():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        incoming.mkdir(mode=0o700)
        flush(root.parent)
        flush(root)
    for left in incoming.iterdir():
        left.unlink()


def _probe(root: Path) -> None:
    path, said = root / INCOMING / f"probe-{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        with path.open("xb", buffering=0) as file:
            file.write(said)
            os.fsync(file.fileno())
        if path.read_bytes() != said:
            raise StoreError(f"documents folder {root} gives back other bytes than were written: check its disk")
    finally:
        path.unlink(missing_ok=True)
