"""The only place where a file is opened for writing.

Another user of the machine may be able to write in the folder of a result (`export --to`, `bundle --out`), and to plant a
link under a name that is guessed. So a file is created under a random name, through no link, and renamed when it is
complete and durable: a link under the final name is replaced, its target is not touched.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

OURS_ONLY = 0o600
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW


def create_file(path: Path) -> int:
    """Create a file that only this user can read, and open it. FileExistsError when anything has that name."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, OURS_ONLY)


def open_scratch(path: Path) -> BinaryIO:
    """A new, empty file in a folder of our own, in place of what an earlier run left there. It need not be durable."""
    path.unlink(missing_ok=True)
    return os.fdopen(create_file(path), "wb")


def copy_file(source: Path, target: Path) -> None:
    """A copy in a folder of our own, in place of what an earlier run left there. It need not be durable."""
    with source.open("rb") as old, open_scratch(target) as new:
        shutil.copyfileobj(old, new)


def copy_link(source: Path, target: Path) -> None:
    """The same symbolic link in a folder of our own. What it leads to is not touched."""
    target.symlink_to(source.readlink())


def open_existing(path: Path) -> BinaryIO:
    """A file of our own, to be changed in place."""
    return os.fdopen(os.open(path, os.O_RDWR | _SAFE), "r+b")


def open_lock(path: Path) -> int:
    """A file that processes lock. It is created if needed, and never replaced: a lock belongs to the file, not to its name."""
    return os.open(path, os.O_RDWR | os.O_CREAT | _SAFE, OURS_ONLY)


class NewFile:
    """A file that has its name only when it is complete and durable. `replaces`: it may take the place of another file.

    FileExistsError when it may not, or when what has the name is no file (a folder, a device). After `discard` nothing is
    left of it, unless `commit` came first.
    """

    def __init__(self, path: Path, mode: int = OURS_ONLY, *, replaces: bool = True) -> None:
        _require_place(path, replaces=replaces)
        self._path, self._mode, self._replaces = path, mode, replaces
        self._part = path.with_name(f".{secrets.token_hex(16)}.part")
        self.file: BinaryIO = os.fdopen(create_file(self._part), "wb")

    def commit(self) -> None:
        """Make the bytes durable, and give the file its name and mode."""
        self.file.flush()
        os.fchmod(self.file.fileno(), self._mode)
        os.fsync(self.file.fileno())
        if not self._replaces:
            # Takes the name, or FileExistsError: a rename would replace another's file.
            os.close(create_file(self._path))
        self._part.replace(self._path)
        flush_folder(self._path.parent)

    def discard(self) -> None:
        self.file.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def replace_file(path: Path, mode: int = OURS_ONLY) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of the one at `path` when the block ends without an error."""
    new = NewFile(path, mode)
    try:
        yield new.file
        new.commit()
    finally:
        new.discard()


def write_file(path: Path, content: bytes, mode: int = OURS_ONLY, *, replaces: bool = True) -> None:
    """Write the whole file, durable, or nothing."""
    new = NewFile(path, mode, replaces=replaces)
    try:
        new.file.write(content)
        new.commit()
    finally:
        new.discard()


def flush_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _require_place(path: Path, *, replaces: bool) -> None:
    try:
        is_link = stat.S_ISLNK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not replaces:
        raise FileExistsError(errno.EEXIST, "it exists already", str(path))
    if not path.is_file() and not (is_link and not path.exists()):
        raise FileExistsError(errno.EEXIST, "it is not a file", str(path))
