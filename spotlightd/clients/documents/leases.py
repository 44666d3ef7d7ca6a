"""Files while they are read, and how one is taken away: never from under a reader, whichever process that is.

Who reads holds a shared lock on the file, which the system frees with the process. Who takes files away wants the lock
alone, and does not wait for it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Lease:
    """A file that stays as long as this is held; the block's value is its path."""

    path: Path
    handle: int

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)


def pinned(path: Path) -> Lease | None:
    """None when there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        there = os.fstat(handle).st_nlink > 0  # else it was taken away before it was locked
    except BaseException:
        os.close(handle)
        raise
    if there:
        return Lease(path, handle)
    os.close(handle)
    return None


def taken_away(path: Path) -> bool:
    """Whether the file is gone now. One that is read, or comes in, is left where it is."""
    with suppress(BlockingIOError, FileNotFoundError), path.open("rb", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:  # else another took it away, and this name may be a new one's
            path.unlink()
        return True
    return not path.exists()


async def handed(call: asyncio.Future[Lease | None]) -> Lease | None:
    """The pin that a thread makes; let go again when nobody waits for it any more."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        call.add_done_callback(_let_go)
        raise


def _let_go(call: asyncio.Future[Lease | None]) -> None:
    if not call.cancelled() and call.exception() is None and (pin := call.result()):
        os.close(pin.handle)
