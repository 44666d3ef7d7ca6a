"""What just happened: one-second bars, last prices and gaps, read from the warehouse, for pages and the live poller.

All times are times of receipt, as those of gaps are: a venue's clock may be minutes off. Partitions whose newest row is
older than the window are not opened, so the cost of a read depends on what is new and not on what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from spotlightd.datasets.system import gaps as gaps_table
from spotlightd.datasets.trades import IS_FUTURE_DATED
from spotlightd.model.dataset import Dataset
from spotlightd.model.offsets import FeedState
from spotlightd.query.reader import Reader, snapshot_query
from spotlightd.query.select import Query
from spotlightd.sql.tiers import Span
from spotlightd.sql.visibility import Snapshot, hot_rows, table_expression, visible_condition

WINDOW_SECONDS = 120
MINUTE_SECONDS = 60
OVERLAP_SECONDS = 5
FULL_READ_EVERY = 10  # reads: then the whole window is read again, because a feed that lags delivers older trades
LAST_PRICE_AGE = timedelta(days=2)
BUSY_AGE = timedelta(minutes=15)
LISTED_GAPS = 10
MOST_GAPS = 100  # a feed begins at most 10 connections a minute
MOST_BARS = 100_000
_PLACE = (
    "bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Micro(received)), 64), "
    "bitOr(bitShiftLeft(toUInt128(offset), 16), toUInt128(frame_index)))"
)
"""The order of a trade as one number: argMin over a tuple takes five times as long."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The trades of a symbol in one second (`second` since 1970). `last_at` is when the last of them was received."""

    second: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    last_at: datetime

    @property
    def as_json(self) -> list[float]:
        return [self.second, self.open, self.high, self.low, self.close, self.volume, self.trades]


