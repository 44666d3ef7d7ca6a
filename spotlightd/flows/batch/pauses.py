"""Waiting for a publisher that requests a pause, and ending a pass that lasts long. A first run of years takes days: it gives
each host its pauses, and what is published meanwhile does not wait for the end of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TypeVar

from spotlightd.backoff import Clock
from spotlightd.errors import PublisherError
from spotlightd.log import logger

MOST_PAUSES = 3
BEAT_SECONDS = 60.0

T = TypeVar("T")
Beat = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class Lap:
    """One pass over the documents that are due. It ends at that time of `Clock.now`, after the document that is in work."""

    ends_at: float = inf
    was_cut: bool = False

    def is_over(self, now: float) -> bool:
        """Whether no other document is to be fetched in this pass."""
        self.was_cut = now >= self.ends_at
        return self.was_cut


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
