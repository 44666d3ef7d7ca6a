"""The raw store in a folder: every document under the SHA-256 of its bytes, at `root/ab/cd/abcd…`, never changed.

An object appears whole or not at all: bytes go to `root/incoming`, are hashed on the way and flushed, and only then is
the finished file linked to its name, which cannot replace one that is there. The folders are flushed last, each time:
an earlier attempt may have died between making a name and making it durable.

Only one daemon may use a root (the lock of the state folder sees to it), so what lies in `incoming` at opening is what
a crash left there. A file goes only when its copy in the bucket is proven (flows/upkeep/documents.py), and never from under a
reader. Disk work runs in two threads of our own: a disk that hangs takes those and no more.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from spotlightd.clients.atomic import PIECE_BYTES, Incoming, blaming, flush, piece
from spotlightd.clients.documents.leases import Lease, handed, pinned, taken_away
from spotlightd.errors import StoreError
from spotlightd.model.document_tiers import Local
from spotlightd.ports.storage import Stored

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
        self.root = root
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="documents")
        self._probe: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        await self._run(_prepare, self.root)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def ping(self) -> None:
        """StoreError unless a probe is written and read back within 10 s. One probe at a time, on a disk that hangs."""
        if self._probe is None or self._probe.done():
            self._probe = self._run(_probe, self.root)
        try:
            async with asyncio.timeout(PING_SECONDS):
                await asyncio.shield(self._probe)
        except TimeoutError:
            raise StoreError(
                f"documents folder {self.root} did not answer within {PING_SECONDS:g} s: check its disk"
            ) from None

    async def put(self, chunks: AsyncIterator[bytes]) -> Stored:
        """Keep the bytes; see the port. Memory: one piece of 1 MiB."""
        coming = Incoming(self.root / INCOMING)
        try:
            await self._run(coming.open)
            async with aclosing(pieces(chunks)) as whole:
                async for one in whole:
                    await self._run(coming.write, one)
            return await self._run(coming.keep, self._link)
        finally:
            await asyncio.shield(self._run(coming.discard))

    async def held(self, digest: str) -> Lease | None:
        """The object's file, which stays while it is held; None when it is not here."""
        return await handed(self._run(pinned, place(self.root, digest)))

    @asynccontextmanager
    async def file(self, digest: str) -> AsyncIterator[Path]:
        """The object's file; see the port."""
        with await self._found(digest) as path:
            yield path

    async def read(self, digest: str) -> AsyncGenerator[bytes]:
        """The object's bytes; see the port."""
        async with aclosing(self.read_held(await self._found(digest), digest)) as whole:
            async for one in whole:
                yield one

    async def read_held(self, held: Lease, digest: str) -> AsyncGenerator[bytes]:
        """The bytes of a file, which is let go at the end. StoreError then if they are not those of that digest."""
        seen, offset = hashlib.sha256(), 0
        with held as path:
            while found := await self._run(piece, path, offset):
                seen.update(found)
                offset += len(found)
                yield found
        if seen.hexdigest() != digest:
            raise StoreError(
                f"document {path} is damaged: its bytes no longer have its SHA-256; restore it or fetch it again"
            )

    async def local(self) -> AsyncGenerator[Local]:
        """All that is here, in the order of their digests, a 256th at a time."""
        for number in range(256):
            for one in await self._run(_listed, self.root / f"{number:02x}"):
                yield one

    async def drop(self, digest: str) -> bool:
        """Remove the file, for good, unless somebody reads it; whether it is gone."""
        return await self._run(_dropped, place(self.root, digest))

    async def _found(self, digest: str) -> Lease:
        held = await self.held(digest)
        if held is None:
            raise StoreError(f"there is no document {digest} in {self.root}")
        return held

    def _link(self, finished: Path, digest: str, size: int) -> Stored:
        return Stored(digest, size, _link(finished, place(self.root, digest), size))

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Disk work in one of our threads; StoreError for what the disk refuses."""

        def blamed() -> T:
            with blaming("documents folder", self.root, "the fetch"):
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


def _listed(folder: Path) -> list[Local]:
    """What lies two folders deep, by name. Other things than documents are not ours to look at."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob("*/*") if _DIGEST.fullmatch(path.name)]
    told = [(path.name, path.stat()) for path in sorted(found)]
    return [Local(name, one.st_size, datetime.fromtimestamp(one.st_mtime, UTC)) for name, one in told]


def _dropped(path: Path) -> bool:
    gone = taken_away(path)
    if path.parent.is_dir():
        flush(path.parent)
    return gone


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
