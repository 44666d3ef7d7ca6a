"""How often a host is asked and how long a failed request waits; time and chance are handed in.

A host's bucket holds one token, so requests are spaced and never come in bursts: a bucket that saves tokens would let
twice the limit through in the second after a rest, and publishers count by the second.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from spotlightd.errors import PublisherError
from spotlightd.settings import sources

ASKED_MOST_SECONDS = 86_400.0


def _wall() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, so that tests need neither wait nor be lucky. `now` never goes back; `wall` is aware UTC."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], datetime] = _wall
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


@dataclass(slots=True)
class RateLimit:
    """When one host may be asked next. Times are seconds of `Clock.now`.

    `held_until` is what the host itself asked for by Retry-After: it holds for every source that asks this host.
    """

    per_second: float
    asked_at: float = -math.inf
    held_until: float = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until the next request may go out; 0 when it may now."""
        return max(0.0, self.asked_at + 1 / self.per_second - now, self.held(now))

    def held(self, now: float) -> float:
        """Seconds that are left of the pause that the host asked for."""
        return max(0.0, self.held_until - now)

    def hold(self, now: float, seconds: float) -> None:
        self.held_until = max(self.held_until, now + seconds)


@dataclass(slots=True)
class _Host:
    pace: RateLimit
    line: asyncio.Lock = field(default_factory=asyncio.Lock)


class HostQueues:
    """The lines in which requests wait for their host, in the order they came, whichever source they are from."""

    def __init__(self, clock: Clock, most_seconds: float) -> None:
        self._clock = clock
        self._most = most_seconds
        self._hosts: dict[str, _Host] = {}

    def limit(self, host: str, per_second: float) -> None:
        """Ask that host no more often than this; of several limits the lowest holds."""
        known = self._hosts.setdefault(host, _Host(RateLimit(per_second)))
        known.pace.per_second = min(known.pace.per_second, per_second)

    async def take(self, host: str) -> None:
        """Wait until the host may be asked. PublisherError at once if it asked for a longer pause than we wait."""
        pace = self._hosts[host].pace
        async with self._hosts[host].line:
            while wait := pace.wait(self._clock.now()):
                if (held := pace.held(self._clock.now())) > self._most:
                    raise PublisherError(
                        f"{host} asked for a pause of which {held:,.0f} s are left: not asked before that",
                        retry_after_seconds=held,
                    )
                await self._clock.sleep(wait)
            pace.asked_at = self._clock.now()

    def hold(self, host: str, seconds: float) -> None:
        """The host asked for a pause: it holds for every source."""
        self._hosts[host].pace.hold(self._clock.now(), seconds)


def backoff(attempt: int, limits: sources.PublisherSettings, chance: float) -> float:
    """The pause after failed try number `attempt` (1 = first): doubles, bounded, and half of it is left to chance."""
    doubled = limits.backoff_seconds * 2.0 ** min(attempt - 1, 60)
    return min(doubled, limits.backoff_most_seconds) * (0.5 + chance / 2)


def asked_pause(retry_after: str, at: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or an HTTP date; None when it says nothing readable.

    Bounded by a day, so that one absurd header does not close a host to us for the life of the process.
    """
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), ASKED_MOST_SECONDS)
    try:
        then = parsedate_to_datetime(text)
        seconds = (then if then.tzinfo else then.replace(tzinfo=UTC)) - at
    except (ValueError, OverflowError):
        return None
    return min(max(seconds.total_seconds(), 0.0), ASKED_MOST_SECONDS)
