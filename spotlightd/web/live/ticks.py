"""What just happened: one-second bars, last values and gaps, read from the warehouse. Pages and the live poller share it.

Everything is told by when it was received here, as gaps are: a venue's clock may be minutes off. A part of the table
whose newest row is older than what is asked for is not opened, so that looking costs what is new and not what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from spotlightd.datasets.system import gaps as gaps_table
from spotlightd.model.dataset import Dataset
from spotlightd.model.offsets import FeedState
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.sql.tiers import Span
from spotlightd.sql.visibility import Snapshot, here, source, visible

WINDOW_SECONDS = 120
MINUTE_SECONDS = 60
OVERLAP_SECONDS = 5
WHOLE_EVERY = 10  # looks: then all of the window is read again, since a feed that lags brings what is older
LOOK_BACK = timedelta(days=2)
BUSY = timedelta(minutes=15)
SHOWN_GAPS = 10
MOST_GAPS = 100  # a feed begins at most 10 connections a minute
MOST_BARS = 100_000
_AT = (
    "bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Micro(received)), 64), "
    "bitOr(bitShiftLeft(toUInt128(offset), 16), toUInt128(frame_index)))"
)
"""The place of a trade in time as one number: over a tuple the same takes five times as long."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What was traded of a symbol in one second, `second` counted from 1970. `last_at` is when its last trade came."""

    second: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    last_at: datetime

    @property
    def told(self) -> list[float]:
        return [self.second, self.open, self.high, self.low, self.close, self.volume, self.trades]


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap; `until` None: it is still open. `symbol` empty: all of the source's."""

    source: str
    symbol: str
    since: datetime
    until: datetime | None
    cause: str
    says: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """A symbol at one moment: volume and trades are of the last minute. `price` None: no trade for two days."""

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
    """What was read so far. `bars` by symbol and second, of the window alone; `last` price and its moment by symbol."""

    bars: dict[str, dict[int, Bar]] = field(default_factory=dict)
    last: dict[str, tuple[float, datetime]] = field(default_factory=dict)
    holes: tuple[Hole, ...] = ()
    looks: int = 0


NewBars = Mapping[str, Sequence[Bar]]


async def look(reader: Reader, trades: Dataset, seen: LiveWindow, symbols: Sequence[str], now: datetime) -> NewBars:
    """Read what is new of those symbols into `seen`; the bars that changed, by symbol. Others are forgotten."""
    fresh = [one for one in symbols if one not in seen.bars]
    begin = now - timedelta(seconds=WINDOW_SECONDS)
    since = begin if fresh or seen.looks % WHOLE_EVERY == 0 else max(_newest(seen, begin), begin)
    pin = await reader.pin(trades)
    found, gaps = await reader.all(bars(trades, symbols, since, pin), holes(begin, pin))
    seen.looks += 1
    seen.holes = tuple(Hole(*row) for row in gaps.rows)
    seen.bars = {one: _kept(seen.bars.get(one, {}), begin) for one in symbols}
    moves = _taken(seen, found.rows)
    if silent := [one for one in fresh if one not in seen.last]:
        for symbol, price, at in (await reader.rows(last(trades, silent, now - LOOK_BACK, pin))).rows:
            seen.last[symbol] = (price, at)
    return moves


def _newest(seen: LiveWindow, begin: datetime) -> datetime:
    """From where to look: the second of the newest row, and some before it."""
    newest = max((at for _, at in seen.last.values()), default=begin)
    return (newest - timedelta(seconds=OVERLAP_SECONDS)).replace(microsecond=0)


def _kept(known: Mapping[int, Bar], begin: datetime) -> dict[int, Bar]:
    return {second: bar for second, bar in known.items() if second >= begin.timestamp()}


def _taken(seen: LiveWindow, rows: Iterable[Sequence[Any]]) -> dict[str, list[Bar]]:
    moves: dict[str, list[Bar]] = {}
    for symbol, *values in rows:
        bar = Bar(*values)
        if seen.bars[symbol].get(bar.second) != bar:
            seen.bars[symbol][bar.second] = bar
            moves.setdefault(symbol, []).append(bar)
        if symbol not in seen.last or seen.last[symbol][1] <= bar.last_at:
            seen.last[symbol] = (bar.close, bar.last_at)
    return moves


