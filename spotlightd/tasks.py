"""Tasks side by side in one task whose own state of cancellation stays correct.

Why not `asyncio.TaskGroup` in a long-lived task: up to Python 3.12, a group whose child fails leaves its task counted as
being cancelled. `cancelling()` is wrong from then on. With Python 3.11.2, which Debian 12 has, the next `asyncio.timeout`
that expires raises CancelledError instead of TimeoutError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


async def run_together(works: Mapping[str, Coroutine[Any, Any, T]], *, prefix: str = "") -> dict[str, T]:
    """Run them concurrently, each as a task named prefix + name; the results by name.

    The first failure cancels the others and is raised itself, without an exception group. If this task is cancelled, all
    of them are cancelled first.
    """
    tasks = {name: asyncio.create_task(work, name=prefix + name) for name, work in works.items()}
    if tasks:
        try:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        finally:
            failures = await _end_tasks(list(tasks.values()))
        if failures:
            raise failures[0]
    return {name: task.result() for name, task in tasks.items()}


async def _end_tasks(tasks: list[asyncio.Task[T]]) -> list[BaseException]:
    """Cancel what still runs. Returns the errors of tasks that failed by themselves, then those raised while ending."""
    ended = [task for task in tasks if task.done()]
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    await asyncio.wait(tasks)
    errors = [task.exception() for task in (*ended, *running) if not task.cancelled()]
    return [error for error in errors if error is not None]
