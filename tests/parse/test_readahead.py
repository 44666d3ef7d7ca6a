from __future__ import annotations

import threading
from collections.abc import Generator
from contextvars import copy_context

import pytest

from spotlightd.parse.readahead import prefetch, start_threads


def test_items_come_in_order_from_the_third_on_from_another_thread() -> None:
    threads = set()

    def items() -> Generator[int, None, None]:
        for number in range(100):
            threads.add(threading.get_ident())
            yield number

    assert list(prefetch(items())) == list(range(100))
    assert len(threads) == 2
    assert threading.get_ident() in threads


def test_two_items_need_no_thread() -> None:
    started = threading.active_count()
    running = prefetch(number for number in range(2))
    assert [next(running), next(running), next(running, None)] == [0, 1, None]
    assert threading.active_count() == started


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise ZeroDivisionError

    running = prefetch(items())
    assert [next(running), next(running)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(running)


def test_a_thread_reads_no_more_than_the_depth_ahead_and_an_early_end_closes_the_items() -> None:
    numbers, closed = [], threading.Event()

    def items() -> Generator[int, None, None]:
        try:
            for number in range(1_000):
                numbers.append(number)
                yield number
        finally:
            closed.set()

    running = prefetch(items(), depth=2)
    assert [next(running) for _ in range(4)] == [0, 1, 2, 3]
    running.close()
    assert closed.is_set()
    assert len(numbers) <= 7
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("readahead")]


def test_threads_that_were_started_before_are_used_again_and_no_other_is_started() -> None:
    """Also by what is read in one of them; and while all are in use, what is left is read without a thread."""
    used, numbers = set(), list(range(20))

    def items(depth: int) -> Generator[int, None, None]:
        used.add(threading.get_ident())
        for number in prefetch(items(depth - 1)) if depth else numbers:
            used.add(threading.get_ident())
            yield number

    def read() -> None:
        before = threading.active_count()
        start_threads(2)
        for _ in range(3):
            assert list(prefetch(items(3))) == numbers
            early = prefetch(items(3))
            assert [next(early) for _ in range(5)] == numbers[:5]
            early.close()
        assert len(used) == 3
        assert threading.active_count() == before + 2

    copy_context().run(read)
