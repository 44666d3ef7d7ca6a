"""One daemon for each state folder: a lock that is taken before anything in the folder is touched."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spotlightd.errors import InUseError, SettingsError, StoreError

PAUSE_SECONDS = 0.02
BRIEFLY_SECONDS = 0.3  # a process that is just becoming another program still holds, for a moment, what it will close


@dataclass(frozen=True, slots=True)
class Held:
    """A state folder that is ours while the lock is held. What needs the folder to itself asks for this value."""

    folder: Path


@contextlib.contextmanager
def state_lock(folder: Path) -> Iterator[Held]:
    """Hold the state folder, made if missing, for our eyes only. Nothing in it is touched while another daemon holds it.

    InUseError when another daemon does, SettingsError when it cannot be written, StoreError when its disk is full. The
    system frees the lock when the process ends, however it ends. Child processes do not inherit it.
    """
    with _blaming(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _blaming(folder):
            _take(file, folder)
            _try_out(folder)
        yield Held(folder.resolve())
    finally:
        os.close(file)


@contextlib.contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Say whose turn it is: a full disk passes, and a unit may start again on it; a folder of somebody else's does not."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"state folder {folder} is full ({problem.strerror}): free space there") from None
        raise SettingsError(
            f"state folder {folder} cannot be used ({problem.strerror}): make it writable for this user, or set state_dir"
        ) from None


def _try_out(folder: Path) -> None:
    """A lock of ours can stand in a folder where nothing new can be made."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        probe.write_bytes(b"?")
    finally:
        probe.unlink(missing_ok=True)


def _take(file: int, folder: Path) -> None:
    if not _taken(file, BRIEFLY_SECONDS):
        holder = os.pread(file, 32, 0).decode("ascii", errors="replace").strip() or "unknown"
        raise InUseError(
            f"state folder {folder} is in use by another spotlightd (process {holder}): stop that one, or set another "
            "state_dir"
        )
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)


def wait_for(path: Path, seconds: float) -> int:
    """Take the lock of an engine that may still be dying; the open file is to be kept as long as the process lives.

    StoreError when it is not free in time.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _taken(file, seconds):
        os.close(file)
        raise StoreError(f"another engine holds {path} and did not end within {seconds:g} s")
    return file


def _taken(file: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(PAUSE_SECONDS)
        else:
            return True
