"""A bar for each day, drawn on the server: the chart for readers without script; the script replaces it. Pure.

Up to `MOST_BARS` days each bar is a link to its row. Beyond that there are more days than pixels, so one outline with
the largest amount of each pixel is drawn (5,000 links made a page of 1.1 MB and took most of its time; the outline
2 ms).
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from spotlightd.web.formatting import format_short

WIDTH, HEIGHT = 760, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 26
MOST_BARS = 400
_SHORT_DAYS, _LONG_DAYS = 100, 3 * 366


@dataclass(frozen=True, slots=True)
class Point:
    """The text of a day for screen readers, and the page of its row."""

    text: str
    address: str
    is_corrected: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    point: Point


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole drawing: bars, or an outline when there are too many days for bars."""

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
    """Where days and amounts are on the drawing."""

    first: date
    span: int
    top: float

    @property
    def bar_width(self) -> float:
        return max(min((WIDTH - LEFT - RIGHT) / (self.span + 1) * 0.8, 14.0), 1.0)

    def x(self, day: date) -> float:
        """The left edge of the day's bar."""
        return LEFT + (day - self.first).days / self.span * (WIDTH - LEFT - RIGHT - self.bar_width)

    def bar_height(self, value: float) -> float:
        return max(value, 0) / self.top * (HEIGHT - TOP - BOTTOM)


def draw_days(days: Sequence[date], values: Sequence[float], make_point: Callable[[int], Point]) -> Drawing:
    """Bars from zero upward. `make_point` gives the text and the link of the n-th entry. Without days an empty frame.

    A day that is there several times has its bars side by side, in the place of one.
    """
    if not days:
        return Drawing((), "", (), ())
    scale = _Scale(days[0], max((days[-1] - days[0]).days, 1), _round_up(max(values)))
    amounts = [scale.top * part / 4 for part in range(5)]
    levels = tuple(
        Tick(round(HEIGHT - BOTTOM - scale.bar_height(amount), 1), format_short(amount)) for amount in amounts
    )
    labels = _day_labels(days[0], days[-1])
    ticks = tuple(Tick(round(scale.x(day) + scale.bar_width / 2, 1), text) for day, text in labels)
    if len(days) > MOST_BARS:
        return Drawing((), _make_outline(scale, days, values), levels, ticks)
    slots = _divide_days(days)
    bars = tuple(
        _make_bar(scale, slot, value, make_point(index))
        for index, (slot, value) in enumerate(zip(slots, values, strict=True))
    )
    return Drawing(bars, "", levels, ticks)


@dataclass(frozen=True, slots=True)
class _Slot:
    """The place of a bar: the `place`-th of `count` on its day."""

    day: date
    place: int
    count: int


def _divide_days(days: Sequence[date]) -> list[_Slot]:
    """The places of all bars. Equal days are neighbours."""
    counts, slots = Counter(days), list[_Slot]()
    for day in days:
        place = slots[-1].place + 1 if slots and slots[-1].day == day else 0
        slots.append(_Slot(day, place, counts[day]))
    return slots


def _make_bar(scale: _Scale, slot: _Slot, value: float, point: Point) -> Bar:
    height, width = scale.bar_height(value), scale.bar_width / slot.count
    x, y = scale.x(slot.day) + slot.place * width, HEIGHT - BOTTOM - height
    return Bar(round(x, 2), round(y, 2), round(width, 2), round(height, 2), point)


def _make_outline(scale: _Scale, days: Sequence[date], values: Sequence[float]) -> str:
    """One path of bars that are a pixel wide, each as high as the largest amount of its days."""
    step = (WIDTH - LEFT - RIGHT - scale.bar_width) / scale.span
    numbers = np.fromiter(map(date.toordinal, days), np.int64, len(days)) - scale.first.toordinal()
    pixels = (LEFT + numbers * step).astype(np.int64)
    begins = np.flatnonzero(np.diff(pixels, prepend=-1))  # the days are in order, so those of a pixel are neighbours
    largest = np.maximum.reduceat(np.asarray(values), begins)
    base = HEIGHT - BOTTOM
    bars = zip(pixels[begins].tolist(), largest.tolist(), strict=True)
    return "".join(f"M{x} {base}v-{scale.bar_height(value):.1f}h1V{base}" for x, value in bars)


def _round_up(value: float) -> float:
    """The next round number: 1, 2, 2.5, 4, 5, 8 or 10 times a power of ten."""
    if value <= sys.float_info.min:  # below it, powers of ten lose their digits
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= value * 0.999999)


def _day_labels(first: date, last: date) -> list[tuple[date, str]]:
    """At most seven dates at round distances: days, months or years."""
    span = (last - first).days
    if span > _LONG_DAYS:
        step = math.ceil(span / 366 / 7)
        return [(date(year, 1, 1), str(year)) for year in range(first.year + 1, last.year + 1, step)]
    if span > _SHORT_DAYS:
        return _month_labels(first, last, math.ceil(span / 31 / 7))
    step = max(math.ceil((span + 1) / 6), 1)
    days = [first + timedelta(days=offset) for offset in range(0, span + 1, step)]
    return [(day, f"{day:%m-%d}") for day in days]


def _month_labels(first: date, last: date, step: int) -> list[tuple[date, str]]:
    months = [date(first.year + index // 12, index % 12 + 1, 1) for index in range(first.month, first.month + 40)]
    return [(month, f"{month:%Y-%m}") for month in months[::step] if month <= last]
