"""Waiting for a publisher that requests a pause: the documents of its host wait with the one that was answered so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from spotlightd.backoff import Clock
from spotlightd.errors import PublisherError
from spotlightd.log import logger

MOST_PAUSES = 3
BEAT_SECONDS = 60.0

T = TypeVar("T")
Beat = Callable[[str], Awaitable[None]]


async def repeat_after_pauses(action: Callable[[], Awaitable[T]], clock: Clock, source: str, beat: Beat) -> T:
    """The result of the action. When the publisher requests a pause it is repeated afterwards, three times at most.

    `beat` is awaited every minute of a pause with a sentence that says how long it lasts.
    """
    for _ in range(MOST_PAUSES):
        try:
            return await action()
        except PublisherError as problem:
            if not problem.retry_after_seconds:
                raise
            logger(source=source).info("publisher paused", reason=str(problem), seconds=problem.retry_after_seconds)
            await _wait(problem.retry_after_seconds, clock, beat)
    return await action()


async def _wait(seconds: float, clock: Clock, beat: Beat) -> None:
    ends_at = clock.now() + seconds
    until = clock.utc() + timedelta(seconds=seconds)
    while (left := ends_at - clock.now()) > 0:
        await beat(f"the publisher requests a pause until {until:%Y-%m-%d %H:%M} UTC")
        await clock.sleep(min(left, BEAT_SECONDS))
