"""Pass the data of an insert from the client to the engine: block by block, through a short queue, never a file."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from spotlightd.engine.answers.answer import Summary, make_headers
from spotlightd.engine.errors import CUT_OFF, TIMED_OUT, failure
from spotlightd.engine.requests.options import RequestOptions
from spotlightd.engine.service import Service
from spotlightd.engine.statements.statement import Statement

QUEUE_BLOCKS = 4


class Blocks:
    """Blocks of an insert on their way from the event loop to the engine's thread.

    The loop puts blocks, and waits while the queue is full; the thread takes them. After `cut` the next `take` fails, so
    that the engine cancels the insert instead of finishing it with the blocks that came so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._free_places = asyncio.Semaphore(QUEUE_BLOCKS)
        self._cut = threading.Event()

    async def put(self, data: bytes | None) -> None:
        """Queue a block; None marks the end."""
        await self._free_places.acquire()
        self._queue.put(data)

    def cut(self) -> None:
        self._cut.set()
        self._queue.put(None)

    def take(self) -> bytes | None:
        """The next block. Runs in the engine's thread; StatementError when the client disconnected."""
        data = self._queue.get()
        if self._cut.is_set():
            raise failure(CUT_OFF, "The client disconnected before the data ended")
        self._loop.call_soon_threadsafe(self._free_places.release)
        return data


async def load(
    service: Service, options: RequestOptions, statement: Statement, body: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Run an insert while its data arrives."""
    async with service.admit(service.writers, options.query_id) as work:
        blocks = Blocks(asyncio.get_running_loop())
        done = service.start(work, lambda: service.handles.load(options, statement.sql, statement.format, blocks.take))
        try:
            await _feed(blocks, body, done, service.configuration.send_seconds)
        finally:
            if not done.done():
                blocks.cut()
        summary = await done
    return web.Response(headers=make_headers(options.query_id) | {"X-ClickHouse-Summary": json.dumps(summary)})


async def _feed(blocks: Blocks, body: AsyncIterator[bytes], done: asyncio.Future[Summary], seconds: float) -> None:
    """Queue all blocks and wait for the engine, which may fail at any block."""
    feeding = asyncio.create_task(_feed_blocks(blocks, body, seconds), name="feed an insert")
    try:
        both: set[asyncio.Future[Any]] = {feeding, done}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            feeding.result()
            await asyncio.wait([done])
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])


async def _feed_blocks(blocks: Blocks, body: AsyncIterator[bytes], seconds: float) -> None:
    while True:
        try:
            async with asyncio.timeout(seconds):
                data = await anext(body, None)
        except TimeoutError:
            raise failure(TIMED_OUT, f"The client sent no data for {seconds:g} s") from None
        if data is None:
            break
        if data:
            await blocks.put(data)
    await blocks.put(None)
