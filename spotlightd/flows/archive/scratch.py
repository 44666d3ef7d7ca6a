"""Files of ours on their way to the bucket and back: whole, or nothing is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from spotlightd.model.errors import StoreError


async def written(path: Path, chunks: AsyncIterator[bytes]) -> None:
    """The bytes into that file. StoreError when the disk takes no more: then the file is removed, which would be the
    next to fill it.
    """
    whole = False
    with blamed(path):
        await asyncio.to_thread(path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            whole = True
        finally:
            if not whole:
                await asyncio.to_thread(path.unlink, missing_ok=True)


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """StoreError for what the disk of that file refuses."""
    try:
        yield
    except OSError as problem:
        raise StoreError(
            f"file {path} failed ({problem.strerror or problem}): see that its disk has room; it is made again"
        ) from problem
