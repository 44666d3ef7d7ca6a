"""What all requests share: handles, threads and limits; and how a statement is started and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from spotlightd.engine.configuration import Configuration
from spotlightd.engine.errors import SAME_ID, failure
from spotlightd.engine.handles import Handles
from spotlightd.engine.limits import ConcurrencyLimit, Work

T = TypeVar("T")
CLOSE_SECONDS = 5.0


class Service:
    """The engine as the routes see it."""

    def __init__(self, configuration: Configuration) -> None:
        readers, writers, downloads = configuration.readers, configuration.writers, configuration.download_slots
        self.configuration = configuration
        self.handles = Handles(configuration)
        self.readers = ConcurrencyLimit("queries", readers)
        self.writers = ConcurrencyLimit("inserts and changes", writers)
        self.downloads = ConcurrencyLimit("downloads", downloads)
        self._threads = ThreadPoolExecutor(readers + writers + downloads, "statement")
        self._control = ThreadPoolExecutor(1, "kill")
        self._compression = ThreadPoolExecutor(1, "compression")
        self._pinging = ThreadPoolExecutor(1, "ping")
        self._ping: asyncio.Future[None] | None = None
        self._running: set[str] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def admit(self, limit: ConcurrencyLimit, query_id: str) -> AsyncIterator[Work]:
        """Wait for a place under the limit. Leaving the block ends the work, even when the request is cancelled.

        StatementError (216) when a statement with that id still runs, so that a repeated insert cannot overtake the
        first try.
        """
        if query_id in self._running:
            raise failure(SAME_ID, f"Query with id = {query_id} is already running")
        self._running.add(query_id)
        try:
            await limit.enter()
        except BaseException:
            self._running.discard(query_id)
            raise
        work = Work(limit, lambda: self._kill(query_id))
        try:
            yield work
        finally:
            ending = asyncio.create_task(self._end(work, query_id), name=f"end {query_id}")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)

    def start(self, work: Work, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run the work's statement in a thread."""
        return work.start(self._threads, call)

    async def compress(self, call: Callable[[], bytes]) -> bytes:
        """Compress in a thread: gzip takes 10 ms for a piece."""
        return await asyncio.get_running_loop().run_in_executor(self._compression, call)

    async def ping(self) -> None:
        """Return when the engine has answered. All who ask at a time share one statement, so that nobody can queue many."""
        if self._ping is None or self._ping.done():
            self._ping = asyncio.get_running_loop().run_in_executor(self._pinging, self.handles.ping)
        await asyncio.shield(self._ping)

    async def close(self) -> None:
        """Wait for statements that are still being ended, then close the engine."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=CLOSE_SECONDS)
        await asyncio.get_running_loop().run_in_executor(self._control, self.handles.close)

    async def _end(self, work: Work, query_id: str) -> None:
        try:
            await work.end()
        finally:
            self._running.discard(query_id)

    async def _kill(self, query_id: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._control, self.handles.kill, query_id)
