"""The part of a symbol's page that shows its price by the minute: one panel for each source that reports its trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from spotlightd.datasets.bars import bars as bars_dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters
from spotlightd.query.key import join_key
from spotlightd.query.select import Query
from spotlightd.query.values import format_address, rfc3339
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import responses
from spotlightd.web.formatting import format_number
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol import candles, minutes
from spotlightd.web.symbol.candles import Candles
from spotlightd.web.symbol.daily_chart import Point
from spotlightd.web.symbol.minutes import MINUTE, WINDOWS, Bar, Gap, Volatility, Window

TABLE_BARS = 60


def format_amount(value: Decimal) -> str:
    """A volume without trailing zeros."""
    return f"{value.normalize():,f}"


@dataclass(frozen=True, slots=True)
class PriceQuestion:
    """The window that the address asks for. `until` None: up to the last trade."""

    window: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class PricePanel:
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
        """The change of the price over the window, as a fraction."""
        return self.last.close / self.bars[0].open - 1 if self.bars[0].open > 0 else None

    @property
    def high(self) -> float:
        return max(bar.high for bar in self.bars)

    @property
    def low(self) -> float:
        return min(bar.low for bar in self.bars)

    @property
    def volume(self) -> Decimal:
        return sum((bar.volume for bar in self.bars), Decimal())

    def format_amount(self, value: Decimal) -> str:
        return format_amount(value)

    @property
    def mean(self) -> Decimal | None:
        """The mean price of all trades: turnover over volume."""
        return sum((bar.turnover for bar in self.bars), Decimal()) / self.volume if self.volume else None

    @property
    def trades(self) -> int:
        return sum(bar.trades for bar in self.bars)

    @property
    def volatility(self) -> Volatility:
        return minutes.measure_volatility(self.bars)

    @property
    def drawing(self) -> Candles:
        merged_bars = minutes.merge_bars(self.bars, self.window.step)
        return candles.draw_candles(self.window, merged_bars, self.gaps, self._make_point)

    def _make_point(self, bar: Bar) -> Point:
        text = (
            f"{bar.minute:%Y-%m-%d %H:%M} UTC: open {format_number(bar.open)}, high {format_number(bar.high)}, "
            f"low {format_number(bar.low)}, close {format_number(bar.close)}, volume {format_amount(bar.volume)}, "
            f"{format_number(bar.trades)} trade{'' if bar.trades == 1 else 's'}"
        )
        return Point(text, self.bar_address(bar) if self.window.step == 1 else self._merged_rows_address(bar))

    def bar_address(self, bar: Bar) -> str:
        """The page of one minute."""
        key = join_key((self.symbol, bar.minute, self.source))
        return format_address(("data", bars_dataset.name, key), as_of=self.as_of)

    def _merged_rows_address(self, bar: Bar) -> str:
        """The table of the minutes that a candle covers."""
        return self._table_address("bars", "minute", bar.minute, bar.minute + self.window.step * MINUTE)

    def _table_address(self, name: str, column: str, since: datetime, until: datetime) -> str:
        pairs = [("symbol", self.symbol), ("source", self.source)]
        pairs += [(f"{column}__gte", rfc3339(since)), (f"{column}__lt", rfc3339(until))]
        return format_address(("data", name), pairs, as_of=self.as_of)

    @property
    def bars_address(self) -> str:
        """The table of the window's bars."""
        return self._table_address("bars", "minute", self.window.since, self.window.until)

    @property
    def trades_address(self) -> str:
        """The table of the window's trades."""
        return self._table_address("trades", "time", self.window.since, self.window.until)

    @property
    def newest(self) -> list[Bar]:
        """The bars of the table on the page, newest first."""
        return list(self.bars[-TABLE_BARS:])[::-1]

    @property
    def data(self) -> dict[str, Any]:
        """For the script: times in seconds since 1970, numbers in columns, gaps as (from, to), the target of clicks."""
        pairs = [("symbol", self.symbol), ("source", self.source)]
        return {
            "address": format_address(("data", bars_dataset.name), pairs, as_of=self.as_of) + "&minute=",
            "since": self.window.since.timestamp(),
            "until": self.window.until.timestamp(),
            "minutes": [int(bar.minute.timestamp()) for bar in self.bars],
            "open": [bar.open for bar in self.bars],
            "high": [bar.high for bar in self.bars],
            "low": [bar.low for bar in self.bars],
            "close": [bar.close for bar in self.bars],
            "volume": [float(bar.volume) for bar in self.bars],
            "trades": [bar.trades for bar in self.bars],
            "gaps": [sorted((gap.since.timestamp(), gap.until.timestamp())) for gap in self.gaps],
        }


@dataclass(frozen=True, slots=True)
class WindowLink:
    """A link to a window that ends at the same time."""

    title: str
    address: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class PricePanels:
    """The panels, and links to other windows: of other lengths, to the one before, and to the newest."""

    panels: tuple[PricePanel, ...]
    window: Window
    links: tuple[WindowLink, ...]
    earlier: str
    newest: str


def read_question(request: web.Request) -> PriceQuestion:
    """HttpProblem when the address names no known window."""
    name = minutes.read_window_name(request.query.get("window", ""))
    return PriceQuestion(name, filters.parse_as_of("until", request.query.get("until", "")))


async def find_window(request: web.Request, symbol: str, question: PriceQuestion, snapshot: Snapshot) -> Window | None:
    """The window up to the symbol's last bar (before `until`). None without one; where no trade was ever published, the
    warehouse is not asked.
    """
    if bars_dataset not in request.app[APP_STATE].context.datasets:
        return None
    if not snapshot.published & {bars_dataset.name, bars_dataset.computed_from}:
        return None
    last, count = (
        await responses.get_reader(request).rows(minutes.newest_query(symbol, question.until, snapshot))
    ).rows[0]
    return minutes.window_ending(question.window, last, is_moved=question.until is not None) if count else None


def window_queries(symbol: str, window: Window, snapshot: Snapshot) -> tuple[Query, Query]:
    """What `make_panels` takes the answers of."""
    return minutes.bars_query(symbol, window, snapshot), minutes.gaps_query(symbol, window, snapshot)


def make_panels(symbol: str, window: Window, answers: Sequence[Answer], as_of: str) -> PricePanels:
    """One panel for each source with bars in the window."""
    bar_rows, gap_rows = answers
    bars = minutes.group_by_source(bar_rows.rows)
    gaps: dict[str, list[Gap]] = {}
    for source, *values in gap_rows.rows:
        gaps.setdefault(source, []).append(Gap(*values))
    all_bars = [bar for source_bars in bars.values() for bar in source_bars]
    window = minutes.trim_window(window, all_bars, [gap for source in bars for gap in gaps.get(source, ())])
    panels = tuple(
        PricePanel(symbol, source, as_of, window, source_bars, gaps.get(source, ()))
        for source, source_bars in bars.items()
    )
    return _add_links(panels, symbol, window, as_of)


def _add_links(panels: tuple[PricePanel, ...], symbol: str, window: Window, as_of: str) -> PricePanels:
    def address(name: str, until: datetime | None) -> str:
        return format_address(("s", symbol), window=name, until=rfc3339(until) if until else "", as_of=as_of)

    end = window.until if window.is_moved else None
    links = tuple(WindowLink(title, address(name, end), name == window.name) for name, (title, _) in WINDOWS.items())
    newest = address(window.name, None) if window.is_moved else ""
    return PricePanels(panels, window, links, address(window.name, window.since), newest)
