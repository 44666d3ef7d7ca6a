"""A few threads for calls that block, each call with a deadline.

A call that hangs keeps its thread until it ends, and only that thread. Later calls wait for another thread, no longer
than their own deadline. So a store that hangs costs a bounded number of threads, however often it is called.
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
    """`count` threads. A call takes at most `seconds`, the wait for a thread included. `store` is named in errors."""

    def __init__(self, store: str, count: int, seconds: float) -> None:
        self._store = store
        self._count = count
        self._seconds = seconds
        self._free = asyncio.Semaphore(count)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="bucket")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it in a thread. StoreError when it has not ended in time; its thread then stays busy until it ends."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
                try:
                    call = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))
                except BaseException:
                    self._free.release()
                    raise
                call.add_done_callback(self._release)
                return await asyncio.shield(call)
        except TimeoutError:
            raise StoreError(
                f"{self._store} did not answer within {self._seconds:g} s: check that it runs, and check its disk",
                slow=True,
            ) from None

    async def close(self) -> None:
        """Wait up to CLOSE_SECONDS for running calls; a call that hangs is not waited for."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                for _ in range(self._count):
                    await self._free.acquire()
        except TimeoutError:
            pass
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release(self, call: asyncio.Future[T]) -> None:
        self._free.release()
        if not call.cancelled():
            call.exception()  # retrieved, because the caller may have given up
