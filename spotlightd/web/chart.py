"""A bar for each day, drawn on the server: what readers without script see, and what the script then replaces. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from spotlightd.web.show import short

WIDTH, HEIGHT = 760, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 26
_SHORT_DAYS, _LONG_DAYS = 100, 3 * 366


@dataclass(frozen=True, slots=True)
class Point:
    """One day: its amount, what a screen reader says of it, and the page of its row."""

    day: date
    value: float
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
    levels: tuple[Tick, ...]
    days: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM


def drawn(points: Sequence[Point]) -> Drawing:
    """Bars over a scale of days, from zero upward. No points: an empty frame."""
    if not points:
        return Drawing((), (), ())
    first, last = points[0].day, points[-1].day
    span = max((last - first).days, 1)
    top = _ceiling(max(point.value for point in points))
    room, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    wide = max(min(room / (span + 1) * 0.8, 14.0), 0.75)

    def across(day: date) -> float:
        return LEFT + wide / 2 + (day - first).days / span * (room - wide)

    def high(value: float) -> float:
        return max(value, 0) / top * tall

    bars = tuple(
        Bar(
            round(across(p.day) - wide / 2, 2),
            round(TOP + tall - high(p.value), 2),
            round(wide, 2),
            round(high(p.value), 2),
            p,
        )
        for p in points
    )
    levels = tuple(Tick(round(TOP + tall - high(top * part / 4), 1), short(top * part / 4)) for part in range(5))
    days = tuple(Tick(round(across(day), 1), says) for day, says in _days(first, last))
    return Drawing(bars, levels, days)


def _ceiling(value: float) -> float:
    """The next round number: 1, 2, 2.5, 4, 5 or 10 times a power of ten."""
    if value <= 0:
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
