"""A bar for each day, drawn on the server: what readers without script see, and what the script then replaces. Pure.

Up to `MOST_BARS` days each bar is a link to its row. Beyond that there are more days than pixels: one outline with the
largest amount of each pixel is drawn (5,000 links made a page of 1.1 MB and took most of its time; the outline 2 ms).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from spotlightd.web.formatting import short

WIDTH, HEIGHT = 760, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 26
MOST_BARS = 400
_SHORT_DAYS, _LONG_DAYS = 100, 3 * 366


@dataclass(frozen=True, slots=True)
class Point:
    """What a screen reader says of a day, and the page of its row."""

    says: str
    address: str
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    point: Point


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    says: str


@dataclass(frozen=True, slots=True)
class Drawing:
    bars: tuple[Bar, ...]
    outline: str
    levels: tuple[Tick, ...]
    days: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where days and amounts lie on the drawing."""

    first: date
    span: int
    top: float

    @property
    def wide(self) -> float:
        return max(min((WIDTH - LEFT - RIGHT) / (self.span + 1) * 0.8, 14.0), 1.0)

    def across(self, day: date) -> float:
        """The left edge of the day's bar."""
        return LEFT + (day - self.first).days / self.span * (WIDTH - LEFT - RIGHT - self.wide)

    def high(self, value: float) -> float:
        return max(value, 0) / self.top * (HEIGHT - TOP - BOTTOM)


def drawn(days: Sequence[date], values: Sequence[float], told: Callable[[int], Point]) -> Drawing:
    """Bars over a scale of days, from zero upward; `told` gives what is said of the n-th. Without days an empty frame."""
    if not days:
        return Drawing((), "", (), ())
    scale = _Scale(days[0], max((days[-1] - days[0]).days, 1), _ceiling(max(values)))
    levels = tuple(
        Tick(round(HEIGHT - BOTTOM - scale.high(scale.top * part / 4), 1), short(scale.top * part / 4))
        for part in range(5)
    )
    ticks = tuple(Tick(round(scale.across(day) + scale.wide / 2, 1), says) for day, says in _days(days[0], days[-1]))
    if len(days) > MOST_BARS:
        return Drawing((), _outline(scale, days, values), levels, ticks)
    bars = tuple(_bar(scale, day, value, told(at)) for at, (day, value) in enumerate(zip(days, values, strict=True)))
    return Drawing(bars, "", levels, ticks)


def _bar(scale: _Scale, day: date, value: float, point: Point) -> Bar:
    high = scale.high(value)
    return Bar(
        round(scale.across(day), 2), round(HEIGHT - BOTTOM - high, 2), round(scale.wide, 2), round(high, 2), point
    )


def _outline(scale: _Scale, days: Sequence[date], values: Sequence[float]) -> str:
    """One path of bars that are a pixel wide, each as high as the largest amount of its days."""
    highest: dict[int, float] = {}
    first, step = scale.first.toordinal(), (WIDTH - LEFT - RIGHT - scale.wide) / scale.span
    for day, value in zip(days, values, strict=True):
        at = int(LEFT + (day.toordinal() - first) * step)
        if value > highest.get(at, -1.0):
            highest[at] = value
    base = HEIGHT - BOTTOM
    return "".join(f"M{at} {base}v-{scale.high(value):.1f}h1V{base}" for at, value in highest.items())


def _ceiling(value: float) -> float:
    """The next round number: 1, 2, 2.5, 4, 5 or 10 times a power of ten."""
    if value <= sys.float_info.min:  # below it, powers of ten lose their digits
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= value * 0.999999)


def _days(first: date, last: date) -> list[tuple[date, str]]:
    """At most seven dates with round distances: days, months or years."""
    span = (last - first).days
    if span > _LONG_DAYS:
        step = math.ceil(span / 366 / 7)
        return [(date(year, 1, 1), str(year)) for year in range(first.year + 1, last.year + 1, step)]
    if span > _SHORT_DAYS:
        return _months(first, last, math.ceil(span / 31 / 7))
    step = max(math.ceil((span + 1) / 6), 1)
    return [(first + timedelta(days=at), f"{first + timedelta(days=at):%m-%d}") for at in range(0, span + 1, step)]


def _months(first: date, last: date, step: int) -> list[tuple[date, str]]:
    months = [date(first.year + at // 12, at % 12 + 1, 1) for at in range(first.month, first.month + 40)]
    return [(month, f"{month:%Y-%m}") for month in months[::step] if month <= last]
