"""Candles by time with the volume below and gaps shaded, drawn on the server for readers without script. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from spotlightd.web.formatting import format_number
from spotlightd.web.symbol.daily_chart import Point, Tick
from spotlightd.web.symbol.minutes import Bar, Gap, Window

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT = 64, 8
PRICE_TOP, PRICE_BOTTOM = 10, 226
VOLUME_TOP, VOLUME_BOTTOM = 240, 294
_PRICE_LABELS = 4
_MOST_TIME_LABELS = 7
_TIME_STEPS = (1, 2, 5, 10, 30, 60, 120, 240, 480, 720, 1440)  # minutes


@dataclass(frozen=True, slots=True)
class Candle:
    """`stick`: path from low to high. `body`: path around open and close. `volume`: height of the volume bar."""

    x: float
    width: float
    stick: str
    body: str
    volume: float
    is_rising: bool
    point: Point


@dataclass(frozen=True, slots=True)
class Shade:
    """A gap."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Candles:
    """The whole drawing."""

    candles: tuple[Candle, ...]
    shades: tuple[Shade, ...]
    levels: tuple[Tick, ...]
    times: tuple[Tick, ...]

    width, height, left, right = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT
    top, price_bottom, bottom = PRICE_TOP, PRICE_BOTTOM, VOLUME_BOTTOM


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where times, prices and volumes are on the drawing."""

    window: Window
    low: float
    high: float
    most_volume: float

    def x(self, at: datetime) -> float:
        share = (at - self.window.since) / (self.window.until - self.window.since)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def y(self, price: float) -> float:
        if self.high <= self.low:
            return (PRICE_TOP + PRICE_BOTTOM) / 2
        return PRICE_BOTTOM - (price - self.low) / (self.high - self.low) * (PRICE_BOTTOM - PRICE_TOP)

    def volume_height(self, volume: float) -> float:
        return volume / self.most_volume * (VOLUME_BOTTOM - VOLUME_TOP)


def draw_candles(
    window: Window, bars: Sequence[Bar], gaps: Sequence[Gap], make_point: Callable[[Bar], Point]
) -> Candles:
    """Bars of `window.step` minutes, in order, at least one. `make_point` gives the text and the link of a bar."""
    scale = _Scale(
        window,
        min(bar.low for bar in bars),
        max(bar.high for bar in bars),
        float(max(bar.volume for bar in bars)) or 1.0,
    )
    bar_width = (WIDTH - LEFT - RIGHT) * window.step / window.minutes
    candles = tuple(_make_candle(scale, bar, bar_width, make_point(bar)) for bar in bars)
    return Candles(candles, tuple(_make_shade(scale, gap) for gap in gaps), _price_labels(scale), _time_labels(scale))


def _make_candle(scale: _Scale, bar: Bar, bar_width: float, point: Point) -> Candle:
    x, body_width = scale.x(bar.minute), max(bar_width * 0.7, 0.8)
    middle, high, low = x + bar_width / 2, scale.y(bar.high), scale.y(bar.low)
    body_top, body_bottom = sorted((scale.y(bar.open), scale.y(bar.close)))
    body_height = max(body_bottom - body_top, 1.0)
    body_left = middle - body_width / 2
    return Candle(
        round(x, 2), round(bar_width, 2), f"M{middle:.2f} {high:.1f}V{max(low, high + 1):.1f}",
        f"M{body_left:.2f} {body_top:.1f}h{body_width:.2f}v{body_height:.1f}h-{body_width:.2f}z",
        round(scale.volume_height(float(bar.volume)), 1), bar.close >= bar.open, point,
    )  # fmt: skip


def _make_shade(scale: _Scale, gap: Gap) -> Shade:
    left, right = sorted((scale.x(gap.since), scale.x(gap.until)))
    width = max(right - left, 2.0)
    title = f"gap from {gap.since:%H:%M:%S} to {gap.until:%H:%M:%S} UTC: {gap.cause}"
    return Shade(round(min(left, WIDTH - RIGHT - width), 1), round(width, 1), title)


def _price_labels(scale: _Scale) -> tuple[Tick, ...]:
    """Round prices within the range. A single label when all prices are equal."""
    span = scale.high - scale.low
    if span <= 0:
        return (Tick(round(scale.y(scale.low), 1), format_number(scale.low)),)
    power = 10.0 ** math.floor(math.log10(span / _PRICE_LABELS))
    steps = (factor * power for factor in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if span / step <= _PRICE_LABELS + 1)
    digits = max(0, -math.floor(math.log10(step)) + (1 if step / power == 2.5 else 0))  # noqa: PLR2004
    first = math.ceil(scale.low / step)
    prices = [index * step for index in range(first, math.floor(scale.high / step) + 1)]
    return tuple(Tick(round(scale.y(price), 1), f"{price:,.{digits}f}") for price in prices)


def _time_labels(scale: _Scale) -> tuple[Tick, ...]:
    """At most seven round times (UTC). Midnight is shown as the date."""
    window = scale.window
    minutes = next((step for step in _TIME_STEPS if window.minutes / step < _MOST_TIME_LABELS), _TIME_STEPS[-1])
    step = minutes * 60
    first = math.ceil(window.since.timestamp() / step)
    times = [datetime.fromtimestamp((first + index) * step, UTC) for index in range(_MOST_TIME_LABELS)]
    return tuple(
        Tick(round(scale.x(at), 1), f"{at:%H:%M}" if at.hour or at.minute else f"{at:%m-%d}")
        for at in times
        if at < window.until
    )
