"""Laps: passes over the documents of a source that are due, each of limited length. A first run of years takes many.

What is published meanwhile goes first in the next lap. A lap also ends when one document after the other cannot be fetched: then
the publisher is down, or shuts us out, and the other documents are left in peace, without a failure for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf

from spotlightd.backoff import Backoff, Clock
from spotlightd.flows.batch.forecast import Forecast

WAITING = "waiting for the next check"
LAP_SECONDS = 900.0
MOST_FAILURES = 10
STALL = Backoff(first=600.0, most=21_600.0, jitter=0.25)


@dataclass(slots=True)
class Lap:
    """One pass. It ends at that time of `Clock.now`, or after so many failures in a row, when no document is in work."""

    ends_at: float = inf
    most_failures: float = inf
    failures: int = 0
    was_cut: bool = False

    def count(self, *, is_failure: bool) -> None:
        """A document was fetched, or could not be. One that is not there counts as fetched: the publisher has answered."""
        self.failures = self.failures + 1 if is_failure else 0

    @property
    def has_stalled(self) -> bool:
        return self.failures >= self.most_failures

    def is_over(self, now: float) -> bool:
        """Whether no other document is to be fetched in this pass."""
        self.was_cut = now >= self.ends_at
        return self.was_cut or self.has_stalled


@dataclass(slots=True)
class Course:
    """How the laps of one source go: the forecast, and after a lap that stalled the time of the next one and a sentence."""

    forecast: Forecast
    clock: Clock
    stalls: int = 0
    resumes_at: float = inf
    sentence: str = WAITING

    @property
    def is_due(self) -> bool:
        """Whether the pause after a lap that stalled is over."""
        return self.clock.now() >= self.resumes_at

    def begin_lap(self, seconds: float) -> Lap:
        self.resumes_at, self.sentence = inf, WAITING
        return Lap(self.clock.now() + seconds, MOST_FAILURES)

    def end_lap(self, lap: Lap) -> None:
        self.stalls = self.stalls + 1 if lap.has_stalled else 0
        if lap.has_stalled:
            pause = STALL.pause(self.stalls, self.clock.chance)
            self.resumes_at = self.clock.now() + pause
            until = self.clock.utc() + timedelta(seconds=pause)
            self.sentence = f"{lap.failures} documents in a row could not be fetched: the others wait until {until:%Y-%m-%d %H:%M} UTC"
