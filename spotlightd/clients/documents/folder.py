"""The documents in a folder: each under the SHA-256 of its bytes, at `root/ab/cd/abcd…`, and never changed.

A document appears complete or not at all. Its bytes are written to `root/incoming`, hashed and flushed. Then the finished
file is linked to its name; a link cannot replace an existing file. The folders are flushed last, every time, because an
earlier attempt may have died after the link and before the flush.

Only one daemon uses a root (the lock of the state folder ensures it), so files in `incoming` at opening were left by a
crash. A file is removed only when its copy in the bucket is verified (flows/upkeep/documents.py) and nobody reads it.
Disk work runs in two threads: a disk that hangs blocks only those.
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

from spotlightd.clients.atomic import PIECE_BYTES, AtomicFile, read_piece, translate_os_errors
from spotlightd.clients.documents.leases import Lease, await_lease, lease_file, remove_unless_leased
from spotlightd.errors import StoreError
from spotlightd.files import flush_folder, open_scratch
from spotlightd.model.document_tiers import LocalDocument
from spotlightd.ports.storage import StoredFile

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
PING_SECONDS = 10.0
INCOMING = "incoming"

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FolderDocuments:
    """Documents in a folder of this machine.

    Opening it empties `incoming`, so only the daemon opens it, or a command that holds the state lock. A command that
    runs beside the daemon does not open it, and only reads.
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
        """StoreError unless a probe is written and read back within 10 s. Only one probe runs at a time."""
        if self._probe is None or self._probe.done():
            self._probe = self._run(_probe, self.root)
        try:
            async with asyncio.timeout(PING_SECONDS):
                await asyncio.shield(self._probe)
        except TimeoutError:
            raise StoreError(
                f"documents folder {self.root} did not answer within {PING_SECONDS:g} s: check its disk"
            ) from None

    async def put(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store the bytes; see the port. Memory: one piece of 1 MiB. A document that is no longer is written in one step."""
        async with aclosing(join_chunks(chunks)) as pieces:
            first = await anext(pieces, b"")
            if len(first) < PIECE_BYTES:
                return await self._run(self._put_whole, first)
            return await self._put_pieces(first, pieces)

    def _put_whole(self, content: bytes) -> StoredFile:
        incoming_file = AtomicFile(self.root / INCOMING)
        try:
            incoming_file.open()
            incoming_file.write(content)
            return incoming_file.commit(self._link)
        finally:
            incoming_file.discard()

    async def _put_pieces(self, first: bytes, others: AsyncIterator[bytes]) -> StoredFile:
        incoming_file = AtomicFile(self.root / INCOMING)
        try:
            await self._run(incoming_file.open)
            await self._run(incoming_file.write, first)
            async for piece in others:
                await self._run(incoming_file.write, piece)
            return await self._run(incoming_file.commit, self._link)
        finally:
            await asyncio.shield(self._run(incoming_file.discard))

    async def lease(self, digest: str) -> Lease | None:
        """A lease on the document's file; None when the folder does not have it."""
        return await await_lease(self._run(lease_file, document_path(self.root, digest)))

    @asynccontextmanager
    async def file(self, digest: str) -> AsyncIterator[Path]:
        """The document's file; see the port."""
        with await self._lease(digest) as path:
            yield path

    async def read(self, digest: str, *, first: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """The document's bytes; see the port."""
        lease = await self._lease(digest)
        async with aclosing(self.read_leased(lease, digest, first=first, length=length)) as pieces:
            async for piece in pieces:
                yield piece

    async def read_leased(
        self, lease: Lease, digest: str, *, first: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes]:
        """The bytes of a leased file, or a range of them; the lease ends with them. StoreError at the end of a whole file if
        the digest is another one, and when the file is shorter than the range.
        """
        if first or length is not None:
            async with aclosing(self._read_range(lease, first, length)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        actual, offset = hashlib.sha256(), 0
        with lease as path:
            while piece := await self._run(read_piece, path, offset):
                actual.update(piece)
                offset += len(piece)
                yield piece
        if actual.hexdigest() != digest:
            raise StoreError(
                f"document {path} is damaged: its bytes no longer have its SHA-256; restore it or fetch it again"
            )

    async def _read_range(self, lease: Lease, first: int, length: int | None) -> AsyncGenerator[bytes]:
        """A part of a file. Its digest is not checked: that would read the whole file for each part."""
        with lease as path:
            size = (await self._run(path.stat)).st_size
            end = size if length is None else first + length
            if not 0 <= first <= end <= size:
                raise StoreError(f"document {path} has {size} bytes: there are no bytes {first} to {end}")
            while first < end:
                piece = await self._run(read_piece, path, first, min(PIECE_BYTES, end - first))
                if not piece:
                    raise StoreError(f"document {path} became shorter while it was read: check its disk")
                first += len(piece)
                yield piece

    async def local(self) -> AsyncGenerator[LocalDocument]:
        """All documents in the folder, ordered by digest. Lists a 256th of them at a time."""
        for number in range(256):
            for document in await self._run(_list_folder, self.root / f"{number:02x}"):
                yield document

    async def drop(self, digest: str) -> bool:
        """Remove the file, unless it is being read; returns whether it is gone."""
        return await self._run(_remove, document_path(self.root, digest))

    async def _lease(self, digest: str) -> Lease:
        lease = await self.lease(digest)
        if lease is None:
            raise StoreError(f"there is no document {digest} in {self.root}")
        return lease

    def _link(self, finished: Path, digest: str, size: int) -> StoredFile:
        return StoredFile(digest, size, _link(finished, document_path(self.root, digest), size))

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run disk work in one of the folder's threads. Errors of the disk are raised as StoreError."""

        def run_translated() -> T:
            with translate_os_errors("documents folder", self.root, "the fetch"):
                return work(*args, **kwargs)

        return asyncio.get_running_loop().run_in_executor(self._threads, run_translated)


async def join_chunks(chunks: AsyncIterator[bytes], size: int = PIECE_BYTES) -> AsyncGenerator[bytes]:
    """The same bytes in pieces of at least `size` (except the last), so that the disk's threads are called less often."""
    joined, length = [], 0
    async for chunk in chunks:
        joined.append(chunk)
        length += len(chunk)
        if length >= size:
            yield b"".join(joined)
            joined, length = [], 0
    if length:
        yield b"".join(joined)


def document_path(root: Path, digest: str) -> Path:
    """The path of a document. StoreError unless the digest is 64 hexadecimal digits: nothing else becomes a path."""
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest[:80]!r} is not a SHA-256 (64 digits of 0-9 and a-f)")
    return root / digest[:2] / digest[2:4] / digest


def _list_folder(folder: Path) -> list[LocalDocument]:
    """The documents in the folders below, by name. Other files are ignored."""
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.glob("*/*") if _DIGEST.fullmatch(path.name))
    stats = [(path.name, path.stat()) for path in paths]
    return [LocalDocument(name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)) for name, stat in stats]


def _remove(path: Path) -> bool:
    is_gone = remove_unless_leased(path)
    if path.parent.is_dir():
        flush_folder(path.parent)
    return is_gone


def _link(finished: Path, target: Path, size: int) -> bool:
    """Give a finished file its name; false if the document already exists. File and folders are durable in both cases."""
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
                f"document {target} is damaged: its length is wrong; delete it, then it is fetched again"
            ) from None
    for folder in (root, ab, cd):
        flush_folder(folder)
    return new


def _prepare(root: Path) -> None:
    """Create the folders, and remove files that a crash left."""
    incoming = root / INCOMING
    if not incoming.is_dir():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        incoming.mkdir(mode=0o700)
        flush_folder(root.parent)
        flush_folder(root)
    for path in incoming.iterdir():
        path.unlink()


def _probe(root: Path) -> None:
    path, content = root / INCOMING / f"probe-{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        with open_scratch(path) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != content:
            raise StoreError(f"documents folder {root} returns other bytes than were written: check its disk")
    finally:
        path.unlink(missing_ok=True)
