"""Price by the minute for a symbol's page: which window, what is asked, and what its bars come to. Text and values only.

Volatility is of the window, from its bars: realised is the root of the sum of squared logarithms of close over the close
before (of the first bar: over its own open), Parkinson's the root of the sum of squared logarithms of high over low,
over 4 ln 2. Parkinson's is printed as a mean as often as a sum: as a sum, the two can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from spotlightd.datasets.bars import bars
from spotlightd.datasets.system import gaps as gaps_table
from spotlightd.query.errors import bad
from spotlightd.query.select import Query
from spotlightd.query.values import rfc3339
from spotlightd.sql.tiers import Lasting, Span
from spotlightd.sql.visibility import Snapshot, rows, source

MINUTE = timedelta(minutes=1)
WINDOWS: Mapping[str, tuple[str, int]] = {"1h": ("1 hour", 60), "1d": ("1 day", 1440), "5d": ("5 days", 7200)}
USUAL = "1d"
MOST_CANDLES = 300
_STEPS = (1, 2, 5, 10, 15, 30, 60)
SHORTEST = timedelta(hours=1)
_ROUND_SECONDS = 600
MOST_BARS = 40_000
MOST_GAPS = 200


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, `until` excluded. `moved`: the reader said where it ends."""

    name: str
    since: datetime
    until: datetime
    moved: bool = False

    @property
    def minutes(self) -> float:
        return (self.until - self.since) / MINUTE

    @property
    def says(self) -> str:
        return WINDOWS[self.name][0]

    @property
    def step(self) -> int:
        """How many minutes one candle of the drawing takes together."""
        return next((step for step in _STEPS if self.minutes / step <= MOST_CANDLES), _STEPS[-1])


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute, or some of them taken together from `minute` on."""

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
    says: str


@dataclass(frozen=True, slots=True)
class Volatility:
    """Over the window, as parts of one (0.01 = 1 %); None where a price is not above zero."""

    realised: float | None
    parkinson: float | None


def ending(name: str, last: datetime, *, moved: bool) -> Window:
    """The window of that name whose last minute is `last`."""
    return Window(name, last - (WINDOWS[name][1] - 1) * MINUTE, last + MINUTE, moved)


def trimmed(window: Window, some: Iterable[Bar], holes: Iterable[Gap]) -> Window:
    """Begun where there is something to show, but an hour at least: a night without trades is left out, one that was not
    listened to is not.
    """
    first = min([*(one.minute for one in some), *(min(one.since, one.until) for one in holes)], default=window.since)
    first = min(first, window.until - SHORTEST)
    round_one = first - timedelta(seconds=first.timestamp() % _ROUND_SECONDS)
    return replace(window, since=max(round_one, window.since))


def window_name(text: str) -> str:
    """The window that the address asks for."""
    if text and text not in WINDOWS:
        raise bad("window", f"there is no window {text!r}", f"There are {', '.join(WINDOWS)}.")
    return text or USUAL


def newest(symbol: str, before: datetime | None, pin: Snapshot) -> Query:
    """The last minute that has a bar (before that time), and how many have one."""
    params: dict[str, Any] = {"symbol": symbol, "seq": pin.seq}
    sql = f"SELECT max(minute), count() FROM {source(bars, pin)} WHERE symbol = {{symbol:String}}"
    if before is not None:
        sql += " AND minute < {before:DateTime64(6, 'UTC')}"
        params["before"] = _bound(before)
    return Query(sql, params)


def within(symbol: str, window: Window, pin: Snapshot) -> Query:
    """The bars of the window, by source and time."""
    sql = (
        f"SELECT source, minute, open, high, low, close, volume, turnover, trades FROM {source(bars, pin, Span({'time': (window.since, window.until)}))} "
        "WHERE symbol = {symbol:String} AND minute >= {since:DateTime64(6, 'UTC')} AND minute < {until:DateTime64(6, 'UTC')} "
        f"ORDER BY source, minute LIMIT {MOST_BARS:d}"
    )
    return Query(sql, {"symbol": symbol, "seq": pin.seq, **_span(window)})


def gaps(symbol: str, window: Window, pin: Snapshot) -> Query:
    """Gaps that nothing filled, of all sources, that touch the window."""
    table = rows(gaps_table, pin.cold, Lasting(window.since, window.until))
    sql = (
        f"SELECT source, since, until, cause, says FROM {table} WHERE symbol IN ('', {{symbol:String}}) AND repaired_by = '' "
        "AND greatest(since, until) >= {since:DateTime64(6, 'UTC')} AND least(since, until) < {until:DateTime64(6, 'UTC')} "
        f"ORDER BY source, since LIMIT {MOST_GAPS:d}"
    )
    return Query(sql, {"symbol": symbol, **_span(window)})


def _span(window: Window) -> dict[str, str]:
    return {"since": _bound(window.since), "until": _bound(window.until)}


def _bound(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


def trades_of(bar: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The filters by which the trades of a bar are found."""
    since: datetime = bar["minute"]
    span = [("time__gte", rfc3339(since)), ("time__lt", rfc3339(since + MINUTE))]
    return [("symbol", bar["symbol"]), ("source", bar["source"]), *span]


def by_source(rows: Sequence[Sequence[Any]]) -> dict[str, list[Bar]]:
    """Answers of `within`, apart by source."""
    found: dict[str, list[Bar]] = {}
    for name, *values in rows:
        found.setdefault(name, []).append(Bar(*values))
    return found


def together(some: Sequence[Bar], step: int) -> list[Bar]:
    """Bars of `step` minutes each, from whole multiples of it on. `some` are in order."""
    if step == 1:
        return list(some)
    parts: dict[datetime, list[Bar]] = {}
    for one in some:
        begin = one.minute - timedelta(seconds=one.minute.timestamp() % (60 * step))
        parts.setdefault(begin, []).append(one)
    return [_merged(begin, of) for begin, of in parts.items()]


def _merged(begin: datetime, of: Sequence[Bar]) -> Bar:
    return Bar(
        begin, of[0].open, max(one.high for one in of), min(one.low for one in of), of[-1].close,
        sum((one.volume for one in of), Decimal()), sum((one.turnover for one in of), Decimal()),
        sum(one.trades for one in of),
    )  # fmt: skip


def volatility(some: Sequence[Bar]) -> Volatility:
    """Of bars in order."""
    if not some or min(one.low for one in some) <= 0:
        return Volatility(None, None)
    before = [some[0].open, *(one.close for one in some)]
    steps = sum(math.log(one.close / last) ** 2 for one, last in zip(some, before, strict=False))
    ranges = sum(math.log(one.high / one.low) ** 2 for one in some)
    return Volatility(math.sqrt(steps), math.sqrt(ranges / (4 * math.log(2))))
