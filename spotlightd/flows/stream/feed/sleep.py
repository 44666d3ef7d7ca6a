"""Notices that this process did not run for a while: the machine slept, or the process was stopped.

The monotonic clock stands still while a machine sleeps, so that a pause of hours looks like a moment, and a dead socket
like a fresh one. The boot clock goes on. Neither is moved by a wall clock that somebody sets.
"""

from __future__ import annotations

from dataclasses import dataclass

from spotlightd.backoff import Clock

SUSPEND_SECONDS = 1.0


@dataclass(slots=True)
class SleepWatch:
    """Looks at the clocks again and again. `most_seconds` is the longest time between two looks while the process runs."""

    clock: Clock
    most_seconds: float
    boot: float = 0.0
    now: float = 0.0

    def start(self) -> None:
        """Looks come often from now on."""
        self.boot, self.now = self.clock.boot(), self.clock.now()

    def look(self) -> tuple[float, str]:
        """For how many seconds the process did not run since the last look, and that in a sentence; 0 and empty when it ran."""
        boot, now = self.clock.boot(), self.clock.now()
        seconds, run_seconds = boot - self.boot, now - self.now
        self.boot, self.now = boot, now
        if seconds < self.most_seconds:
            return 0.0, ""
        if seconds - run_seconds >= SUSPEND_SECONDS:
            return seconds, f"this machine slept for {seconds:,.0f} s"
        return (
            seconds,
            f"this process did not run for {seconds:,.0f} s: it was stopped, or the machine had no time for it",
        )
