"""One-second bars as a drawing for a page without script: lines from low to high, volume below, gaps shaded. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spotlightd.web.live.ticks import WINDOW_SECONDS, Bar

WIDTH, HEIGHT, LEFT, RIGHT = 600, 190, 4, 66
PRICE_TOP, PRICE_BOTTOM, VOLUME_BOTTOM = 10, 130, 168
VOLUME_HEIGHT = 30


@dataclass(frozen=True, slots=True)
class Stick:
    """One bar: a line from `low` to `high` with marks at `open` and `close`; `volume_top` is the top of its volume."""

    x: float
    high: float
    low: float
    open: float
    close: float
    volume_top: float
    is_rising: bool


@dataclass(frozen=True, slots=True)
class Level:
    y: float
    price: float


@dataclass(frozen=True, slots=True)
class Strip:
    """The last two minutes. `gaps` are (left edge, width)."""

    sticks: tuple[Stick, ...]
    levels: tuple[Level, ...]
    gaps: tuple[tuple[float, float], ...]

    width, height, left, right, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, VOLUME_BOTTOM

    @property
    def time_labels(self) -> list[tuple[float, str]]:
        """Labels of the time axis and where they are."""
        step = (self.right - self.left) / 4
        return [(self.left + index * step, f"{(index - 4) * WINDOW_SECONDS // 4} s") for index in range(1, 4)]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where times and prices are on the drawing."""

    begin: float
    now: float
    low: float
    high: float

    def x(self, second: float) -> float:
        share = (min(max(second, self.begin), self.now) - self.begin) / WINDOW_SECONDS
        return round(LEFT + share * (WIDTH - RIGHT - LEFT), 1)

    def y(self, price: float) -> float:
        if self.high <= self.low:
            return (PRICE_TOP + PRICE_BOTTOM) / 2
        return round(PRICE_BOTTOM - (price - self.low) / (self.high - self.low) * (PRICE_BOTTOM - PRICE_TOP), 1)


def draw_strip(bars: Sequence[Bar], spans: Sequence[Sequence[float | None]], now: float) -> Strip:
    """The bars of the window that ends now. `spans` are those of `poller.gap_spans`."""
    begin = now - WINDOW_SECONDS
    recent = [bar for bar in bars if begin <= bar.second <= now]
    low, high = min((bar.low for bar in recent), default=0.0), max((bar.high for bar in recent), default=0.0)
    most_volume = max((bar.volume for bar in recent), default=0.0) or 1.0
    scale = _Scale(begin, now, low, high)
    levels = tuple(Level(scale.y(price), price) for price in sorted({low, high})) if recent else ()
    sticks = tuple(_make_stick(scale, bar, bar.volume / most_volume) for bar in recent)
    return Strip(sticks, levels, _make_gaps(scale, spans))


def _make_stick(scale: _Scale, bar: Bar, volume_share: float) -> Stick:
    volume_top = round(VOLUME_BOTTOM - volume_share * VOLUME_HEIGHT, 1)
    x, high, low = scale.x(bar.second + 0.5), scale.y(bar.high), scale.y(bar.low)
    return Stick(x, high, low, scale.y(bar.open), scale.y(bar.close), volume_top, bar.close >= bar.open)


def _make_gaps(scale: _Scale, spans: Sequence[Sequence[float | None]]) -> tuple[tuple[float, float], ...]:
    ends = [(scale.x(since or scale.begin), scale.x(scale.now if until is None else until)) for since, until in spans]
    return tuple(
        (left, round(max(right - left, 1.0), 1)) for left, right in ends if right > LEFT and left < WIDTH - RIGHT
    )
