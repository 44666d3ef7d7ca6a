"""How full disks are, and a file that only reserves space: the port `Disks`.

These system calls have no time-out: on a disk that hangs they stay in the kernel and cannot be cancelled. So each runs
in its own thread. The caller waits no longer than the time-out, and the thread does not delay the end of the process.
While a call for a path has not returned, another call for the same path is refused, so that threads stay few.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from spotlightd.errors import StoreError
from spotlightd.files import create_file, flush_folder
from spotlightd.model.disk import DiskUsage, percent_of

T = TypeVar("T")
BLOCK = 512  # st_blocks counts in these, whatever the file system's own blocks are
WRITE_SECONDS = 120.0  # time-out of calls that write


class LocalDisks:
    """The disks of this machine. Tests pass a `statvfs` that hangs."""

    def __init__(self, answer_seconds: float, *, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._seconds = answer_seconds
        self._statvfs = statvfs
        self._pending: set[Path] = set()

    async def measure(self, folder: Path) -> DiskUsage:
        return await self._run_in_own_thread(folder, lambda: measure_disk(folder, self._statvfs), self._seconds)

    async def allocated_bytes(self, file: Path) -> int:
        return await self._run_in_own_thread(file, lambda: _allocated_bytes(file), self._seconds)

    async def reserve(self, file: Path, size: int) -> None:
        await self._run_in_own_thread(file, lambda: _reserve(file, size), WRITE_SECONDS)

    async def remove(self, file: Path) -> None:
        await self._run_in_own_thread(file, lambda: _remove(file), WRITE_SECONDS)

    async def _run_in_own_thread(self, path: Path, work: Callable[[], T], seconds: float) -> T:
        """Run the work in its own thread; returns its result, or raises StoreError."""
        if path in self._pending:
            raise StoreError(f"the disk of {path} has not answered yet: does it hang?")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def deliver(set_outcome: Callable[[Any], None], outcome: Any) -> None:
            self._pending.discard(path)
            if not answer.done():
                set_outcome(outcome)

        def run() -> None:
            set_outcome, outcome = _run_work(work, answer)
            with suppress(RuntimeError):  # the loop is closed: nobody waits for the answer
                loop.call_soon_threadsafe(deliver, set_outcome, outcome)

        self._pending.add(path)
        threading.Thread(target=run, name=f"disk of {path}", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise StoreError(f"the disk of {path} did not answer within {seconds:g} s: does it hang?") from None
        except OSError as problem:
            raise StoreError(f"{path}: {problem.strerror}") from None


def _run_work(work: Callable[[], T], answer: asyncio.Future[T]) -> tuple[Callable[[Any], None], Any]:
    """Run the work; returns the method of the future that sets its outcome, and the outcome."""
    try:
        return answer.set_result, work()
    except (OSError, StoreError) as problem:
        return answer.set_exception, problem


def require_free_space(folder: Path, most_percent: float, size: int) -> None:
    """StoreError when `size` more bytes would fill the disk of the folder beyond `most_percent`."""
    disk = measure_disk(folder)
    if percent_of(disk.used + size, disk.size) > most_percent:
        raise StoreError(
            f"the disk of {folder} is {percent_of(disk.used, disk.size):.1f} % full: {size:,} more bytes would fill it"
            f" beyond {most_percent:g} %; free space there, then work continues by itself"
        )


def measure_disk(folder: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> DiskUsage:
    """The file system of a folder, or of the nearest one above it that exists."""
    path = folder.absolute()
    while not path.exists():
        path = path.parent
    status = statvfs(path)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    return DiskUsage(str(_find_mount(path.resolve())), used + status.f_bavail * status.f_frsize, used)


def _find_mount(path: Path) -> Path:
    """The mount point of a path: the highest folder above it on the same device."""
    device = path.stat().st_dev
    while path.parent != path and path.parent.stat().st_dev == device:
        path = path.parent
    return path


def _allocated_bytes(file: Path) -> int:
    try:
        status = file.lstat()
    except FileNotFoundError:
        return 0
    return status.st_blocks * BLOCK if stat.S_ISREG(status.st_mode) else 0


def _reserve(file: Path, size: int) -> None:
    """Reserve the space under another name first, so that a file with the final name is always complete."""
    new_file = file.with_name(file.name + ".new")
    new_file.unlink(missing_ok=True)
    try:
        handle = create_file(new_file)
        try:
            os.posix_fallocate(handle, 0, size)
            os.fsync(handle)
            allocated = os.fstat(handle).st_blocks * BLOCK
        finally:
            os.close(handle)
        if allocated < size:
            raise StoreError(
                f"the file system of {file} does not reserve space (it allocated {allocated:,} of {size:,} bytes), so that"
                " there is no ballast; set disk.ballast_bytes = 0 to run without one"
            )
        new_file.rename(file)
    finally:
        new_file.unlink(missing_ok=True)
    flush_folder(file.parent)


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    flush_folder(file.parent)
