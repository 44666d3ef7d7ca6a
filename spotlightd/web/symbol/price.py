"""The part of a symbol's page that shows its price by the minute, one panel for each source that reports its trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from spotlightd.datasets.bars import bars
from spotlightd.query import filters
from spotlightd.query.key import joined
from spotlightd.query.values import address, rfc3339
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import formatting, responses
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol import candles, minutes
from spotlightd.web.symbol.candles import Candles
from spotlightd.web.symbol.daily_chart import Point
from spotlightd.web.symbol.minutes import MINUTE, WINDOWS, Bar, Gap, Volatility, Window

IN_PAGE = 60


def amount(value: Decimal) -> str:
    """A volume with no more digits behind the point than it has."""
    return f"{value.normalize():,f}"


@dataclass(frozen=True, slots=True)
class PriceQuestion:
    """What the address says of the window; `until` None: up to the last trade."""

    name: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Price:
    """The bars of one source in the window, oldest first and at least one, and the gaps of that source."""

    symbol: str
    source: str
    as_of: str
    window: Window
    bars: Sequence[Bar]
    gaps: Sequence[Gap]

    @property
    def last(self) -> Bar:
        return self.bars[-1]

    @property
    def change(self) -> float | None:
        """Of the price over the window, as part of one."""
        return self.last.close / self.bars[0].open - 1 if self.bars[0].open > 0 else None

    @property
    def high(self) -> float:
        return max(one.high for one in self.bars)

    @property
    def low(self) -> float:
        return min(one.low for one in self.bars)

    @property
    def volume(self) -> Decimal:
        return sum((one.volume for one in self.bars), Decimal())

    def amount(self, value: Decimal) -> str:
        return amount(value)

    @property
    def mean(self) -> Decimal | None:
        """The mean price of what was traded: turnover over volume."""
        return sum((one.turnover for one in self.bars), Decimal()) / self.volume if self.volume else None

    @property
    def trades(self) -> int:
        return sum(one.trades for one in self.bars)

    @property
    def volatility(self) -> Volatility:
        return minutes.volatility(self.bars)

    @property
    def drawing(self) -> Candles:
        return candles.drawn(self.window, minutes.together(self.bars, self.window.step), self.gaps, self._told)

    def _told(self, one: Bar) -> Point:
        says = (
            f"{one.minute:%Y-%m-%d %H:%M} UTC: open {formatting.number(one.open)}, high {formatting.number(one.high)}, "
            f"low {formatting.number(one.low)}, close {formatting.number(one.close)}, volume {amount(one.volume)}, "
            f"{formatting.number(one.trades)} trade{'' if one.trades == 1 else 's'}"
        )
        return Point(says, self.address(one) if self.window.step == 1 else self._rows(one))

    def address(self, one: Bar) -> str:
        """The page of one minute."""
        return address(("data", bars.name, joined((self.symbol, one.minute, self.source))), as_of=self.as_of)

    def _rows(self, one: Bar) -> str:
        return self._table("bars", "minute", one.minute, one.minute + self.window.step * MINUTE)

    def _table(self, name: str, column: str, since: datetime, until: datetime) -> str:
        pairs = [("symbol", self.symbol), ("source", self.source)]
        pairs += [(f"{column}__gte", rfc3339(since)), (f"{column}__lt", rfc3339(until))]
        return address(("data", name), pairs, as_of=self.as_of)

    @property
    def table(self) -> str:
        """The window's bars as a table."""
        return self._table("bars", "minute", self.window.since, self.window.until)

    @property
    def ticks(self) -> str:
        """The window's trades as a table."""
        return self._table("trades", "time", self.window.since, self.window.until)

    @property
    def newest(self) -> list[Bar]:
        return list(self.bars[-IN_PAGE:])[::-1]

    @property
    def data(self) -> dict[str, Any]:
        """For the script: times in seconds since 1970, columns of numbers, gaps as (from, to), where a click leads."""
        pairs = [("symbol", self.symbol), ("source", self.source)]
        return {
            "leads": address(("data", bars.name), pairs, as_of=self.as_of) + "&minute=",
            "since": self.window.since.timestamp(),
            "until": self.window.until.timestamp(),
            "minutes": [int(one.minute.timestamp()) for one in self.bars],
            "open": [one.open for one in self.bars],
            "high": [one.high for one in self.bars],
            "low": [one.low for one in self.bars],
            "close": [one.close for one in self.bars],
            "volume": [float(one.volume) for one in self.bars],
            "trades": [one.trades for one in self.bars],
            "gaps": [sorted((one.since.timestamp(), one.until.timestamp())) for one in self.gaps],
        }


@dataclass(frozen=True, slots=True)
class Traded:
    """The panels, and where the links to other windows lead: (words, address, whether it is the one shown)."""

    panels: tuple[Price, ...]
    windows: tuple[tuple[str, str, bool], ...]
    earlier: str
    later: str
    window: Window


def asked(request: web.Request) -> PriceQuestion:
    """HttpProblem when the address names no window."""
    name = minutes.window_name(request.query.get("window", ""))
    return PriceQuestion(name, filters.instant("until", request.query.get("until", "")))


async def shown(request: web.Request, symbol: str, asked: PriceQuestion, pin: Snapshot) -> Traded | None:
    """None when the symbol has no trades (before `until`), or none are collected here."""
    if bars not in request.app[APP_STATE].context.datasets:
        return None
    reader = responses.reader(request)
    last, count = (await reader.rows(minutes.newest(symbol, asked.until, pin))).rows[0]
    if not count:
        return None
    window = minutes.ending(asked.name, last, moved=asked.until is not None)
    found, holes = await reader.all(minutes.within(symbol, window, pin), minutes.gaps(symbol, window, pin))
    as_of = request.query.get("as_of", "")
    gaps: dict[str, list[Gap]] = {}
    for name, *values in holes.rows:
        gaps.setdefault(name, []).append(Gap(*values))
    by_source = minutes.by_source(found.rows)
    heard = [gap for name in by_source for gap in gaps.get(name, ())]
    window = minutes.trimmed(window, [bar for some in by_source.values() for bar in some], heard)
    panels = tuple(Price(symbol, name, as_of, window, some, gaps.get(name, ())) for name, some in by_source.items())
    return Traded(panels, *_links(symbol, window, as_of), window)


def _links(symbol: str, window: Window, as_of: str) -> tuple[tuple[tuple[str, str, bool], ...], str, str]:
    """To the other windows that end here, to the one before and to the newest."""

    def link(name: str, until: datetime | None) -> str:
        return address(("s", symbol), window=name, until=rfc3339(until) if until else "", as_of=as_of)

    end = window.until if window.moved else None
    windows = tuple((says, link(name, end), name == window.name) for name, (says, _) in WINDOWS.items())
    return windows, link(window.name, window.since), link(window.name, None) if window.moved else ""
