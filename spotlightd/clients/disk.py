"""How full disks are, and a file that only takes space: the port `Disks`.

The system calls behind this have no time-out: on a disk that hangs they stay in the kernel, and nobody can call them
back. So each runs in a thread of its own that nobody waits for longer than the time-out, and that does not hold up the
end of the process. A second call to the same place is refused while the first is still out: threads stay few.
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
from spotlightd.model.disk import Measured, percent_of

T = TypeVar("T")
BLOCK = 512  # st_blocks counts in these, whatever the file system's own blocks are
WRITE_SECONDS = 120.0  # for those calls that write


class LocalDisks:
    """`statvfs` may be another in tests: one that hangs."""

    def __init__(self, answer_seconds: float, *, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._seconds = answer_seconds
        self._statvfs = statvfs
        self._out: set[Path] = set()

    async def measure(self, folder: Path) -> Measured:
        return await self._apart(folder, lambda: measured(folder, self._statvfs), self._seconds)

    async def taken(self, file: Path) -> int:
        return await self._apart(file, lambda: _taken(file), self._seconds)

    async def reserve(self, file: Path, size: int) -> None:
        await self._apart(file, lambda: _reserve(file, size), WRITE_SECONDS)

    async def remove(self, file: Path) -> None:
        await self._apart(file, lambda: _remove(file), WRITE_SECONDS)

    async def _apart(self, place: Path, work: Callable[[], T], seconds: float) -> T:
        """The work's answer from a thread of its own, or StoreError."""
        if place in self._out:
            raise StoreError(f"the disk of {place} has not answered yet: does it hang?")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def tell(how: Callable[[Any], None], what: Any) -> None:
            self._out.discard(place)
            if not answer.done():
                how(what)

        def run() -> None:
            how, what = _tried(work, answer)
            with suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(tell, how, what)

        self._out.add(place)
        threading.Thread(target=run, name=f"disk of {place}", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise StoreError(f"the disk of {place} did not answer within {seconds:g} s: does it hang?") from None
        except OSError as problem:
            raise StoreError(f"{place}: {problem.strerror}") from None


def _tried(work: Callable[[], T], answer: asyncio.Future[T]) -> tuple[Callable[[Any], None], Any]:
    """What is to be told: the result, or why there is none."""
    try:
        return answer.set_result, work()
    except (OSError, StoreError) as problem:
        return answer.set_exception, problem


def has_room(folder: Path, most_percent: float, size: int) -> None:
    """StoreError when the disk of a folder would be fuller than that with so many bytes more."""
    disk = measured(folder)
    if percent_of(disk.used + size, disk.size) > most_percent:
        raise StoreError(
            f"the disk of {folder} is {percent_of(disk.used, disk.size):.1f} % full: {size:,} bytes more would go beyond"
            f" {most_percent:g} %; free space there, and it goes on by itself"
        )


def measured(folder: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> Measured:
    """The file system of a folder, or of the nearest one above it that exists."""
    at = folder.absolute()
    while not at.exists():
        at = at.parent
    told = statvfs(at)
    used = (told.f_blocks - told.f_bfree) * told.f_frsize
    return Measured(str(_mount(at.resolve())), used + told.f_bavail * told.f_frsize, used)


def _mount(at: Path) -> Path:
    """Where the file system begins: the last folder upwards that is on the same device."""
    device = at.stat().st_dev
    while at.parent != at and at.parent.stat().st_dev == device:
        at = at.parent
    return at


def _taken(file: Path) -> int:
    try:
        told = file.lstat()
    except FileNotFoundError:
        return 0
    return told.st_blocks * BLOCK if stat.S_ISREG(told.st_mode) else 0


def _reserve(file: Path, size: int) -> None:
    """Under another name first: a file that is there under its own was taken in full."""
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    try:
        number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(number, 0, size)
            os.fsync(number)
            taken = os.fstat(number).st_blocks * BLOCK
        finally:
            os.close(number)
        if taken < size:
            raise StoreError(
                f"the file system of {file} does not reserve space (it took {taken:,} of {size:,} bytes): there is no"
                " ballast; set disk.ballast_bytes = 0 to have none in peace"
            )
        fresh.rename(file)
    finally:
        fresh.unlink(missing_ok=True)
    _settle(file.parent)


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    _settle(file.parent)


def _settle(folder: Path) -> None:
    """Make it durable that a name is there, or is not."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
