"""How often a host is requested.

Requests to a host are evenly spaced and never come in bursts. A token bucket that saves tokens would let twice the limit
through in the second after an idle time, and publishers count requests per second.
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from spotlightd.backoff import Clock
from spotlightd.errors import PublisherError

MAX_PAUSE_SECONDS = 86_400.0


@dataclass(slots=True)
class RateLimit:
    """When the next request to a host may be sent. Times are seconds of `Clock.now`.

    `paused_until` is the end of the pause that the host requested by Retry-After. It holds for every source of the host.
    """

    per_second: float
    requested_at: float = -math.inf
    paused_until: float = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until the next request may be sent; 0 when it may be sent now."""
        return max(0.0, self.requested_at + 1 / self.per_second - now, self.remaining_pause(now))

    def remaining_pause(self, now: float) -> float:
        """Seconds left of the pause that the host requested."""
        return max(0.0, self.paused_until - now)

    def pause(self, now: float, seconds: float) -> None:
        self.paused_until = max(self.paused_until, now + seconds)


@dataclass(slots=True)
class _Host:
    rate: RateLimit
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class HostQueues:
    """One queue of requests for each host, shared by all sources. Requests are sent in the order in which they came."""

    def __init__(self, clock: Clock, most_seconds: float) -> None:
        self._clock = clock
        self._most = most_seconds
        self._hosts: dict[str, _Host] = {}

    def set_limit(self, host: str, per_second: float) -> None:
        """Limit the requests to a host. Of several limits the lowest holds."""
        entry = self._hosts.setdefault(host, _Host(RateLimit(per_second)))
        entry.rate.per_second = min(entry.rate.per_second, per_second)

    async def wait_for_slot(self, host: str) -> None:
        """Wait until a request may be sent. PublisherError at once if the host requested a longer pause than the limit."""
        rate = self._hosts[host].rate
        async with self._hosts[host].lock:
            while wait := rate.wait(self._clock.now()):
                if (remaining := rate.remaining_pause(self._clock.now())) > self._most:
                    raise PublisherError(
                        f"{host} requested a pause, of which {remaining:,.0f} s are left: not requested before that",
                        retry_after_seconds=remaining,
                    )
                await self._clock.sleep(wait)
            rate.requested_at = self._clock.now()

    def pause(self, host: str, seconds: float) -> None:
        """Pause all requests to the host, of every source."""
        self._hosts[host].rate.pause(self._clock.now(), seconds)


def parse_retry_after(retry_after: str, now: datetime) -> float | None:
    """Seconds in a Retry-After header, which is a number or an HTTP date; None when it is neither.

    At most a day, so that one absurd header does not block a host as long as the process lives.
    """
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), MAX_PAUSE_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds.total_seconds(), 0.0), MAX_PAUSE_SECONDS)
