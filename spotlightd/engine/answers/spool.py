"""A long answer that is held back until it is complete, as `wait_end_of_query` asks: on the disk, not in memory."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from spotlightd.engine.errors import TOO_LARGE, failure
from spotlightd.files import create_file, open_existing

MOST_BYTES = 8 << 30
PIECE_BYTES = 1 << 18


class Spool:
    """An unnamed file in the folder, which is gone when it is closed or the process dies.

    It takes at most half of the space that is free at its start: the tables are on the same disk.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        free = os.statvfs(folder)
        self._room = min(most_bytes, free.f_bavail * free.f_frsize // 2)
        path = folder / f"answer-{secrets.token_hex(16)}"
        os.close(create_file(path))
        self._file = open_existing(path)
        path.unlink()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    async def add(self, data: bytes) -> None:
        """StatementError when the answer is too long."""
        self.size += len(data)
        if self.size > self._room:
            raise failure(
                TOO_LARGE, f"The whole answer takes more than {self._room} bytes on the disk: stream it instead"
            )
        await asyncio.to_thread(self._write, data)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The answer from its beginning."""
        await asyncio.to_thread(self._file.seek, 0)
        while piece := await asyncio.to_thread(self._file.read, PIECE_BYTES):
            yield piece

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as problem:
            raise failure(TOO_LARGE, f"The whole answer does not fit on the disk: {problem.strerror}") from None
