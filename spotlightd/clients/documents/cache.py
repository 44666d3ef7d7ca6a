"""A cache of documents that are only in the bucket: a folder of bounded size. The least recently read are evicted first.

A document is downloaded once, however many readers wait for it, and the download continues when they leave. It is written
under a random name, in space that was reserved before, and gets its own name only when its digest is right. So a damaged
or partial copy is never read from the cache. A file is leased while any process reads it, and is not evicted then. The
folder holds the whole state of the cache (size and last read of each file), so that several processes can share it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from spotlightd.clients.atomic import AtomicFile, remove_leftovers, translate_os_errors
from spotlightd.clients.disk import measure_disk
from spotlightd.clients.documents.leases import Lease, await_lease, lease_file, remove_unless_leased
from spotlightd.errors import StoreError
from spotlightd.files import open_lock
from spotlightd.model.bucket import check_digest, document_key
from spotlightd.model.disk import percent_of
from spotlightd.ports.storage import Bucket

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
MAX_DOWNLOADS = 2
MAX_PENDING = 32
TRIES = 3
INCOMING = "incoming"
LOCK = "lock"


class NoRoomError(StoreError):
    """The cache has no room for a document now; the document can still be streamed from the bucket."""


class DocumentCache:
    """The cache. Opening it only removes what a crash left, so that several processes may have it open.

    `most_bytes` bounds all files together. The cache stops growing when its disk is `most_percent` full.
    """

    def __init__(self, root: Path, bucket: Bucket, *, most_bytes: int, most_percent: float = 100.0) -> None:
        self._root, self._bucket = root, bucket
        self._most_bytes, self._most_percent = most_bytes, most_percent
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="document cache")
        self._slots = asyncio.Semaphore(MAX_DOWNLOADS)
        self._downloads: dict[str, asyncio.Task[bool]] = {}

    async def __aenter__(self) -> Self:
        await self._run(_remove_leftovers, self._root)
        return self

    async def __aexit__(self, *_: object) -> None:
        downloads = list(self._downloads.values())
        for task in downloads:
            task.cancel()
        if downloads:
            await asyncio.wait(downloads)
        await asyncio.to_thread(self._threads.shutdown)

    async def lease(self, digest: str) -> Lease | None:
        """A lease on the document's file; None when the bucket has no such document.

        NoRoomError when the cache has no room for it now; StoreError when the bucket does not answer, or the bytes in it
        have another digest.
        """
        for _ in range(TRIES):  # a file that was downloaded may be evicted before it is leased
            lease = await await_lease(self._run(_lease_and_touch, self._root / check_digest(digest)))
            if lease or not await self._ensure_downloaded(digest):
                return lease
        raise NoRoomError(
            f"{self._root} is too small for all documents that are read at the same time: raise documents.cache_bytes"
        )

    async def stream_from_bucket(
        self, digest: str, *, first: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes]:
        """The document, or a range of it, directly from the bucket. StoreError at the end of a whole document if its bytes
        have another digest.
        """
        actual = hashlib.sha256()
        with _name_document(digest):
            async for piece in self._bucket.read(document_key(digest), first=first, length=length):
                actual.update(piece)
                yield piece
        if first or length is not None:
            return
        if actual.hexdigest() != digest:
            raise StoreError(
                f"the copy of document {digest} in the bucket is damaged: its bytes have another SHA-256;"
                " restore it from a backup"
            )

    async def evict_all(self) -> int:
        """Evict all files that nobody reads; returns how many bytes that freed."""
        return await self._run(_evict_all, self._root)

    async def _ensure_downloaded(self, digest: str) -> bool:
        task = self._downloads.get(digest)
        if task is None:
            if len(self._downloads) >= MAX_PENDING:
                raise NoRoomError(f"{MAX_PENDING} documents are being downloaded from the bucket: try again in a while")
            task = asyncio.create_task(self._download(digest), name=f"document {digest[:12]}")
            self._downloads[digest] = task
            task.add_done_callback(lambda finished: self._forget_download(digest, finished))
        return await asyncio.shield(task)

    def _forget_download(self, digest: str, task: asyncio.Task[bool]) -> None:
        del self._downloads[digest]
        if not task.cancelled():
            task.exception()  # read it, so that asyncio does not warn when nobody waits for the task

    async def _download(self, digest: str) -> bool:
        """Download a document; false when the bucket does not have it."""
        async with self._slots:
            with _name_document(digest):
                bucket_object = await self._bucket.head(document_key(digest))
            if bucket_object is None:
                return False
            incoming_file = AtomicFile(self._root / INCOMING)
            try:
                await self._run(self._reserve, incoming_file, bucket_object.size)
                async with aclosing(self.stream_from_bucket(digest)) as pieces:
                    async for piece in pieces:
                        await self._run(incoming_file.write, piece)
                await self._run(incoming_file.commit, lambda finished, *_: _link(finished, self._root / digest))
            finally:
                await asyncio.shield(self._run(incoming_file.discard))
            return True

    def _reserve(self, incoming_file: AtomicFile, size: int) -> None:
        """Reserve space for a file, and evict files that nobody reads if necessary. One process at a time."""
        (self._root / INCOMING).mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(open_lock(self._root / LOCK), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            remove_leftovers(self._root / INCOMING)
            self._make_room(size)
            incoming_file.open()
            try:
                incoming_file.reserve(size)
            except OSError as problem:
                if problem.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise NoRoomError(f"{self._root} has no room for {size:,} bytes: free space there") from problem
                raise

    def _make_room(self, size: int) -> None:
        spare = self._most_bytes - _total_bytes(self._root) - size
        for path, file_size in _list_by_use(self._root):
            if spare >= 0 and not self._would_fill_disk(size):
                return
            spare += file_size if remove_unless_leased(path) else 0
        if spare < 0:
            raise NoRoomError(
                f"{self._root} may hold {self._most_bytes:,} bytes, and has no room for {size:,} besides the files that"
                " are being read: raise documents.cache_bytes"
            )
        if self._would_fill_disk(size):
            raise NoRoomError(f"the disk of {self._root} is too full for {size:,} more bytes: free space there")

    def _would_fill_disk(self, size: int) -> bool:
        """Whether that many more bytes would fill the disk beyond the limit."""
        disk = measure_disk(self._root)
        return percent_of(disk.used + size, disk.size) > self._most_percent

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run disk work in one of the cache's threads. Errors of the disk are raised as StoreError."""

        def run_translated() -> T:
            with translate_os_errors("document cache", self._root, "the reading"):
                return work(*args, **kwargs)

        return asyncio.get_running_loop().run_in_executor(self._threads, run_translated)


