"""Candles by time with the volume below and gaps shaded, drawn on the server: what readers without script see. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from spotlightd.web.formatting import number
from spotlightd.web.symbol.daily_chart import Point, Tick
from spotlightd.web.symbol.minutes import Bar, Gap, Window

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT = 64, 8
TOP, FLOOR = 10, 226  # of prices
CEILING, FOOT = 240, 294  # of volumes
_PRICES = 4
_MOST_TIMES = 7
_TIME_STEPS = (1, 2, 5, 10, 30, 60, 120, 240, 480, 720, 1440)  # minutes


@dataclass(frozen=True, slots=True)
class Candle:
    """`stick` is a path from low to high, `body` one around open and close; `sold` is the height of its volume."""

    x: float
    width: float
    stick: str
    body: str
    sold: float
    rises: bool
    point: Point


@dataclass(frozen=True, slots=True)
class Shade:
    x: float
    width: float
    says: str


@dataclass(frozen=True, slots=True)
class Candles:
    candles: tuple[Candle, ...]
    shades: tuple[Shade, ...]
    levels: tuple[Tick, ...]
    times: tuple[Tick, ...]

    width, height, left, right = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT
    top, floor, foot = TOP, FLOOR, FOOT


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where moments and prices lie on the drawing."""

    window: Window
    low: float
    high: float
    most: float

    def across(self, at: datetime) -> float:
        part = (at - self.window.since) / (self.window.until - self.window.since)
        return LEFT + min(max(part, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def up(self, price: float) -> float:
        if self.high <= self.low:
            return (TOP + FLOOR) / 2
        return FLOOR - (price - self.low) / (self.high - self.low) * (FLOOR - TOP)

    def sold(self, volume: float) -> float:
        return volume / self.most * (FOOT - CEILING)


def drawn(window: Window, some: Sequence[Bar], gaps: Sequence[Gap], told: Callable[[Bar], Point]) -> Candles:
    """Bars of `window.step` minutes, in order; `told` says what is said of one. At least one bar."""
    scale = _Scale(
        window, min(one.low for one in some), max(one.high for one in some), float(max(o.volume for o in some)) or 1.0
    )
    each = (WIDTH - LEFT - RIGHT) * window.step / window.minutes
    shades = tuple(_shade(scale, one) for one in gaps)
    return Candles(tuple(_candle(scale, one, each, told(one)) for one in some), shades, _levels(scale), _times(scale))


def _candle(scale: _Scale, one: Bar, each: float, point: Point) -> Candle:
    x, wide = scale.across(one.minute), max(each * 0.7, 0.8)
    middle, high, low = x + each / 2, scale.up(one.high), scale.up(one.low)
    top, bottom = sorted((scale.up(one.open), scale.up(one.close)))
    tall = max(bottom - top, 1.0)
    left = middle - wide / 2
    return Candle(
        round(x, 2), round(each, 2), f"M{middle:.2f} {high:.1f}V{max(low, high + 1):.1f}",
        f"M{left:.2f} {top:.1f}h{wide:.2f}v{tall:.1f}h-{wide:.2f}z", round(scale.sold(float(one.volume)), 1),
        one.close >= one.open, point,
    )  # fmt: skip


def _shade(scale: _Scale, one: Gap) -> Shade:
    first, last = sorted((scale.across(one.since), scale.across(one.until)))
    wide = max(last - first, 2.0)
    says = f"gap from {one.since:%H:%M:%S} to {one.until:%H:%M:%S} UTC: {one.cause}"
    return Shade(round(min(first, WIDTH - RIGHT - wide), 1), round(wide, 1), says)


def _levels(scale: _Scale) -> tuple[Tick, ...]:
    """Round prices within the range; the one price when there is no range."""
    span = scale.high - scale.low
    if span <= 0:
        return (Tick(round(scale.up(scale.low), 1), number(scale.low)),)
    power = 10.0 ** math.floor(math.log10(span / _PRICES))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if span / (one * power) <= _PRICES + 1)
    digits = max(0, -math.floor(math.log10(step)) + (1 if step / power == 2.5 else 0))  # noqa: PLR2004
    first = math.ceil(scale.low / step)
    prices = [at * step for at in range(first, math.floor(scale.high / step) + 1)]
    return tuple(Tick(round(scale.up(one), 1), f"{one:,.{digits}f}") for one in prices)


def _times(scale: _Scale) -> tuple[Tick, ...]:
    """At most seven round times (UTC); midnights by their date."""
    window = scale.window
    step = next((one for one in _TIME_STEPS if window.minutes / one < _MOST_TIMES), _TIME_STEPS[-1]) * 60
    first = math.ceil(window.since.timestamp() / step)
    times = [datetime.fromtimestamp((first + at) * step, UTC) for at in range(_MOST_TIMES)]
    return tuple(
        Tick(round(scale.across(one), 1), f"{one:%H:%M}" if one.hour or one.minute else f"{one:%m-%d}")
        for one in times
        if one < window.until
    )
