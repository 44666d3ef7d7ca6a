"""One daemon for each state folder: a lock that is taken before anything in the folder is touched."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spotlightd.model.errors import InUseError, SettingsError, StoreError

PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Held:
    """A state folder that is ours while the lock is held. What needs the folder to itself asks for this value."""

    folder: Path


@contextlib.contextmanager
def state_lock(folder: Path) -> Iterator[Held]:
    """Hold the state folder; InUseError when another daemon does, SettingsError when it cannot be written.

    The system frees the lock when the process ends, however it ends. Child processes do not inherit it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise SettingsError(
            f"state folder {folder} cannot be used ({problem.strerror}): make it writable for this user, or set state_dir"
        ) from None
    try:
        _take(file, folder)
        yield Held(folder.resolve())
    finally:
        os.close(file)


def _take(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 32, 0).decode("ascii", errors="replace").strip() or "unknown"
        raise InUseError(
            f"state folder {folder} is in use by another spotlightd (process {holder}): stop that one, or set another "
            "state_dir"
        ) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)


def wait_for(path: Path, seconds: float) -> int:
    """Take the lock of an engine that may still be dying; the open file is to be kept as long as the process lives.

    StoreError when it is not free in time.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(file)
                raise StoreError(f"another engine holds {path} and did not end within {seconds:g} s") from None
            time.sleep(PAUSE_SECONDS)
        else:
            return file
