"""How often a slice may be computed again. Each time leaves rows that nobody reads any more, and they stay for `as_of`.

A day of swap slices gets new messages every few seconds. Computed after each, it would leave some 8,000 versions; with pauses
that double up to a quarter of an hour it is about 100. A slice that was left alone for an hour starts afresh, so a correction
of an old day is there at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from spotlightd.backoff import Backoff, Clock

PAUSE = Backoff(first=10.0, most=900.0, jitter=0.0)
FORGOTTEN_SECONDS = 3_600.0


class Pacing:
    """When each slice was computed lately, and how many times."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._computed: dict[str, tuple[int, float]] = {}

    def is_ready(self, name: str) -> bool:
        """Whether the slice may be computed now."""
        times, last = self._computed.get(name, (0, 0.0))
        return not times or self._clock.now() - last >= PAUSE.pause(times)

    def note(self, names: Iterable[str]) -> None:
        """These slices have been computed."""
        now = self._clock.now()
        recent = {name: seen for name, seen in self._computed.items() if now - seen[1] < FORGOTTEN_SECONDS}
        self._computed = recent | {name: (recent.get(name, (0, 0.0))[0] + 1, now) for name in names}
