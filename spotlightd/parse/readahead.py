"""Lets a thread read a slow iterator ahead, by a few items.

Inflating, reading columns and writing release the GIL, so that each can use a core of its own.

A process that may start no thread later, such as a confined child, starts these threads first. They read one iterator after
the other; while all of them have one, the next is read without a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

T = TypeVar("T")
READ_INLINE = 2
"""Items that are read without a thread. Most documents have no more, and a thread costs 0.3 ms of processor time."""


class _End:
    """Marks the end, after the last item."""


_END: Final = _End()
_WAITING: Final = ContextVar[deque[ThreadPoolExecutor] | None](
    "threads that were started and read nothing", default=None
)


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


def start_threads(count: int) -> None:
    """Start that many threads. From now on `prefetch` uses them, here and in what they read, and starts none."""
    waiting = deque[ThreadPoolExecutor]()
    for _ in range(count):
        thread = ThreadPoolExecutor(1, "started readahead", _WAITING.set, (waiting,))
        thread.submit(int).result()
        waiting.append(thread)
    _WAITING.set(waiting)


def _read_in_advance(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    with _take_thread() as thread:
        if thread is None:
            yield from items
            return
        pending = deque(thread.submit(_next, items) for _ in range(depth))
        try:
            while not isinstance(item := pending.popleft().result(), _End):
                pending.append(thread.submit(_next, items))
                yield item
        finally:
            for future in pending:
                future.cancel()
            wait(pending)


@contextmanager
def _take_thread() -> Iterator[ThreadPoolExecutor | None]:
    """A thread that nobody else uses meanwhile; None when there is no such thread and none may be started."""
    waiting = _WAITING.get()
    if waiting is None:
        with ThreadPoolExecutor(1, thread_name_prefix="readahead") as started:
            yield started
        return
    thread = waiting.popleft() if waiting else None
    try:
        yield thread
    finally:
        waiting.extend([thread] if thread else [])


def _next(items: Generator[T, None, None]) -> T | _End:
    return next(items, _END)