@dataclass(frozen=True, slots=True)
class LiveGap:
    """A gap. `until` None: it is still open. `symbol` empty: it concerns all symbols of the source."""

    source: str
    symbol: str
    since: datetime
    until: datetime | None
    cause: str
    detail: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it lasted; None while it is open."""
        return abs((self.until - self.since).total_seconds()) if self.until else None


@dataclass(frozen=True, slots=True)
class Value:
    """A symbol now. Volume and trades are those of the last minute. `price` None: no trade for two days."""

    symbol: str
    price: float | None = None
    at: datetime | None = None
    volume: float = 0.0
    trades: int = 0
    age_seconds: float | None = None

    @property
    def rate(self) -> float:
        return self.trades / MINUTE_SECONDS


@dataclass(slots=True)
class LiveWindow:
    """What was read so far: `bars` of the window by symbol and second; `last` price and its time by symbol."""

    bars: dict[str, dict[int, Bar]] = field(default_factory=dict)
    last: dict[str, tuple[float, datetime]] = field(default_factory=dict)
    gaps: tuple[LiveGap, ...] = ()
    reads: int = 0

    def all_bars(self) -> NewBars:
        return {symbol: list(bars.values()) for symbol, bars in self.bars.items()}


NewBars = Mapping[str, Sequence[Bar]]


async def read_new(
    reader: Reader, trades: Dataset, window: LiveWindow, symbols: Sequence[str], now: datetime
) -> NewBars:
    """Read new trades of those symbols into the window, and forget all other symbols. Returns the changed bars.

    Two statements a read: a statement costs more than what these small ones read.
    """
    new_symbols = [symbol for symbol in symbols if symbol not in window.bars]
    begin = now - timedelta(seconds=WINDOW_SECONDS)
    is_full_read = new_symbols or window.reads % FULL_READ_EVERY == 0
    since = begin if is_full_read else max(_overlap_start(window, begin), begin)
    newest, gaps = await reader.together(snapshot_query(trades, None), gaps_query(begin, reader.current()))
    snapshot = replace(reader.current(), seq=newest.rows[0][0])
    rows = await reader.rows(bars_query(trades, symbols, since, snapshot))
    window.reads += 1
    window.gaps = tuple(LiveGap(*row) for row in gaps.rows)
    window.bars = {symbol: _drop_old(window.bars.get(symbol, {}), begin) for symbol in symbols}
    changed = _add_rows(window, rows.rows)
    if silent := [symbol for symbol in new_symbols if symbol not in window.last]:
        query = last_prices_query(trades, silent, now - LAST_PRICE_AGE, snapshot)
        for symbol, price, at in (await reader.rows(query)).rows:
            window.last[symbol] = (price, at)
    return changed


def _overlap_start(window: LiveWindow, begin: datetime) -> datetime:
    """Where the next read begins: a few seconds before the newest trade."""
    newest = max((at for _, at in window.last.values()), default=begin)
    return (newest - timedelta(seconds=OVERLAP_SECONDS)).replace(microsecond=0)


def _drop_old(bars: Mapping[int, Bar], begin: datetime) -> dict[int, Bar]:
    return {second: bar for second, bar in bars.items() if second >= begin.timestamp()}


def _add_rows(window: LiveWindow, rows: Iterable[Sequence[Any]]) -> dict[str, list[Bar]]:
    changed: dict[str, list[Bar]] = {}
    for symbol, *values in rows:
        bar = Bar(*values)
        if window.bars[symbol].get(bar.second) != bar:
            window.bars[symbol][bar.second] = bar
            changed.setdefault(symbol, []).append(bar)
        if symbol not in window.last or window.last[symbol][1] <= bar.last_at:
            window.last[symbol] = (bar.close, bar.last_at)
    return changed


def current_value(window: LiveWindow, symbol: str, now: datetime) -> Value:
    price, at = window.last.get(symbol, (None, None))
    minute = [bar for bar in window.bars.get(symbol, {}).values() if bar.second > now.timestamp() - MINUTE_SECONDS]
    age_seconds = max((now - at).total_seconds(), 0.0) if at else None
    volume, trades = sum(bar.volume for bar in minute), sum(bar.trades for bar in minute)
    return Value(symbol, price, at, volume, trades, age_seconds)


def open_gaps(feeds: Iterable[FeedState]) -> list[LiveGap]:
    """Gaps that are not recorded yet because they are not over. Each begins where its row will begin."""
    return [
        LiveGap(feed.source, gap.symbol, gap.since, None, gap.cause, gap.detail)
        for feed in feeds
        for gap in feed.open_gaps
    ]


def concerns(gap: LiveGap, symbol: str, feeds: Iterable[FeedState]) -> bool:
    """Whether trades of the symbol may be missing in the gap."""
    if gap.symbol:
        return gap.symbol == symbol
    subscriptions = [feed.symbols for feed in feeds if feed.source == gap.source]
    return not subscriptions or not subscriptions[0] or symbol in subscriptions[0]


def bars_query(trades: Dataset, symbols: Sequence[str], since: datetime, snapshot: Snapshot) -> Query:
    """One-second bars from the second of that time on, oldest first."""
    second = "toUnixTimestamp(toDateTime(received))"
    sql = (
        f"SELECT symbol, {second}, argMin(price, {_PLACE}), max(price), min(price), argMax(price, {_PLACE}), "
        f"sum(volume), count(), max(received) FROM {_recent_trades(trades, snapshot, since)} "
        f"AND symbol IN {{symbols:Array(String)}} GROUP BY symbol, {second} ORDER BY {second} LIMIT {MOST_BARS:d}"
    )
    return Query(sql, {"since": _bind(since.replace(microsecond=0)), "symbols": list(symbols), "seq": snapshot.seq})


def last_prices_query(trades: Dataset, symbols: Sequence[str], since: datetime, snapshot: Snapshot) -> Query:
    sql = (
        f"SELECT symbol, argMax(price, {_PLACE}), max(received) FROM {_recent_trades(trades, snapshot, since)} "
        "AND symbol IN {symbols:Array(String)} GROUP BY symbol"
    )
    return Query(sql, {"since": _bind(since), "symbols": list(symbols), "seq": snapshot.seq})


def busiest_query(trades: Dataset, now: datetime, snapshot: Snapshot, limit: int) -> Query:
    """The symbols with the most trades in the last minutes."""
    since = now - BUSY_AGE
    sql = (
        f"SELECT symbol FROM {_recent_trades(trades, snapshot, since)} "
        f"GROUP BY symbol ORDER BY count() DESC, symbol LIMIT {limit:d}"
    )
    return Query(sql, {"since": _bind(since), "seq": snapshot.seq})


def _recent_trades(trades: Dataset, snapshot: Snapshot, since: datetime) -> str:
    """The table and the condition of visible trades received from `{since}` on, without those of a wrong time."""
    table = table_expression(trades, snapshot, Span({"received": (since, None)}))
    received = "received >= {since:DateTime64(6, 'UTC')}"
    return f"{table} WHERE {received} AND NOT {IS_FUTURE_DATED} AND {visible_condition(trades)}"


def gaps_query(begin: datetime, snapshot: Snapshot) -> Query:
    """Gaps that were not repaired: all that reach into the window, then the newest older ones that are not archived.

    The archive is left out because this query runs once a second.
    """
    sql = (
        f"SELECT source, symbol, since, until, cause, says FROM {hot_rows(gaps_table, snapshot.archived)} "
        "WHERE repaired_by = '' "
        f"ORDER BY until >= {{begin:DateTime64(6, 'UTC')}} DESC, id DESC LIMIT {MOST_GAPS:d}"
    )
    return Query(sql, {"begin": _bind(begin)})


def _bind(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"
