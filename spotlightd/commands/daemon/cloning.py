"""A clone of a state folder that costs no space, and beside which the daemon goes on: for a rehearsal.

Files of parts never change, so a second name of them is a copy. Everything else is small, and copied. A part that is
removed meanwhile is left out: the clone is compared with itself only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from spotlightd.clients.sqlite import copy_database
from spotlightd.files import copy_file, copy_link
from spotlightd.runtime.instance import LEDGER_FILE

DATABASES = (LEDGER_FILE, "bus.sqlite", "spool.sqlite")
_PART = re.compile(r"[^/]*_[0-9]+_[0-9]+_[0-9]+(_[0-9]+)?")
_UNFINISHED = ("tmp", "delete_tmp_", "detached", "moving")


async def clone_databases(state: Path, clone: Path) -> None:
    """The SQLite files, each as it is at one moment, and the operator's sources."""
    for name in DATABASES:
        if (state / name).exists():
            await copy_database(state / name, clone / name)
    for path in sorted((state / "sources").rglob("*")):
        if path.is_file():
            other = clone / path.relative_to(state)
            other.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy_file(path, other)


def clone_engine(state: Path, clone: Path) -> None:
    """The tables of the embedded engine."""
    source, target = state / "engine" / "data", clone / "engine" / "data"
    for path in _walk(source):
        other = target / path.relative_to(source)
        with suppress(FileNotFoundError):
            if path.is_symlink():
                copy_link(path, other)
            elif path.is_dir():
                other.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif _PART.fullmatch(path.parent.name):
                other.hardlink_to(path)
            else:
                copy_file(path, other)
    _drop_incomplete(source, target)


def _walk(folder: Path) -> Iterator[Path]:
    yield folder
    with suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            if path.name.startswith(_UNFINISHED):
                continue
            if path.is_dir() and not path.is_symlink():
                yield from _walk(path)
            else:
                yield path


def _drop_incomplete(source: Path, target: Path) -> None:
    """Remove the clones of parts that were removed while they were cloned."""
    for folder in [path for path in target.rglob("*") if path.is_dir() and _PART.fullmatch(path.name)]:
        if not (source / folder.relative_to(target)).is_dir():
            shutil.rmtree(folder, ignore_errors=True)
