"""Let a slow iterator run ahead in a thread, by a few items and no more.

Inflating, reading columns and writing release the GIL, so that each can use a core while the next one works.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")


class _End:
    """Comes after the last item."""


_END: Final = _End()


def ahead(items: Generator[T, None, None], depth: int = 2) -> Generator[T, None, None]:
    """The same items, with up to `depth` of them made in advance by a thread. What it raises is raised here, in place."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        coming = deque(pool.submit(_next, items) for _ in range(depth))
        while not isinstance(item := coming.popleft().result(), _End):
            coming.append(pool.submit(_next, items))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()


def _next(items: Generator[T, None, None]) -> T | _End:
    return next(items, _END)