def value(seen: LiveWindow, symbol: str, now: datetime) -> Value:
    price, at = seen.last.get(symbol, (None, None))
    minute = [bar for bar in seen.bars.get(symbol, {}).values() if bar.second > now.timestamp() - MINUTE_SECONDS]
    age = max((now - at).total_seconds(), 0.0) if at else None
    return Value(symbol, price, at, sum(bar.volume for bar in minute), sum(bar.trades for bar in minute), age)


def open_holes(feeds: Iterable[FeedState]) -> list[Hole]:
    """Those that are not written down yet, because they are not over: feeds that do not listen now, or find no room."""
    found = []
    for one in feeds:
        if one.state != "connected":
            found.append(Hole(one.source, "", one.last_frame_at or one.since, None, one.state, one.says))
        elif one.shed_since:
            found.append(Hole(one.source, "", one.shed_since, None, "spool full", one.says))
    return found


def concern(hole: Hole, symbol: str, feeds: Iterable[FeedState]) -> bool:
    """Whether trades of the symbol may be missing in it."""
    if hole.symbol:
        return hole.symbol == symbol
    carried = [one.symbols for one in feeds if one.source == hole.source]
    return not carried or not carried[0] or symbol in carried[0]


def bars(trades: Dataset, symbols: Sequence[str], since: datetime, pin: Snapshot) -> Query:
    """One-second bars from that moment's second on, oldest first."""
    second = "toUnixTimestamp(toDateTime(received))"
    sql = (
        f"SELECT symbol, {second}, argMin(price, {_AT}), max(price), min(price), argMax(price, {_AT}), sum(volume), "
        f"count(), max(received) FROM {source(trades, pin, _received(since))} WHERE received >= {{since:DateTime64(6, 'UTC')}} "
        f"AND symbol IN {{symbols:Array(String)}} AND {visible(trades)} GROUP BY symbol, {second} "
        f"ORDER BY {second} LIMIT {MOST_BARS:d}"
    )
    return Query(sql, {"since": _text(since.replace(microsecond=0)), "symbols": list(symbols), "seq": pin.seq})


def last(trades: Dataset, symbols: Sequence[str], since: datetime, pin: Snapshot) -> Query:
    sql = (
        f"SELECT symbol, argMax(price, {_AT}), max(received) FROM {source(trades, pin, _received(since))} "
        f"WHERE received >= {{since:DateTime64(6, 'UTC')}} AND symbol IN {{symbols:Array(String)}} AND {visible(trades)} "
        "GROUP BY symbol"
    )
    return Query(sql, {"since": _text(since), "symbols": list(symbols), "seq": pin.seq})


def busiest(trades: Dataset, now: datetime, pin: Snapshot, limit: int) -> Query:
    """The symbols with the most trades lately."""
    sql = (
        f"SELECT symbol FROM {source(trades, pin, _received(now - BUSY))} WHERE received >= {{since:DateTime64(6, 'UTC')}} AND {visible(trades)} "
        f"GROUP BY symbol ORDER BY count() DESC, symbol LIMIT {limit:d}"
    )
    return Query(sql, {"since": _text(now - BUSY), "seq": pin.seq})


def holes(begin: datetime, pin: Snapshot) -> Query:
    """Gaps that nobody repaired: all that reach into the time after that, and the newest before it that have not left for
    the archive: this is asked once a second.
    """
    sql = (
        f"SELECT source, symbol, since, until, cause, says FROM {here(gaps_table, pin.cold)} WHERE repaired_by = '' "
        f"ORDER BY until >= {{begin:DateTime64(6, 'UTC')}} DESC, id DESC LIMIT {MOST_GAPS:d}"
    )
    return Query(sql, {"begin": _text(begin)})


def _received(since: datetime) -> Span:
    return Span({"received": (since, None)})


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"
