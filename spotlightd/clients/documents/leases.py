"""Leases on files: a file that is being read, by any process, is not removed.

A reader holds a shared lock on the file, which the system frees when the process ends. A process that removes a file
takes an exclusive lock, without waiting for it.
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
    """A file that is not removed while the lease is held. As a context manager it yields the path."""

    path: Path
    handle: int

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)


def lease_file(path: Path) -> Lease | None:
    """Lease the file; None when there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        exists = os.fstat(handle).st_nlink > 0  # else it was removed before it was locked
    except BaseException:
        os.close(handle)
        raise
    if exists:
        return Lease(path, handle)
    os.close(handle)
    return None


def remove_unless_leased(path: Path) -> bool:
    """Remove the file, unless it is being read or written; returns whether it is gone."""
    with suppress(BlockingIOError, FileNotFoundError), path.open("rb", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:  # else another process removed it, and the name may belong to a new file
            path.unlink()
        return True
    return not path.exists()


async def await_lease(call: asyncio.Future[Lease | None]) -> Lease | None:
    """Wait for the lease that a thread takes. When the wait is cancelled, the lease is released."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        call.add_done_callback(_release)
        raise


def _release(call: asyncio.Future[Lease | None]) -> None:
    if not call.cancelled() and call.exception() is None and (lease := call.result()):
        os.close(lease.handle)
