"""Files of ours on their way to the bucket and back, or into a bundle: whole, or nothing is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spotlightd.errors import StoreError

ROOM_BYTES = 16 << 20
AGAIN = "see that its disk has room; it is made again"


def endless(_bytes: int) -> None:
    """The room on a disk that nobody watches."""


async def written(
    path: Path, chunks: AsyncIterator[bytes], room: Callable[[int], None] = endless, remedy: str = AGAIN
) -> None:
    """The bytes into that file. StoreError when the disk takes no more, or `room` says that it should not: then the file
    is removed, which would be the next to fill it.
    """
    whole, asked = False, 0
    with blamed(path, remedy):
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    if asked <= 0:
                        await asyncio.to_thread(room, ROOM_BYTES)
                        asked = ROOM_BYTES
                    asked -= len(chunk)
                    await asyncio.to_thread(file.write, chunk)
            whole = True
        finally:
            if not whole:
                await asyncio.to_thread(path.unlink, missing_ok=True)


async def housed(path: Path) -> Path:
    """The path itself, when its folder is made."""
    with blamed(path):
        await asyncio.to_thread(path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
    return path


@contextmanager
def blamed(path: Path, remedy: str = AGAIN) -> Iterator[None]:
    """StoreError for what the disk of that file refuses, with what is to be done."""
    try:
        yield
    except OSError as problem:
        raise StoreError(f"file {path} failed ({problem.strerror or problem}): {remedy}") from problem
