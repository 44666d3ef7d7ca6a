"""The inbox of a child: the one folder that it may read, which holds the document that it is to read and nothing else.

A document gets a second name there, so its bytes are not copied. Where the inbox is on another disk, it is copied.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from spotlightd.errors import StoreError
from spotlightd.files import open_scratch


async def create_inbox(folder: Path) -> None:
    """Create the folder, for this user only. What an earlier process left in it is removed."""
    await remove_inbox(folder)
    try:
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
    except OSError as problem:
        raise StoreError(
            f"the parser's inbox {folder} cannot be created ({problem.strerror}): check its disk"
        ) from None


async def remove_inbox(folder: Path) -> None:
    """Remove the folder with all in it."""
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@asynccontextmanager
async def put_document(path: Path, folder: Path) -> AsyncIterator[Path]:
    """The document's path in the inbox while the block runs. StoreError when it cannot be put there."""
    target = folder / path.name
    try:
        await asyncio.to_thread(_link_or_copy, path, target)
    except OSError as problem:
        raise StoreError(
            f"{path} cannot be given to the parser ({problem.strerror}): free space for {folder}"
        ) from None
    try:
        yield target
    finally:
        await asyncio.to_thread(target.unlink, missing_ok=True)


def _link_or_copy(path: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(path.resolve())
    except OSError:
        with path.open("rb") as document, open_scratch(target) as copy:
            shutil.copyfileobj(document, copy)
