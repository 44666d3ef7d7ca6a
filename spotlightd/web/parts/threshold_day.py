"""The threshold lists of one settlement day, as its page shows them: each market's list, and each security with its streak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from spotlightd.datasets.threshold.agreement import select_agreement, threshold_agreement
from spotlightd.datasets.threshold.days import select_days, threshold_days
from spotlightd.datasets.threshold.lists import ENDED, MARKETS, OCC, threshold_lists
from spotlightd.datasets.threshold.streaks import on_newest_lists, select_streaks, threshold_streaks
from spotlightd.model.dataset import Dataset
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition

LOOK_BACK = timedelta(days=400)
"""Streaks are read from lists of that many days. Those that began before are read again from all lists."""

NOT_REQUESTED = "not asked"
KNOWN = ("list", "empty")
ALL_MARKETS = tuple(dict.fromkeys(market for markets in MARKETS.values() for market in markets))


@dataclass(frozen=True, slots=True)
class Streak:
    """A streak as of the day of the page: `days` is the number of that day in it."""

    market: str
    symbol: str
    security_name: str
    rule: str
    first_day: date
    last_day: date
    days: int
    entered_after: date | None
    left_on: date | None
    unknown_before: int
    unknown_within: int

    def has_entered(self, day: date) -> bool:
        """Whether the security is new on the list of that day: the list before it is known."""
        return self.first_day == day and self.entered_after is not None


@dataclass(frozen=True, slots=True)
class MarketList:
    """What is known of one market's list of the day, and who entered and left."""

    market: str
    status: str
    securities: int = 0
    at: datetime | None = None
    document: str = ""
    error: str = ""
    entered: tuple[Streak, ...] = ()
    left: tuple[Streak, ...] = ()

    @property
    def is_known(self) -> bool:
        return self.status in KNOWN


@dataclass(frozen=True, slots=True)
class Security:
    """A line of the page: a security, and its streak on each market's list that it is on."""

    symbol: str
    name: str
    streaks: Mapping[str, Streak]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the OCC's list says of one market's list."""

    market: str
    both: int
    only_market: tuple[str, ...]
    only_occ: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ThresholdDay:
    """All lists of a settlement day. `known_days` has the markets with a list, by day of the month."""

    day: date
    markets: tuple[MarketList, ...]
    securities: tuple[Security, ...]
    known_days: Mapping[date, int]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def missing(self) -> tuple[MarketList, ...]:
        """The lists that were asked for and are not known."""
        return tuple(market for market in self.markets if not market.is_known and market.status != NOT_REQUESTED)

    @property
    def unasked(self) -> tuple[str, ...]:
        return tuple(
            market.market for market in self.markets if market.status == NOT_REQUESTED and market.market not in ENDED
        )


def listed_days_query(snapshot: Snapshot) -> Query:
    """The first day and the newest one of which there is an answer, and the newest one with a list that is known; 1970-01-01
    when there is none.
    """
    newest = f"max(list_date), maxIf(list_date, status IN {KNOWN})"
    rows, visible = table_expression(threshold_lists, snapshot), visible_condition(threshold_lists)
    sql = f"SELECT min(list_date), {newest} FROM {rows} WHERE market != '{OCC}' AND {visible}"
    return Query(sql, {"seq": snapshot.seq})


async def read_day(reader: Reader, day: date, first_list: date, snapshot: Snapshot) -> ThresholdDay:
    """The lists of a day, by one statement; by one more for streaks that are older than the look-back, and for the OCC's list."""
    month = (day.replace(day=1), (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1))
    since = max(first_list, day - LOOK_BACK)
    days, found = await reader.together(_days_query(*month, snapshot), _streaks_query(day, since, snapshot))
    statuses = [row for row in days.dicts() if row["list_date"] == day]
    streaks = {(streak.market, streak.symbol): streak for streak in (Streak(*row) for row in found.rows)}
    older = sorted(
        {streak.symbol for streak in streaks.values() if streak.entered_after is None and since > first_list}
    )
    has_occ = any(row["market"] == OCC and row["status"] in KNOWN for row in statuses)
    more = await reader.together(
        *([_streaks_query(day, first_list, snapshot, older)] if older else []),
        *([_agreement_query(day, snapshot)] if has_occ else []),
    )
    if older:
        streaks |= {(streak.market, streak.symbol): streak for streak in (Streak(*row) for row in more[0].rows)}
    comparisons = (
        tuple(Comparison(row[0], row[1], tuple(row[2]), tuple(row[3])) for row in more[-1].rows) if has_occ else ()
    )
    markets = {row["market"]: row for row in statuses}
    return ThresholdDay(
        day,
        tuple(_make_list(market, markets.get(market), streaks.values(), day) for market in ALL_MARKETS),
        _group_securities(streak for streak in streaks.values() if streak.last_day == day),
        _count_lists(days.dicts()),
        comparisons,
    )


