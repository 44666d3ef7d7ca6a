"""What all requests share: handles, threads, rooms; and how a statement of theirs is started and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from spotlightd.engine.configuration import Configuration
from spotlightd.engine.handles import Handles
from spotlightd.engine.rooms import Room, Work

T = TypeVar("T")


class Service:
    """The engine as the routes see it."""

    def __init__(self, configuration: Configuration) -> None:
        told = configuration
        self.configuration = told
        self.handles = Handles(told)
        self.readers = Room("queries", told.readers)
        self.writers = Room("inserts and changes", told.writers)
        self.downloads = Room("downloads", told.download_slots)
        self._threads = ThreadPoolExecutor(told.readers + told.writers + told.download_slots, "statement")
        self._control = ThreadPoolExecutor(1, "kill")
        self.packing = ThreadPoolExecutor(1, "packing")
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def working(self, room: Room, query_id: str) -> AsyncIterator[Work[T]]:
        """Enter a room to do some work; leaving ends the work, even when the request itself is cancelled meanwhile."""
        await room.enter()
        work: Work[T] = Work(room, lambda: self._kill(query_id))
        try:
            yield work
        finally:
            ending = asyncio.create_task(work.end(), name=f"end {query_id}")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    def start(self, work: Work[T], call: Callable[[], T]) -> asyncio.Future[T]:
        return work.start(self._threads, call)

    async def _kill(self, query_id: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._control, self.handles.kill, query_id)

    async def close(self) -> None:
        """Wait for what is still being ended, then close the engine."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=5)
        await asyncio.get_running_loop().run_in_executor(self._control, self.handles.close)
