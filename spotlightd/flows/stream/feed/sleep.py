"""Notices that this process did not run for a while: the machine slept, or the process was stopped.

The monotonic clock stands still while a machine sleeps, so that a pause of hours looks like a moment, and a dead socket
like a fresh one. The boot clock goes on. Neither is moved by a wall clock that somebody sets.
"""

from __future__ import annotations

from dataclasses import dataclass

from spotlightd.backoff import Clock
from spotlightd.flows.stream.feed.outages import Moment

SUSPEND_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sleep:
    """For so many `seconds` after `since` the process did not run; `detail` says so in a sentence."""

    since: Moment
    seconds: float
    detail: str


class SleepWatch:
    """Looks at the clocks about once a second. `most_seconds` is the longest time between two looks of a process that
    runs. A look for each frame would cost as much as the frame.
    """

    def __init__(self, clock: Clock, most_seconds: float) -> None:
        self._clock, self._most_seconds = clock, most_seconds
        self.start()

    def start(self) -> None:
        """Looks come often from now on."""
        self._boot, self._last = self._clock.boot(), Moment(self._clock.wall(), self._clock.now())

    def look(self) -> Sleep | None:
        """The sleep since the last look; None when there was none."""
        boot, last = self._boot, self._last
        self.start()
        seconds, run_seconds = self._boot - boot, self._last.now - last.now
        if seconds < self._most_seconds:
            return None
        if seconds - run_seconds >= SUSPEND_SECONDS:
            return Sleep(last, seconds, f"this machine slept for {seconds:,.0f} s")
        detail = f"this process did not run for {seconds:,.0f} s: it was stopped, or the machine had no time for it"
        return Sleep(last, seconds, detail)
