"""Only one daemon may use a state folder: it takes a lock before it touches anything in the folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spotlightd.errors import InUseError, SettingsError, StoreError
from spotlightd.files import open_lock, open_scratch
from spotlightd.log import logger

PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.3  # a process that is just executing another program still holds a lock that it is about to close
OTHERS = 0o077
LEDGER = "ledger.sqlite"
STATE_NAMES = frozenset({"lock", "sources", "documents", "engine", "bucket", "cache", "bus.sqlite", "spool.sqlite"})


@dataclass(frozen=True, slots=True)
class LockedFolder:
    """A state folder whose lock this process holds. Code that needs the folder for itself takes this value."""

    folder: Path


@contextlib.contextmanager
def state_lock(folder: Path) -> Iterator[LockedFolder]:
    """Lock the state folder. A missing folder is created, readable by this user only; one that others can read is closed.

    Nothing in the folder is touched while another daemon holds it: InUseError. SettingsError when it cannot be written,
    StoreError when its disk is full. The system frees the lock when the process ends, for whatever reason. Child
    processes do not inherit the lock.
    """
    require_own_folder(folder)
    with _translate_os_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = open_lock(folder / "lock")
    try:
        with _translate_os_errors(folder):
            _lock_or_raise(file, folder)
            _close_to_others(folder)
            _check_writable(folder)
        yield LockedFolder(folder.resolve())
    finally:
        os.close(file)


def require_own_folder(folder: Path) -> None:
    """SettingsError when the state folder exists and is another user's: files of two users in it would lock out both. Also
    when it is open to others and not for spotlightd alone: it will be closed, which must not happen to `/` or a home.
    """
    with _translate_os_errors(folder), contextlib.suppress(FileNotFoundError):
        status = folder.stat()
        if status.st_uid != os.geteuid():
            raise SettingsError(
                f"state folder {folder} belongs to {_name_user(status.st_uid)}, and this is {_name_user(os.geteuid())}: run"
                f" spotlightd as {_name_user(status.st_uid)}, or set another state_dir"
            )
        if status.st_mode & OTHERS and not _holds_only_state(folder):
            raise SettingsError(
                f"state folder {folder} can be entered by others, and holds files that are not spotlightd's: set state_dir to"
                " a folder of its own"
            )


def _holds_only_state(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return LEDGER in names or names <= STATE_NAMES


def _name_user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"


def _close_to_others(folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & OTHERS:
        folder.chmod(mode & 0o700)
        logger().warning(
            "state folder closed", folder=str(folder), mode_before=f"{mode:04o}", mode=f"{mode & 0o700:04o}"
        )


@contextlib.contextmanager
def _translate_os_errors(folder: Path) -> Iterator[None]:
    """StoreError for a full disk: that passes, and systemd may restart the daemon. SettingsError for everything else."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"state folder {folder} is full ({problem.strerror}): free space there") from None
        raise SettingsError(
            f"state folder {folder} cannot be used ({problem.strerror}): make it writable for this user, or set state_dir"
        ) from None


def _check_writable(folder: Path) -> None:
    """Create a file: the lock file may exist in a folder where no new file can be created."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        with open_scratch(probe) as file:
            file.write(b"?")
    finally:
        probe.unlink(missing_ok=True)


def _lock_or_raise(file: int, folder: Path) -> None:
    if not _try_lock(file, RETRY_SECONDS):
        holder = os.pread(file, 32, 0).decode("ascii", errors="replace").strip() or "unknown"
        raise InUseError(
            f"state folder {folder} is in use by another spotlightd (process {holder}): stop that one, or set another "
            "state_dir"
        )
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)


def wait_for_lock(path: Path, seconds: float) -> int:
    """Take the lock of an earlier engine, which may still be ending. The lock lasts as long as the returned file is open.

    StoreError when the lock is not free in time.
    """
    file = open_lock(path)
    if not _try_lock(file, seconds):
        os.close(file)
        raise StoreError(f"another engine holds {path} and did not end within {seconds:g} s")
    return file


def _try_lock(file: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE_SECONDS)
        else:
            return True
