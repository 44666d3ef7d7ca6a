"""Waiting for a condition, with a deadline: no test waits for a fixed time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.01


async def until(
    condition: Callable[[], Any], description: str = "", *, seconds: float = WAIT_SECONDS, every: float = POLL_SECONDS
) -> Any:
    """The first truthy result of a function or coroutine. AssertionError, with the description, when there is none in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        assert loop.time() < end, f"not within {seconds:g} s: {description or condition}"
        await asyncio.sleep(every)
