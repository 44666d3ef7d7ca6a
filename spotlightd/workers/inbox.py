"""The inbox of a child: the one folder that it may read, which holds the document that it is to read and nothing else.

The document stays there until the next one comes, or the session ends. It is a second name of the same
file, so its bytes are not copied; where the inbox is on another disk, it is a copy.
"""

from __future__ import annotations

import asyncio
import shutil
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


async def put_document(path: Path, folder: Path) -> Path:
    """Put the document into the inbox, in place of the one before. Returns its path there. StoreError when that is not
    possible.
    """
    target = folder / path.name
    try:
        await asyncio.to_thread(_replace_document, path, target)
    except OSError as problem:
        raise StoreError(
            f"{path} cannot be given to the parser ({problem.strerror}): free space for {folder}"
        ) from None
    return target


async def empty_inbox(folder: Path) -> None:
    """Remove the document that was read last."""
    await asyncio.to_thread(_remove_documents, folder)


def _replace_document(path: Path, target: Path) -> None:
    _remove_documents(target.parent)
    _link_or_copy(path, target)


def _remove_documents(folder: Path) -> None:
    for document in folder.iterdir():
        document.unlink(missing_ok=True)


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path.resolve())
    except OSError:
        with path.open("rb") as document, open_scratch(target) as copy:
            shutil.copyfileobj(document, copy)
