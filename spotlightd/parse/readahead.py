"""Lets a thread read a slow iterator ahead, by a few items.

Inflating, reading columns and writing release the GIL, so that each can use a core of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
READ_INLINE = 2
"""Items that are read without a thread. Most documents have no more, and a thread costs 0.3 ms of processor time."""


class _End:
    """Marks the end, after the last item."""


_END: Final = _End()


def prefetch(items: Generator[T, None, None], depth: int = 2) -> Generator[T, None, None]:
    """The same items. From the third on a thread reads up to `depth` of them in advance. An exception is raised here, in its
    place.
    """
    try:
        for _ in range(READ_INLINE):
            if isinstance(item := _next(items), _End):
                return
            yield item
        yield from _read_in_advance(items, depth)
    finally:
        items.close()


def _read_in_advance(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="readahead")
    try:
        pending = deque(pool.submit(_next, items) for _ in range(depth))
        while not isinstance(item := pending.popleft().result(), _End):
            pending.append(pool.submit(_next, items))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _next(items: Generator[T, None, None]) -> T | _End:
    return next(items, _END)
