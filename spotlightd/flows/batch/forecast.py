"""When the documents of a source that are due will be here: a first run can take days, and says so.

The rate is the slower of two: what was done in the last hour, and what the publisher is requested at most. So the forecast
never promises what politeness forbids, and pauses that the publisher requests make it longer.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from spotlightd.backoff import Clock
from spotlightd.model.source import Batch
from spotlightd.ports.progress import Progress

WINDOW_SECONDS = 3_600.0
LEAST_SECONDS = 30.0  # of work, before there is a forecast
MINUTE, HOUR, DAY = 60, 3_600, 86_400  # seconds


class Forecast:
    """Counts the documents of one source that are done, over several passes."""

    def __init__(self, source: Batch, clock: Clock) -> None:
        self._allowed_per_second = source.requests_per_second
        self._clock = clock
        self._began_at = clock.now()
        self._done_before = self._left = 0
        self._done = deque[tuple[float, int]]()

    def note(self, done: int, total: int) -> None:
        """So many documents of a pass are done. A pass that begins has none done; the hour goes on."""
        now = self._clock.now()
        if not self._left:
            self._began_at = now
            self._done.clear()
        if done > self._done_before:
            self._done.append((now, done - self._done_before))
        self._done_before, self._left = done, total - done
        while self._done and self._done[0][0] < now - WINDOW_SECONDS:
            self._done.popleft()

    @property
    def seconds_left(self) -> float | None:
        """None while too little is known, and when nothing is left."""
        measured_seconds = min(self._clock.now() - self._began_at, WINDOW_SECONDS)
        done = sum(number for _, number in self._done)
        if not self._left or measured_seconds < LEAST_SECONDS or not done:
            return None
        return self._left / min(done / measured_seconds, self._allowed_per_second)

    @property
    def ends_at(self) -> datetime | None:
        seconds = self.seconds_left
        return None if seconds is None else self._clock.utc() + timedelta(seconds=seconds)

    @property
    def sentence(self) -> str:
        """For people, after the slice that is in work; empty while there is no forecast."""
        seconds = self.seconds_left
        return "" if seconds is None else f", about {format_duration(seconds)} left"


def add_forecast(progress: Progress, forecast: Forecast) -> Progress:
    """The same progress, with the forecast after each step."""

    def report(step: str, done: int, total: int) -> None:
        forecast.note(done, total)
        progress(step + forecast.sentence, done, total)

    return report


def format_duration(seconds: float) -> str:
    """Two units at most: `3 days 4 h`, `4 h 20 min`, `20 min`."""
    minutes = max(1, round(seconds / MINUTE))
    days, hours = minutes * MINUTE // DAY, minutes * MINUTE % DAY // HOUR
    if days:
        return f"{days} {'day' if days == 1 else 'days'} {hours} h"
    return f"{hours} h {minutes % MINUTE} min" if hours else f"{minutes} min"