@contextmanager
def _name_document(digest: str) -> Iterator[None]:
    """Add the document to an error of the bucket."""
    try:
        yield
    except StoreError as problem:
        raise StoreError(
            f"document {digest} is not in the folder, and cannot be read from the bucket now: {problem}",
            slow=problem.slow,
        ) from problem


def _lease_and_touch(path: Path) -> Lease | None:
    """Lease the file, and mark it as the most recently read."""
    lease = lease_file(path)
    if lease:
        now = time.time_ns()  # the kernel's own file times advance only every few milliseconds
        os.utime(path, ns=(now, now))
    return lease


def _link(finished: Path, target: Path) -> None:
    """Name the file. The bytes are durable; the name need not be, because a file lost in a crash is downloaded again. The
    random name is removed at once, so that the file is not counted twice.
    """
    with suppress(FileExistsError):  # another process downloaded it too
        os.link(finished, target)
    finished.unlink()


def _files(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_file() and path.name != LOCK] if root.is_dir() else []


def _list_by_use(root: Path) -> list[tuple[Path, int]]:
    """The finished files with their sizes, least recently read first."""
    return [(path, stat.st_size) for path, stat in sorted(_stat_files(root), key=lambda pair: pair[1].st_mtime_ns)]


def _total_bytes(root: Path) -> int:
    """Bytes of all files; a file that is being downloaded counts with the space reserved for it."""
    return sum(stat.st_size for _, stat in (*_stat_files(root), *_stat_files(root / INCOMING)))


def _stat_files(root: Path) -> list[tuple[Path, os.stat_result]]:
    files = list[tuple[Path, os.stat_result]]()
    for path in _files(root):
        with suppress(FileNotFoundError):  # another process removed it
            files.append((path, path.stat()))
    return files


def _remove_leftovers(root: Path) -> int:
    return remove_leftovers(root / INCOMING) if (root / INCOMING).is_dir() else 0


def _evict_all(root: Path) -> int:
    before = _total_bytes(root)
    for path in _files(root):
        remove_unless_leased(path)
    return before - _total_bytes(root)
