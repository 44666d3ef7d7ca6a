"""One-second bars as a drawing for a page without script: sticks from low to high, volume below, gaps shaded. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spotlightd.web.live.ticks import WINDOW_SECONDS, Bar

WIDTH, HEIGHT, LEFT, RIGHT = 600, 190, 4, 66
TOP, BOTTOM, VOLUME = 10, 130, 168  # of prices; the foot of volumes
VOLUME_HEIGHT = 30


@dataclass(frozen=True, slots=True)
class Stick:
    """`high` and `low` are its ends, `open` and `close` its marks; `top` where its volume begins."""

    x: float
    high: float
    low: float
    open: float
    close: float
    top: float
    rises: bool


@dataclass(frozen=True, slots=True)
class Level:
    y: float
    price: float


@dataclass(frozen=True, slots=True)
class Strip:
    """The last two minutes. `gaps` are (from, width)."""

    sticks: tuple[Stick, ...]
    levels: tuple[Level, ...]
    gaps: tuple[tuple[float, float], ...]

    width, height, left, right, foot = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, VOLUME

    @property
    def minutes(self) -> list[tuple[float, str]]:
        """Where the words for the time stand."""
        step = (self.right - self.left) / 4
        return [(self.left + at * step, f"{(at - 4) * WINDOW_SECONDS // 4} s") for at in range(1, 4)]


def drawn(bars: Sequence[Bar], spans: Sequence[Sequence[float | None]], now: float) -> Strip:
    """Bars of the window that ends now. `spans` as in `pulse.spans`."""
    begin, each = now - WINDOW_SECONDS, (WIDTH - RIGHT - LEFT) / WINDOW_SECONDS
    shown = [one for one in bars if begin <= one.second <= now]
    low, high = min((b.low for b in shown), default=0.0), max((b.high for b in shown), default=0.0)
    most = max((b.volume for b in shown), default=0.0) or 1.0

    def x(second: float) -> float:
        return round(LEFT + (min(max(second, begin), now) - begin) * each, 1)

    def y(price: float) -> float:
        return round(BOTTOM - (price - low) / (high - low) * (BOTTOM - TOP), 1) if high > low else (TOP + BOTTOM) / 2

    sticks = [
        Stick(x(b.second + 0.5), y(b.high), y(b.low), y(b.open), y(b.close), round(VOLUME - b.volume / most * VOLUME_HEIGHT, 1), b.close >= b.open)
        for b in shown
    ]  # fmt: skip
    prices = sorted({low, high}) if shown else []
    ends = [(x(since or begin), x(now if until is None else until)) for since, until in spans]
    gaps = tuple((a, round(max(b - a, 1.0), 1)) for a, b in ends if b > LEFT and a < WIDTH - RIGHT)
    return Strip(tuple(sticks), tuple(Level(y(one), one) for one in prices), gaps)
