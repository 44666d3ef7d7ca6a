"""How far a job has come, saved in the ledger: once a second, not for each of its thousands of documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from spotlightd.errors import StoreError
from spotlightd.ports.ledger import Job, Ledger

SAVE_SECONDS = 1.0


class JobProgress:
    """The newest state of a running job."""

    def __init__(self, ledger: Ledger, job: Job) -> None:
        self._ledger = ledger
        self._newest = self._saved = job

    def note(self, done: int, total: int, detail: str) -> None:
        self._newest = replace(self._newest, state="running", done=done, total=total, detail=detail)

    async def save(self) -> None:
        newest = self._newest
        if newest != self._saved:
            await self._ledger.update_job(newest)
            self._saved = newest

    @asynccontextmanager
    async def saved_meanwhile(self) -> AsyncIterator[None]:
        """Save while the block runs, also while one document takes long. Nothing is written after it."""
        task = asyncio.create_task(self._save_for_ever(), name="progress of a job")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _save_for_ever(self) -> None:
        while True:
            with suppress(StoreError):  # the job itself meets it too
                await self.save()
            await asyncio.sleep(SAVE_SECONDS)
