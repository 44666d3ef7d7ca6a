"""Work side by side: what comes back, what is raised, what is ended, and what is left of it in the task."""

from __future__ import annotations

import asyncio

import pytest

from spotlightd.tasks import run_together


async def _number(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def _fail(problem: Exception) -> int:
    await asyncio.sleep(0)
    raise problem


async def _forever(ended: list[str]) -> int:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")
    return 0


def _counted() -> int:
    task = asyncio.current_task()
    assert task
    return task.cancelling()


async def test_results_come_back_by_name() -> None:
    assert await run_together({"one": _number(1), "two": _number(2)}) == {"one": 1, "two": 2}
    assert await run_together({}) == {}


async def test_the_first_failure_ends_the_others_and_is_raised_itself() -> None:
    ended: list[str] = []
    with pytest.raises(ValueError, match="ours"):
        await run_together({"a": _forever(ended), "b": _fail(ValueError("ours")), "c": _forever(ended)})
    assert ended == ["ended", "ended"]


async def test_a_failure_leaves_no_trace_in_the_task() -> None:
    with pytest.raises(ValueError, match="ours"):
        await run_together({"a": _fail(ValueError("ours"))})
    assert _counted() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()


async def test_a_cancelled_caller_ends_the_work_first() -> None:
    ended: list[str] = []
    task = asyncio.create_task(run_together({"a": _forever(ended), "b": _forever(ended)}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["ended", "ended"]


async def test_two_simultaneous_failures_are_both_retrieved() -> None:
    with pytest.raises(ValueError, match="first"):
        await run_together({"a": _fail(ValueError("first")), "b": _fail(KeyError("second"))})
