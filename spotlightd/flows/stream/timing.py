"""How long a listener waits for what, and when it may try again: so that no venue is ever stormed."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from spotlightd.model.stream import FeedError
from spotlightd.settings import sources

ASKED_MOST_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, to be handed in. `wall` is UTC in nanoseconds, `now` never goes back, `number` has 63 bits."""

    wall: Callable[[], int] = time.time_ns
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    number: Callable[[], int] = lambda: secrets.randbelow((1 << 63) - 1) + 1


@dataclass(frozen=True, slots=True)
class ListenerTiming:
    """How a listener bears with its venue and with our own stores; in seconds, but for `connects`.

    beat      longest time between two looks at the clock while nothing comes
    pulse     between two heartbeats; a try to connect must not take twice as long
    steady    a connection that lived so long was a good one: the pauses after it begin small again
    fruitful  longest pause after a connection that brought frames: who is hung up on must not miss a minute each time
    connects  most connections that are begun in any `window`
    shed      once the spool was full, what comes is shed for so long: else every other frame would be a gap of its own
    grace     a number that is missing may still come out of order
    refill    longest wait for a venue's answer to a refill
    settle    longest wait for the ledger, when connected again and when stopped
    """

    beat: float = 1.0
    pulse: float = 10.0
    steady: float = 60.0
    fruitful: float = 8.0
    connects: int = 10
    window: float = 60.0
    shed: float = 1.0
    grace: float = 1.0
    refill: float = 30.0
    settle: float = 5.0


class Backoff:
    """The pauses of one feed between its connections: doubling, half of each left to chance, with a ceiling on all."""

    def __init__(self, patience: ListenerTiming, limits: sources.StreamsSettings, clock: Clock) -> None:
        self._patience = patience
        self._limits = limits
        self._clock = clock
        self._begun: deque[float] = deque(maxlen=patience.connects)
        self._failures = 0

    def began(self) -> None:
        """A connection is being tried now."""
        self._begun.append(self._clock.now())

    def pause(self, problem: FeedError, *, lived: float, frames: int) -> float:
        """Seconds until the next try, after a connection that ended like that."""
        self._failures = 1 if lived >= self._patience.steady else self._failures + 1
        longest = self._limits.backoff_most_seconds
        if problem.cause == "refused by the venue":
            doubled = longest
        else:
            most = min(self._patience.fruitful, longest) if frames else longest
            doubled = min(self._limits.backoff_seconds * 2.0 ** min(self._failures - 1, 60), most)
        asked = min(problem.retry_after_seconds or 0.0, ASKED_MOST_SECONDS)
        return max(doubled * (0.5 + self._clock.chance() / 2), asked, self._room())

    def _room(self) -> float:
        """Seconds until there may be one more connection in the window."""
        if len(self._begun) < self._patience.connects:
            return 0.0
        return self._begun[0] + self._patience.window - self._clock.now()
