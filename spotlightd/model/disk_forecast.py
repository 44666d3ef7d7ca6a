"""How fast a disk fills, from what it held at earlier times: a rate that one large copy or deletion does not turn over.

The rate is the median of the slopes between all pairs of points (Theil and Sen): up to a quarter of the points may be
wild. Points are thinned so that they stay even over the span, whatever the number: a minute apart at first, an hour after
a week. What is made and deleted again each day, such as days that go to the archive, is thereby seen as what it is.
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
    """So many bytes were in use at that time."""

    at: datetime
    used: int


@dataclass(frozen=True, slots=True)
class History:
    """Some points in the order of their times."""

    points: tuple[Point, ...] = ()

    def added(self, new: Point) -> History:
        """With that point as the newest. Points that claim to be later go: the clock was set back."""
        kept = [one for one in self.points if new.at - LONGEST_SPAN <= one.at < new.at]
        return History(_thinned([*kept, new]))

    @property
    def rate(self) -> float | None:
        """Bytes a second; None as long as it is too early to say."""
        points = self.points
        if len(points) < FEWEST_POINTS or points[-1].at - points[0].at < SHORTEST_SPAN:
            return None
        begun = points[0].at
        plain = [((one.at - begun).total_seconds(), one.used) for one in points]
        return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(plain, 2))


def remembered(points: Iterable[Point]) -> History:
    """A history of points from anywhere, in any order."""
    made = History()
    for one in sorted(points, key=lambda each: each.at):
        made = made.added(one)
    return made


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    """At most MOST_POINTS: those go whose neighbours stand closest, never the first or the last."""
    while len(points) > MOST_POINTS:
        inner = range(1, len(points) - 1)
        points.pop(min(inner, key=lambda at: points[at + 1].at - points[at - 1].at))
    return tuple(points)


@dataclass(frozen=True, slots=True)
class Forecast:
    """`rate` in bytes a second, None = not known yet; `seconds` until it is full, None = not at this rate."""

    rate: float | None = None
    seconds: float | None = None

    @property
    def says(self) -> str:
        if self.rate is None:
            return "too early to say how fast it fills"
        if self.seconds is None:
            return "not growing"
        return f"full in {_spoken(self.seconds)} at this rate"


def forecast(rate: float | None, free: int) -> Forecast:
    """What a rate means for so many free bytes."""
    if rate is None or rate <= 0 or free / rate > FAR_SECONDS:
        return Forecast(rate)
    return Forecast(rate, free / rate)


def _spoken(seconds: float) -> str:
    for unit, length, most in (("minute", 60.0, 90.0), ("hour", HOUR, 48.0), ("day", DAY, 730.0), ("year", YEAR, 11.0)):
        if seconds < most * length:
            many = int(seconds / length)
            return f"{many or 'less than 1'} {unit}{'s' if many > 1 else ''}"
    return "more than 10 years"
