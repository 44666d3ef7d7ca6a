"""Write files atomically: a file appears under its name complete and durable, or not at all.

The writer holds a lock on the file, which the system frees when the process ends. So an unfinished file that can be
locked was left by a crash.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from spotlightd.errors import StoreError
from spotlightd.files import create_file

T = TypeVar("T")

PIECE_BYTES = 1 << 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class AtomicFile:
    """A file that is being written. Every step takes a lock.

    A cancelled `put` cannot stop the thread that writes for it. Without the lock, `discard` would close the file while
    that thread still writes, and its next write would go to another file that has the same number by then.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / secrets.token_hex(16)
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._size = 0
        self._file = -1
        self._is_discarded = False

    def open(self) -> None:
        with self._lock:
            if not self._is_discarded:
                self._file = _create_locked(self._path)

    def reserve(self, size: int) -> None:
        """Allocate that many bytes on the disk now, so that no other writer counts on them."""
        with self._lock:
            if size and not self._is_discarded:
                os.posix_fallocate(self._file, 0, size)

    def write(self, piece: bytes) -> None:
        with self._lock:
            rest = memoryview(piece)
            while rest and not self._is_discarded:
                rest = rest[os.write(self._file, rest) :]
            self._hash.update(piece)
            self._size += len(piece)

    def commit(self, link: Callable[[Path, str, int], T]) -> T:
        """Make the bytes durable, then name the file by `link(file, digest, size)`. After that, readers may lock it."""
        with self._lock:
            os.fchmod(self._file, 0o444)
            os.fsync(self._file)
            linked = link(self._path, self._hash.hexdigest(), self._size)
            fcntl.flock(self._file, fcntl.LOCK_UN)
            return linked

    def discard(self) -> None:
        with self._lock:
            self._is_discarded = True
            if self._file >= 0:
                file, self._file = self._file, -1
                try:
                    os.close(file)
                finally:
                    self._path.unlink(missing_ok=True)


def _create_locked(path: Path) -> int:
    """Create the file and lock it. A file that a sweep removed before it was locked is created again."""
    while True:
        file = create_file(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)


def remove_leftovers(folder: Path) -> int:
    """Remove the files that no process is writing; returns how many there were."""
    removed = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


def read_piece(path: Path, offset: int, most: int = PIECE_BYTES) -> bytes:
    """Read a piece of a file. The file is opened for each piece: it never changes, and no reader has to close it."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(most)


@contextmanager
def translate_os_errors(what: str, root: Path, repeated: str) -> Iterator[None]:
    """Raise OSError as StoreError: which folder failed, and what to do. `repeated` names what is retried afterwards."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno in _FULL:
            raise StoreError(f"{what} {root} is full ({reason}): free space there; {repeated} is repeated") from problem
        if problem.errno in _FORBIDDEN:
            path = problem.filename or root
            raise StoreError(
                f"{what} {root} is not writable ({reason}: {path}): make it writable for the user that runs spotlightd"
            ) from problem
        raise StoreError(f"{what} {root} failed ({reason}): check that it exists, and check its disk") from problem