def requested_markets(lists: Iterable[MarketList]) -> tuple[str, ...]:
    """The markets that are a column: those of which a list was asked for."""
    return tuple(market.market for market in lists if market.status != NOT_REQUESTED)


def _read(dataset: Dataset, select: str, snapshot: Snapshot) -> str:
    return table_expression(replace(dataset, reading=select), snapshot)


def _days_query(first: date, last: date, snapshot: Snapshot) -> Query:
    condition = f"list_date BETWEEN toDate('{first}') AND toDate('{last}')"
    rows = _read(threshold_days, select_days(condition), snapshot)
    sql = f"SELECT list_date, market, status, securities, at, document, error FROM {rows} ORDER BY list_date, market"
    return Query(sql, {"seq": snapshot.seq})


def _streaks_query(day: date, since: date, snapshot: Snapshot, symbols: Sequence[str] = ()) -> Query:
    """The streaks that are on the lists of the day, and those that ended on the list before, by the lists since a day."""
    condition = f"list_date BETWEEN toDate('{since}') AND toDate('{day}')"
    listed = "symbol IN {{symbols:Array(String)}}" if symbols else on_newest_lists(condition, 2)
    rows = _read(threshold_streaks, select_streaks(condition, listed), snapshot)
    columns = "market, symbol, security_name, rule, first_day, last_day, days, entered_after, left_on, unknown_before, unknown_within"
    sql = (
        f"SELECT {columns} FROM {rows} WHERE (last_day = toDate('{day}') OR left_on = toDate('{day}') AND state = 'closed')"
        " ORDER BY symbol, market"
    )
    return Query(sql, {"seq": snapshot.seq, **({"symbols": list(symbols)} if symbols else {})})


def _agreement_query(day: date, snapshot: Snapshot) -> Query:
    rows = _read(threshold_agreement, select_agreement(f"list_date = toDate('{day}')"), snapshot)
    return Query(f"SELECT market, both, only_market, only_occ FROM {rows} ORDER BY market", {"seq": snapshot.seq})


def _make_list(market: str, row: Mapping[str, object] | None, streaks: Iterable[Streak], day: date) -> MarketList:
    if row is None:
        return MarketList(market, NOT_REQUESTED)
    own = [streak for streak in streaks if streak.market == market]
    return MarketList(
        market=market,
        status=str(row["status"]),
        securities=int(str(row["securities"])),
        at=row["at"] if isinstance(row["at"], datetime) else None,
        document=str(row["document"]),
        error=str(row["error"]),
        entered=tuple(streak for streak in own if streak.has_entered(day)),
        left=tuple(streak for streak in own if streak.left_on == day),
    )


def _group_securities(streaks: Iterable[Streak]) -> tuple[Security, ...]:
    """One line for each symbol. Two markets may list different securities under one symbol, so a name has its own line."""
    lines = dict[tuple[str, str], dict[str, Streak]]()
    for streak in streaks:
        lines.setdefault((streak.symbol, streak.security_name), {})[streak.market] = streak
    return tuple(Security(symbol, name, on_lists) for (symbol, name), on_lists in sorted(lines.items()))


def _count_lists(rows: Iterable[Mapping[str, object]]) -> dict[date, int]:
    counts = dict[date, int]()
    for row in rows:
        day = row["list_date"]
        if isinstance(day, date) and row["market"] != OCC:
            counts[day] = counts.get(day, 0) + (row["status"] in KNOWN)
    return counts
