"""How much may go on at once: rooms of a fixed size, with a short queue before each door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from spotlightd.engine.errors import TOO_MANY_QUERIES, Failed, failure

T = TypeVar("T")
KILL_AGAIN_SECONDS = 0.1
QUEUE_FACTOR = 16


class ConcurrencyLimit:
    """At most `size` inside, and a bounded number waiting; whoever comes then is turned away."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._waiting = 0
        self._places = asyncio.Semaphore(size)

    async def enter(self) -> None:
        """Wait for a place. Failed (202) when too many are waiting already."""
        if self._waiting >= self._size * QUEUE_FACTOR:
            raise self._full()
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1

    async def enter_now(self) -> None:
        """Take a place only if one is free. Failed (202) otherwise."""
        if self._places.locked():
            raise self._full()
        await self._places.acquire()

    def leave(self) -> None:
        self._places.release()

    def _full(self) -> Failed:
        return failure(TOO_MANY_QUERIES, f"Too many simultaneous {self._name}: maximum is {self._size}")


class Work:
    """One statement in a thread, and the place that it takes up until the thread is really done with it.

    A statement whose client is gone must not give its place away while it still runs, and a thread cannot be stopped:
    `end` asks the engine to kill the statement, again and again, because one that has not registered yet is not found.
    """

    def __init__(self, room: ConcurrencyLimit, kill: Callable[[], Awaitable[None]]) -> None:
        self._room = room
        self._kill = kill
        self._future: asyncio.Future[Any] | None = None

    def start(self, threads: Executor, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run it; its outcome, shielded: whoever waits for it may be cancelled, the thread goes on."""
        future = asyncio.get_running_loop().run_in_executor(threads, call)
        self._future = future
        outcome = asyncio.shield(future)
        outcome.add_done_callback(_looked_at)
        return outcome

    def when_done(self, call: Callable[[], None]) -> None:
        """Call it when the thread is done; at once if it never began."""
        if self._future is None:
            call()
        else:
            self._future.add_done_callback(lambda _: call())

    async def move(self, room: ConcurrencyLimit) -> None:
        """Go on in another room, if it has a place free now; Failed (202) otherwise."""
        await room.enter_now()
        self._room.leave()
        self._room = room

    async def end(self) -> None:
        """Make sure that it runs no more, then leave. Its outcome has been told, or is forgotten."""
        try:
            while self._future is not None and not self._future.done():
                await self._kill()
                await asyncio.wait([self._future], timeout=KILL_AGAIN_SECONDS)
            if self._future is not None:
                with contextlib.suppress(Failed):
                    self._future.result()
        finally:
            self._room.leave()


def _looked_at(outcome: asyncio.Future[Any]) -> None:
    """An outcome that nobody waits for any more is not worth a warning."""
    if not outcome.cancelled():
        outcome.exception()
