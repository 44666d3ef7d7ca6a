"""How much may run at the same time: limits of a fixed size, each with a short queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from spotlightd.engine.errors import TOO_MANY_QUERIES, StatementError, failure

T = TypeVar("T")
KILL_AGAIN_SECONDS = 0.1
QUEUE_FACTOR = 16


class ConcurrencyLimit:
    """At most `size` statements run, and a bounded number waits. Others are refused."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._waiting = 0
        self._places = asyncio.Semaphore(size)

    async def enter(self) -> None:
        """Wait for a place. StatementError (202) when too many are waiting already."""
        if self._waiting >= self._size * QUEUE_FACTOR:
            raise self._full()
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1

    async def enter_now(self) -> None:
        """Take a place only if one is free. StatementError (202) otherwise."""
        if self._places.locked():
            raise self._full()
        await self._places.acquire()

    def leave(self) -> None:
        self._places.release()

    def _full(self) -> StatementError:
        return failure(TOO_MANY_QUERIES, f"Too many simultaneous {self._name}: maximum is {self._size}")


class Work:
    """One statement in a thread, and the place that it takes up until the thread has really finished.

    A statement must keep its place while it runs, even when its client has disconnected, and a thread cannot be
    stopped. So `end` asks the engine to kill the statement, repeatedly: the engine does not find a statement that has
    not registered yet.
    """

    def __init__(self, limit: ConcurrencyLimit, kill: Callable[[], Awaitable[None]]) -> None:
        self._limit = limit
        self._kill = kill
        self._future: asyncio.Future[Any] | None = None

    def start(self, threads: Executor, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run the call in a thread; its outcome is shielded: cancelling the waiter does not stop the thread."""
        future = asyncio.get_running_loop().run_in_executor(threads, call)
        self._future = future
        outcome = asyncio.shield(future)
        outcome.add_done_callback(_retrieve_exception)
        return outcome

    def on_done(self, call: Callable[[], None]) -> None:
        """Run the callback when the thread has finished; immediately if it never started."""
        if self._future is None:
            call()
        else:
            self._future.add_done_callback(lambda _: call())

    async def move(self, limit: ConcurrencyLimit) -> None:
        """Move to another limit, if it has a free place now; StatementError (202) otherwise."""
        await limit.enter_now()
        self._limit.leave()
        self._limit = limit

    async def end(self) -> None:
        """Wait until the statement has ended, killing it if necessary, then free the place. Its outcome is dropped."""
        try:
            while self._future is not None and not self._future.done():
                await self._kill()
                await asyncio.wait([self._future], timeout=KILL_AGAIN_SECONDS)
            if self._future is not None:
                with contextlib.suppress(StatementError):
                    self._future.result()
        finally:
            self._limit.leave()


def _retrieve_exception(outcome: asyncio.Future[Any]) -> None:
    """Read the exception, so that asyncio does not warn about an outcome that nobody waits for."""
    if not outcome.cancelled():
        outcome.exception()
