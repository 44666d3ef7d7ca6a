"""Price by the minute for a symbol's page: the window, its queries, and figures computed from its bars. No HTTP.

Volatility is that of the window, from its bars. Realised: the root of the sum of squared logarithms of close over the
close before (of the first bar: over its own open). Parkinson's: the root of the sum of squared logarithms of high over
low, divided by 4 ln 2. Textbooks print Parkinson's as a mean as often as a sum: as a sum the two can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from spotlightd.datasets.bars import bars as bars_dataset
from spotlightd.datasets.system import gaps as gaps_dataset
from spotlightd.query.errors import bad_parameter
from spotlightd.query.select import Query
from spotlightd.query.values import rfc3339
from spotlightd.sql.tiers import Overlap, Span
from spotlightd.sql.visibility import Snapshot, all_rows, table_expression

MINUTE = timedelta(minutes=1)
WINDOWS: Mapping[str, tuple[str, int]] = {"1h": ("1 hour", 60), "1d": ("1 day", 1440), "5d": ("5 days", 7200)}
DEFAULT_WINDOW = "1d"
MOST_CANDLES = 300
_STEPS = (1, 2, 5, 10, 15, 30, 60)
SHORTEST = timedelta(hours=1)
_ROUND_SECONDS = 600
MOST_BARS = 40_000
MOST_GAPS = 200


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, `until` excluded. `is_moved`: the address says where it ends."""

    name: str
    since: datetime
    until: datetime
    is_moved: bool = False

    @property
    def minutes(self) -> float:
        return (self.until - self.since) / MINUTE

    @property
    def title(self) -> str:
        return WINDOWS[self.name][0]

    @property
    def step(self) -> int:
        """How many minutes one candle of the drawing covers."""
        return next((step for step in _STEPS if self.minutes / step <= MOST_CANDLES), _STEPS[-1])


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute, or several merged minutes that begin at `minute`."""

    minute: datetime
    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    turnover: Decimal
    trades: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A span in which trades may be missing."""

    since: datetime
    until: datetime
    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Volatility:
    """Of the window, as a fraction (0.01 = 1 %). None where a price is not above zero."""

    realised: float | None
    parkinson: float | None


def window_ending(name: str, last: datetime, *, is_moved: bool) -> Window:
    """The window of that name whose last minute is `last`."""
    return Window(name, last - (WINDOWS[name][1] - 1) * MINUTE, last + MINUTE, is_moved)


def trim_window(window: Window, bars: Iterable[Bar], gaps: Iterable[Gap]) -> Window:
    """The window from its first bar or gap on, but at least an hour. A night without trades is cut off; a night
    without a connection is not.
    """
    starts = [*(bar.minute for bar in bars), *(min(gap.since, gap.until) for gap in gaps)]
    first = min(min(starts, default=window.since), window.until - SHORTEST)
    rounded = first - timedelta(seconds=first.timestamp() % _ROUND_SECONDS)
    return replace(window, since=max(rounded, window.since))


def read_window_name(text: str) -> str:
    """The window that the address names."""
    if text and text not in WINDOWS:
        raise bad_parameter("window", f"there is no window {text!r}", f"There are {', '.join(WINDOWS)}.")
    return text or DEFAULT_WINDOW


def newest_query(symbol: str, before: datetime | None, snapshot: Snapshot) -> Query:
    """The last minute that has a bar (before that time), and how many minutes have one."""
    params: dict[str, Any] = {"symbol": symbol, "seq": snapshot.seq}
    table = table_expression(bars_dataset, snapshot)
    sql = f"SELECT max(minute), count() FROM {table} WHERE symbol = {{symbol:String}}"
    if before is not None:
        sql += " AND minute < {before:DateTime64(6, 'UTC')}"
        params["before"] = _bind(before)
    return Query(sql, params)


def bars_query(symbol: str, window: Window, snapshot: Snapshot) -> Query:
    """The bars of the window, by source and time."""
    table = table_expression(bars_dataset, snapshot, Span({"time": (window.since, window.until)}))
    sql = (
        f"SELECT source, minute, open, high, low, close, volume, turnover, trades FROM {table} "
        "WHERE symbol = {symbol:String} "
        "AND minute >= {since:DateTime64(6, 'UTC')} AND minute < {until:DateTime64(6, 'UTC')} "
        f"ORDER BY source, minute LIMIT {MOST_BARS:d}"
    )
    return Query(sql, {"symbol": symbol, "seq": snapshot.seq, **_bind_window(window)})


def gaps_query(symbol: str, window: Window, snapshot: Snapshot) -> Query:
    """Gaps of all sources that overlap the window and were not repaired."""
    table = all_rows(gaps_dataset, snapshot.archived, Overlap(window.since, window.until))
    sql = (
        f"SELECT source, since, until, cause, says FROM {table} "
        "WHERE symbol IN ('', {symbol:String}) AND repaired_by = '' "
        "AND greatest(since, until) >= {since:DateTime64(6, 'UTC')} "
        "AND least(since, until) < {until:DateTime64(6, 'UTC')} "
        f"ORDER BY source, since LIMIT {MOST_GAPS:d}"
    )
    return Query(sql, {"symbol": symbol, **_bind_window(window)})


def _bind_window(window: Window) -> dict[str, str]:
    return {"since": _bind(window.since), "until": _bind(window.until)}


def _bind(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


def trade_filters(bar: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The filters that select the trades of a bar."""
    since: datetime = bar["minute"]
    span = [("time__gte", rfc3339(since)), ("time__lt", rfc3339(since + MINUTE))]
    return [("symbol", bar["symbol"]), ("source", bar["source"]), *span]


def group_by_source(rows: Sequence[Sequence[Any]]) -> dict[str, list[Bar]]:
    """The rows of `bars_query`, by source."""
    bars: dict[str, list[Bar]] = {}
    for source, *values in rows:
        bars.setdefault(source, []).append(Bar(*values))
    return bars


def merge_bars(bars: Sequence[Bar], step: int) -> list[Bar]:
    """Bars of `step` minutes each, at whole multiples of `step`. `bars` are in order."""
    if step == 1:
        return list(bars)
    groups: dict[datetime, list[Bar]] = {}
    for bar in bars:
        begin = bar.minute - timedelta(seconds=bar.minute.timestamp() % (60 * step))
        groups.setdefault(begin, []).append(bar)
    return [_merge(begin, group) for begin, group in groups.items()]


def _merge(begin: datetime, bars: Sequence[Bar]) -> Bar:
    return Bar(
        begin, bars[0].open, max(bar.high for bar in bars), min(bar.low for bar in bars), bars[-1].close,
        sum((bar.volume for bar in bars), Decimal()), sum((bar.turnover for bar in bars), Decimal()),
        sum(bar.trades for bar in bars),
    )  # fmt: skip


def measure_volatility(bars: Sequence[Bar]) -> Volatility:
    """`bars` are in order."""
    if not bars or min(bar.low for bar in bars) <= 0:
        return Volatility(None, None)
    previous_closes = [bars[0].open, *(bar.close for bar in bars)]
    steps = sum(math.log(bar.close / previous) ** 2 for bar, previous in zip(bars, previous_closes, strict=False))
    ranges = sum(math.log(bar.high / bar.low) ** 2 for bar in bars)
    return Volatility(math.sqrt(steps), math.sqrt(ranges / (4 * math.log(2))))
