"""A file while it comes in, and how a folder keeps it: whole under its name, durable, or not at all.

Whoever writes holds a lock on the file, which the system frees with the process. So what can be locked by another is
what a crash left behind.
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

T = TypeVar("T")

PIECE_BYTES = 1 << 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Incoming:
    """A file while it comes in. Every step takes the lock.

    A cancelled `put` cannot stop the thread that writes for it: without the lock, `discard` would close the file
    under that thread's hands, and its next write would go to whatever file the number belongs to by then.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / secrets.token_hex(16)
        self._lock = threading.Lock()
        self._seen = hashlib.sha256()
        self._size = 0
        self._file = -1
        self._over = False

    def open(self) -> None:
        with self._lock:
            if not self._over:
                self._file = _claimed(self._path)

    def reserve(self, size: int) -> None:
        """Take that much of the disk now, so that no one else counts on it."""
        with self._lock:
            if size and not self._over:
                os.posix_fallocate(self._file, 0, size)

    def write(self, piece: bytes) -> None:
        with self._lock:
            rest = memoryview(piece)
            while rest and not self._over:
                rest = rest[os.write(self._file, rest) :]
            self._seen.update(piece)
            self._size += len(piece)

    def keep(self, link: Callable[[Path, str, int], T]) -> T:
        """Make the bytes durable, then give them their name by `link(file, digest, size)`. From then on it may be locked
        by who reads it.
        """
        with self._lock:
            os.fchmod(self._file, 0o444)
            os.fsync(self._file)
            linked = link(self._path, self._seen.hexdigest(), self._size)
            fcntl.flock(self._file, fcntl.LOCK_UN)
            return linked

    def discard(self) -> None:
        with self._lock:
            self._over = True
            if self._file >= 0:
                file, self._file = self._file, -1
                try:
                    os.close(file)
                finally:
                    self._path.unlink(missing_ok=True)


def _claimed(path: Path) -> int:
    """The new file, locked. One that a sweep took before it was locked is made again."""
    while True:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)


def swept(folder: Path) -> int:
    """Remove the files that nobody is writing; how many there were."""
    number = 0
    for left in folder.iterdir():
        with suppress(FileNotFoundError, BlockingIOError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
            number += 1
    return number


def piece(path: Path, offset: int, most: int = PIECE_BYTES) -> bytes:
    """Opened anew for every piece: what is kept never changes, and a reader that leaves has nothing to close."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(most)


def flush(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def blaming(what: str, root: Path, repeated: str) -> Iterator[None]:
    """Say in a sentence which folder refused, and what to do about it. `repeated` says what is done again then."""
    try:
        yield
    except OSError as problem:
        said = problem.strerror or str(problem)
        if problem.errno in _FULL:
            raise StoreError(f"{what} {root} is full ({said}): free space there; {repeated} is repeated") from problem
        if problem.errno in _FORBIDDEN:
            at = problem.filename or root
            raise StoreError(
                f"{what} {root} is not writable ({said}: {at}): give it to the user that runs spotlightd"
            ) from problem
        raise StoreError(f"{what} {root} failed ({said}): check that it exists, and its disk") from problem
