"""Work side by side in one task, which stays as it was whatever becomes of the work.

Why not `asyncio.TaskGroup` in a task that lives on: up to Python 3.12 a group whose child fails leaves its task counted
as being cancelled. Whoever asks `cancelling()` is deceived from then on, and with Python 3.11.2, which is Debian 12's,
the next `asyncio.timeout` that runs out raises CancelledError in place of TimeoutError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


async def together(works: Mapping[str, Coroutine[Any, Any, T]], *, prefix: str = "") -> dict[str, T]:
    """Run them at once, each as a task of its name behind the prefix; the results by name.

    The first failure ends the others and is raised itself, with no group around it. Cancelled, all are ended first.
    """
    tasks = {name: asyncio.create_task(work, name=prefix + name) for name, work in works.items()}
    if tasks:
        try:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        finally:
            failures = await _ended(list(tasks.values()))
        if failures:
            raise failures[0]
    return {name: task.result() for name, task in tasks.items()}


async def _ended(tasks: list[asyncio.Task[T]]) -> list[BaseException]:
    """What those raised that had failed by themselves, then what the others raised when they were ended."""
    first = [task for task in tasks if task.done()]
    late = [task for task in tasks if not task.done()]
    for task in late:
        task.cancel()
    await asyncio.wait(tasks)
    said = [task.exception() for task in (*first, *late) if not task.cancelled()]
    return [problem for problem in said if problem is not None]
