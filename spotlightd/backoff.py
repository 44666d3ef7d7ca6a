"""One back-off for everything that is tried again, and the clock that tests replace.

A pause doubles with each failure up to a ceiling. Part of it is left to chance (jitter), so that many clients that
failed together do not come back together.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, passed in so that tests need neither wait nor be lucky.

    `wall` is UTC in nanoseconds since 1970, `now` is monotonic seconds, `chance` is in [0, 1), `number` has 63 bits and
    is never 0. `boot` is seconds since the machine started, and goes on while it sleeps, when `now` stands still.
    """

    wall: Callable[[], int] = time.time_ns
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    number: Callable[[], int] = lambda: secrets.randbelow((1 << 63) - 1) + 1
    boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)

    def utc(self) -> datetime:
        """The wall clock as an aware time in UTC."""
        return datetime.fromtimestamp(self.wall() / 1e9, UTC)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pauses between tries, in seconds: `first` doubles up to `most`; the share `jitter` of each is left to chance."""

    first: float
    most: float
    jitter: float = 0.5

    def pause(self, failures: int, chance: Callable[[], float] = random.random) -> float:
        """The pause after that many failures in a row (1: the first one); never above `most`."""
        doubled = min(self.most, self.first * 2.0 ** min(max(failures - 1, 0), 60))
        return doubled * (1 - self.jitter * chance())
