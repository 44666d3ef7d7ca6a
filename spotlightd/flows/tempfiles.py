"""Temporary files on their way to or from the bucket, or into a bundle: either complete or removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spotlightd.errors import StoreError
from spotlightd.files import open_scratch

SPACE_BYTES = 16 << 20
RETRY_REMEDY = "free space on its disk; the file is then written again"


def unlimited_space(_bytes: int) -> None:
    """The space check for a disk that is not watched."""


async def write_file(
    path: Path,
    chunks: AsyncIterator[bytes],
    require_space: Callable[[int], None] = unlimited_space,
    remedy: str = RETRY_REMEDY,
) -> None:
    """Write the bytes to this file. StoreError when the disk takes no more, or when `require_space` refuses: then the
    partial file is removed, because it would help to fill the disk.
    """
    complete, checked_bytes = False, 0
    with wrap_disk_errors(path, remedy):
        try:
            with open_scratch(path) as file:
                async for chunk in chunks:
                    if checked_bytes <= 0:
                        await asyncio.to_thread(require_space, SPACE_BYTES)
                        checked_bytes = SPACE_BYTES
                    checked_bytes -= len(chunk)
                    await asyncio.to_thread(file.write, chunk)
            complete = True
        finally:
            if not complete:
                await asyncio.to_thread(path.unlink, missing_ok=True)


async def make_parent_folder(path: Path) -> Path:
    """Create the folder of this file, and return the file's path."""
    with wrap_disk_errors(path):
        await asyncio.to_thread(path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
    return path


@contextmanager
def wrap_disk_errors(path: Path, remedy: str = RETRY_REMEDY) -> Iterator[None]:
    """Turn an error of this file's disk into a StoreError that says what to do."""
    try:
        yield
    except OSError as problem:
        raise StoreError(f"file {path} failed ({problem.strerror or problem}): {remedy}") from problem
