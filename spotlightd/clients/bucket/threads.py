"""A few threads for calls that block, each call with a deadline.

A call that hangs keeps its thread until it ends, and that thread only: those who come after it wait for another one,
no longer than their own deadline. So a store that hangs costs a bounded number of threads, however often it is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from spotlightd.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_SECONDS = 5.0


class Threads:
    """`number` threads; a call takes at most `seconds`, the wait for a thread included. `where` names the store."""

    def __init__(self, where: str, number: int, seconds: float) -> None:
        self._where = where
        self._number = number
        self._seconds = seconds
        self._free = asyncio.Semaphore(number)
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="bucket")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it in a thread. StoreError when it has not ended in time; its thread is then left to itself."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
                try:
                    call = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))
                except BaseException:
                    self._free.release()
                    raise
                call.add_done_callback(self._done)
                return await asyncio.shield(call)
        except TimeoutError:
            raise StoreError(
                f"{self._where} did not answer within {self._seconds:g} s: see that it runs, and its disk", slow=True
            ) from None

    async def close(self) -> None:
        """Wait a moment for calls that still run; one that hangs is left to itself."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                for _ in range(self._number):
                    await self._free.acquire()
        except TimeoutError:
            pass
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, call: asyncio.Future[T]) -> None:
        self._free.release()
        if not call.cancelled():
            call.exception()  # of one that nobody waits for any more
