"""Documents that are in the bucket alone, brought back into a folder of bounded size: least recently read go first.

A document is brought once, however many wait for it, and goes on coming when they have left. It comes in under a name of
no meaning, with its room taken beforehand, and gets its own only when its bytes have its digest: a damaged or torn copy is
never read from here. Files are pinned while they are read, by whichever process, and not evicted then. All that is known
of them is their size and when they were last read, which the folder tells: several processes may share it.
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

from spotlightd.clients.atomic import Incoming, blaming, swept
from spotlightd.clients.disk import measured
from spotlightd.clients.documents.leases import Lease, handed, pinned, taken_away
from spotlightd.errors import StoreError
from spotlightd.model.bucket import digest_of, document_key
from spotlightd.model.disk import percent_of
from spotlightd.ports.storage import Bucket

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
AT_ONCE = 2
MOST_WAITING = 32
TRIES = 3
INCOMING = "incoming"
LOCK = "lock"


class NoRoomError(StoreError):
    """The cache may not grow so far now; the bucket could still be asked."""


class DocumentCache:
    """Nothing is asked or made at opening but what a crash left behind: it may be opened beside another process.

    `most_bytes` bounds all files together; `most_percent` of its disk is where it does not grow any more.
    """

    def __init__(self, root: Path, bucket: Bucket, *, most_bytes: int, most_percent: float = 100.0) -> None:
        self._root, self._bucket = root, bucket
        self._most_bytes, self._most_percent = most_bytes, most_percent
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="document cache")
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._coming: dict[str, asyncio.Task[bool]] = {}

    async def __aenter__(self) -> Self:
        await self._run(_swept, self._root)
        return self

    async def __aexit__(self, *_: object) -> None:
        coming = list(self._coming.values())
        for task in coming:
            task.cancel()
        if coming:
            await asyncio.wait(coming)
        await asyncio.to_thread(self._threads.shutdown)

    async def held(self, digest: str) -> Lease | None:
        """The document's file, which stays while it is held; None when the bucket has no such document. NoRoomError when
        it may not be brought here now; StoreError when the bucket cannot be asked, or has other bytes.
        """
        for _ in range(TRIES):  # what was brought may be evicted before it is pinned
            held = await handed(self._run(_used, self._root / digest_of(digest)))
            if held or not await self._brought(digest):
                return held
        raise NoRoomError(f"{self._root} is too small for all that is read at once: raise documents.cache_bytes")

    async def passed_on(self, digest: str) -> AsyncGenerator[bytes]:
        """The document straight from the bucket. StoreError at the end if its bytes have not that digest."""
        seen = hashlib.sha256()
        with _asked(digest):
            async for piece in self._bucket.read(document_key(digest)):
                seen.update(piece)
                yield piece
        if seen.hexdigest() != digest:
            raise StoreError(
                f"the copy of document {digest} in the bucket is damaged: its bytes have not its SHA-256;"
                " put it back there from a backup"
            )

    async def give_up(self) -> int:
        """Evict all that nobody reads; how many bytes that makes free."""
        return await self._run(_given_up, self._root)

    async def _brought(self, digest: str) -> bool:
        task = self._coming.get(digest)
        if task is None:
            if len(self._coming) >= MOST_WAITING:
                raise NoRoomError(f"{MOST_WAITING} documents are being brought from the bucket: ask again in a while")
            task = asyncio.create_task(self._bring(digest), name=f"document {digest[:12]}")
            self._coming[digest] = task
            task.add_done_callback(lambda done: self._come(digest, done))
        return await asyncio.shield(task)

    def _come(self, digest: str, task: asyncio.Task[bool]) -> None:
        del self._coming[digest]
        if not task.cancelled():
            task.exception()  # of one that nobody waits for any more

    async def _bring(self, digest: str) -> bool:
        """False when the bucket has it not."""
        async with self._turns:
            with _asked(digest):
                there = await self._bucket.head(document_key(digest))
            if there is None:
                return False
            coming = Incoming(self._root / INCOMING)
            try:
                await self._run(self._reserve, coming, there.size)
                async with aclosing(self.passed_on(digest)) as whole:
                    async for piece in whole:
                        await self._run(coming.write, piece)
                await self._run(coming.keep, lambda finished, *_: _link(finished, self._root / digest))
            finally:
                await asyncio.shield(self._run(coming.discard))
            return True

    def _reserve(self, coming: Incoming, size: int) -> None:
        """Take the room for a file, at the cost of others that nobody reads. One process at a time."""
        (self._root / INCOMING).mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._root / LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            swept(self._root / INCOMING)
            self._make_room(size)
            coming.open()
            try:
                coming.reserve(size)
            except OSError as problem:
                if problem.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise NoRoomError(f"{self._root} has no room for {size:,} bytes: free space there") from problem
                raise

    def _make_room(self, size: int) -> None:
        spare = self._most_bytes - _taken(self._root) - size
        for path, taken in _by_use(self._root):
            if spare >= 0 and not self._crowded(size):
                return
            spare += taken if taken_away(path) else 0
        if spare < 0:
            raise NoRoomError(
                f"{self._root} may take {self._most_bytes:,} bytes, and has no room for {size:,} beside what is read from"
                " it now: raise documents.cache_bytes"
            )
        if self._crowded(size):
            raise NoRoomError(f"the disk of {self._root} is too full for {size:,} bytes more: free space there")

    def _crowded(self, size: int) -> bool:
        """Whether the disk itself would be too full."""
        disk = measured(self._root)
        return percent_of(disk.used + size, disk.size) > self._most_percent

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Disk work in one of our threads; StoreError for what the disk refuses."""

        def blamed() -> T:
            with blaming("document cache", self._root, "the reading"):
                return work(*args, **kwargs)

        return asyncio.get_running_loop().run_in_executor(self._threads, blamed)


@contextmanager
def _asked(digest: str) -> Iterator[None]:
    """Say what was wanted of the bucket when it refuses."""
    try:
        yield
    except StoreError as problem:
        raise StoreError(
            f"document {digest} is not in the folder, and cannot be had from the bucket now: {problem}",
            slow=problem.slow,
        ) from problem


def _used(path: Path) -> Lease | None:
    """Pinned, and the last to go."""
    held = pinned(path)
    if held:
        now = time.time_ns()  # the system's own time of files stands still for milliseconds
        os.utime(path, ns=(now, now))
    return held


def _link(finished: Path, target: Path) -> None:
    """The bytes are durable, the name need not be: what a crash takes is brought again. Its other name goes at once, so
    that it is not counted twice.
    """
    with suppress(FileExistsError):  # another process brought it too
        os.link(finished, target)
    finished.unlink()


def _files(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_file() and path.name != LOCK] if root.is_dir() else []


def _by_use(root: Path) -> list[tuple[Path, int]]:
    """The finished ones with their sizes, least recently read first."""
    return [(path, told.st_size) for path, told in sorted(_told(root), key=lambda one: one[1].st_mtime_ns)]


def _taken(root: Path) -> int:
    """Bytes of all files, those that come in with the room that they took."""
    return sum(told.st_size for _, told in (*_told(root), *_told(root / INCOMING)))


def _told(root: Path) -> list[tuple[Path, os.stat_result]]:
    found = list[tuple[Path, os.stat_result]]()
    for path in _files(root):
        with suppress(FileNotFoundError):  # another process took it away
            found.append((path, path.stat()))
    return found


def _swept(root: Path) -> int:
    return swept(root / INCOMING) if (root / INCOMING).is_dir() else 0


def _given_up(root: Path) -> int:
    before = _taken(root)
    for path in _files(root):
        taken_away(path)
    return before - _taken(root)
