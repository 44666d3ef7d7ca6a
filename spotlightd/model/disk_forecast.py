"""How fast a disk fills, estimated from earlier measurements. One large copy or deletion does not change the estimate.

The rate is the median of the slopes between all pairs of points (the Theil-Sen estimator): up to a quarter of the points
may be outliers. Points are thinned so that they stay evenly spaced over the span: a minute apart at first, an hour after
a week. What is created and deleted again each day, such as days that go to the archive, therefore counts as no growth.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations

MOST_POINTS = 120  # 7,140 pairs
FEWEST_POINTS = 5
LONGEST_SPAN = timedelta(days=14)
SHORTEST_SPAN = timedelta(minutes=5)
HOUR, DAY, YEAR = 3_600.0, 86_400.0, 365.25 * 86_400.0
FAR_SECONDS = 10 * YEAR


@dataclass(frozen=True, slots=True)
class Point:
    """How many bytes were in use at that time."""

    at: datetime
    used: int


@dataclass(frozen=True, slots=True)
class History:
    """Points in order of time."""

    points: tuple[Point, ...] = ()

    def with_point(self, new: Point) -> History:
        """The history with that point as the newest. Points with a later time are removed: the clock was set back."""
        earlier = [point for point in self.points if new.at - LONGEST_SPAN <= point.at < new.at]
        return History(_thin([*earlier, new]))

    @property
    def rate(self) -> float | None:
        """Bytes a second; None while there are too few points."""
        points = self.points
        if len(points) < FEWEST_POINTS or points[-1].at - points[0].at < SHORTEST_SPAN:
            return None
        start = points[0].at
        plain = [((point.at - start).total_seconds(), point.used) for point in points]
        return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(plain, 2))


def build_history(points: Iterable[Point]) -> History:
    """A history from points in any order."""
    history = History()
    for point in sorted(points, key=lambda point: point.at):
        history = history.with_point(point)
    return history


def _thin(points: list[Point]) -> tuple[Point, ...]:
    """At most MOST_POINTS points. Those with the closest neighbours are removed, never the first or the last."""
    while len(points) > MOST_POINTS:
        inner = range(1, len(points) - 1)
        points.pop(min(inner, key=lambda index: points[index + 1].at - points[index - 1].at))
    return tuple(points)


@dataclass(frozen=True, slots=True)
class Forecast:
    """`rate` in bytes a second, None = not known yet; `seconds` until the disk is full, None = never at this rate."""

    rate: float | None = None
    seconds: float | None = None

    @property
    def summary(self) -> str:
        if self.rate is None:
            return "too early to say how fast it fills"
        if self.seconds is None:
            return "not growing"
        return f"full in {_format_duration(self.seconds)} at this rate"


def forecast(rate: float | None, free: int) -> Forecast:
    """The forecast for that rate and that many free bytes."""
    if rate is None or rate <= 0 or free / rate > FAR_SECONDS:
        return Forecast(rate)
    return Forecast(rate, free / rate)


def _format_duration(seconds: float) -> str:
    for unit, length, most in (("minute", 60.0, 90.0), ("hour", HOUR, 48.0), ("day", DAY, 730.0), ("year", YEAR, 11.0)):
        if seconds < most * length:
            count = int(seconds / length)
            return f"{count or 'less than 1'} {unit}{'s' if count > 1 else ''}"
    return "more than 10 years"
