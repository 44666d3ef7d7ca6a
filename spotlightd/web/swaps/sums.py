"""The statements of `/swaps`: messages of a period in groups, with the notional of new trades in one currency."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from spotlightd.query.question import Condition, Question
from spotlightd.query.select import Query, select_aggregates
from spotlightd.sql.visibility import Snapshot

MOST_LINES = 15
MOST_DAILY_BARS = 35
IS_NEW = "action = 'NEW'"
IN_CURRENCY = f"{IS_NEW} AND currency = {{currency:String}}"
SUMMED = ("messages", "notional", "capped", "capped_notional")
VALUES = (
    "sum(_messages)",
    f"sumIf(_messages, {IS_NEW})",
    f"sumIf(_messages, {IN_CURRENCY})",
    f"sumIf(_notional, {IN_CURRENCY})",
    f"sumIf(_capped, {IN_CURRENCY})",
    f"sumIf(_capped_notional, {IN_CURRENCY})",
)
OWN_VALUES = tuple(value.replace(IN_CURRENCY, IS_NEW) for value in VALUES[3:])
"""Notional and capped of new trades in the currency of the group, whatever the page's is."""
COLUMNS = ("report_date", "asset_class", "publisher", "regime", "action", "currency")
"""The first columns that the rows are sorted by: adding up by them needs no table of groups."""
DAYS, TOTAL, ACTIONS, CURRENCIES = ("report_date",), (), ("action",), ("currency",)
GROUPINGS = {"asset_class": ("asset_class",), "repository": ("publisher", "regime")}
SUBJECTS = ("instrument", "underlier")
"""Columns with thousands of values. They are added up for new trades in the page's currency only."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What messages of a group come to. `trades` are new ones; `in_currency` those whose notional is in the page's currency.
    `notional`, `capped` and `capped_notional` are of the latter.
    """

    messages: int
    trades: int
    in_currency: int
    notional: Decimal
    capped: int
    capped_notional: Decimal

    @property
    def capped_share(self) -> float:
        """The part of the notional that is of capped trades, from 0 to 1."""
        return float(self.capped_notional / self.notional) if self.notional else 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Messages that are alike in some columns."""

    columns: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def title(self) -> str:
        return ", ".join(text for text in self.texts if text) or "(not said)"

    @property
    def filters(self) -> tuple[tuple[str, str], ...]:
        """The filters for them. `__eq`, because in a form an empty text is no filter."""
        return tuple(
            (name if value else f"{name}__eq", value) for name, value in zip(self.columns, self.texts, strict=True)
        )


def days_with_messages(question: Question, snapshot: Snapshot) -> Query:
    """The first and the last day with a message, and the number of rows."""
    return select_aggregates(question, snapshot, ("min(report_date)", "max(report_date)", "count()"))


def period_queries(question: Question, currency: str, snapshot: Snapshot) -> tuple[Query, Query]:
    """What `read_period` takes the answers of: all small groupings, and the largest instruments and underliers."""
    return _groupings_query(question, currency, snapshot), _subjects_query(question, currency, snapshot)


def _groupings_query(question: Question, currency: str, snapshot: Snapshot) -> Query:
    """The rows are added up in their order first, so that the sets divide thousands of groups and not millions of rows."""
    names = ", ".join(COLUMNS)
    sums = tuple(f"sum({name}) AS _{name}" for name in SUMMED)
    inner = select_aggregates(question, snapshot, (*COLUMNS, *sums), f"GROUP BY {names}")
    groupings = (DAYS, TOTAL, ACTIONS, CURRENCIES, *GROUPINGS.values())
    sets = ", ".join(f"({', '.join(columns)})" for columns in groupings)
    number = f"grouping({names})"
    sql = (
        f"SELECT {number}, {names}, {', '.join((*VALUES, *OWN_VALUES))} "
        f"FROM ({inner.sql} SETTINGS optimize_aggregation_in_order = 1) GROUP BY GROUPING SETS ({sets}) "
        f"ORDER BY {number}, {VALUES[3]} DESC, {VALUES[1]} DESC, {VALUES[0]} DESC LIMIT {MOST_LINES:d} BY {number}, report_date"
    )
    return Query(sql, {**inner.params, "currency": currency})


def _subjects_query(question: Question, currency: str, snapshot: Snapshot) -> Query:
    wanted = {"action": "NEW", "currency": currency}
    conditions = [Condition(question.dataset.column(name), "eq", (value,)) for name, value in wanted.items()]
    question = replace(question, conditions=(*question.conditions, *conditions))
    number, names = f"grouping({', '.join(SUBJECTS)})", ", ".join(SUBJECTS)
    sums = tuple(f"sum({name})" for name in SUMMED)
    tail = (
        f"GROUP BY GROUPING SETS ({', '.join(f'({name})' for name in SUBJECTS)}) "
        f"ORDER BY {number}, {sums[1]} DESC, {sums[0]} DESC, {names} LIMIT {MOST_LINES:d} BY {number}"
    )
    return select_aggregates(question, snapshot, (number, *SUBJECTS, *sums), tail)


def _number(columns: Sequence[str], among: Sequence[str] = COLUMNS) -> int:
    """What the engine's `grouping` says of groups of these columns: a bit for each other column, the first the highest."""
    return sum(1 << place for place, name in enumerate(reversed(among)) if name not in columns)


@dataclass(frozen=True, slots=True)
class PeriodSums:
    """Everything that the page shows of a period. `days` are those with messages, the oldest first."""

    days: tuple[tuple[date, Sums], ...]
    total: Sums
    actions: tuple[tuple[str, int], ...]
    currencies: tuple[tuple[Group, Sums], ...]
    groupings: dict[str, tuple[tuple[Group, Sums], ...]]

    @property
    def is_daily(self) -> bool:
        """Whether there are so few days that each has a bar."""
        return not self.days or (self.days[-1][0] - self.days[0][0]).days < MOST_DAILY_BARS

    @property
    def steps(self) -> tuple[tuple[date, Sums], ...]:
        """The days, or the weeks by their Mondays."""
        if self.is_daily:
            return self.days
        weeks = itertools.groupby(self.days, lambda entry: entry[0] - timedelta(days=entry[0].weekday()))
        return tuple((monday, _add_up([sums for _, sums in days])) for monday, days in weeks)


def _add_up(parts: Sequence[Sums]) -> Sums:
    return Sums(
        sum(sums.messages for sums in parts),
        sum(sums.trades for sums in parts),
        sum(sums.in_currency for sums in parts),
        sum((sums.notional for sums in parts), Decimal()),
        sum(sums.capped for sums in parts),
        sum((sums.capped_notional for sums in parts), Decimal()),
    )


def read_period(small: Sequence[Sequence[Any]], subjects: Sequence[Sequence[Any]]) -> PeriodSums:
    by_number: dict[int, list[Sequence[Any]]] = {}
    for number, *values in small:
        by_number.setdefault(number, []).append(values)

    def read(columns: tuple[str, ...], *, is_own: bool = False) -> tuple[tuple[Group, Sums], ...]:
        return tuple(_read_group(columns, values, is_own=is_own) for values in by_number.get(_number(columns), []))

    days = by_number.get(_number(DAYS), [])
    groupings = {name: read(columns) for name, columns in GROUPINGS.items()}
    return PeriodSums(
        tuple(sorted(((values[0], _read_group(DAYS, values)[1]) for values in days), key=operator.itemgetter(0))),
        read(TOTAL)[0][1],
        tuple((group.texts[0], sums.messages) for group, sums in read(ACTIONS)),
        read(CURRENCIES, is_own=True),
        groupings | {name: _read_subjects(name, subjects) for name in SUBJECTS},
    )


def _read_group(columns: tuple[str, ...], values: Sequence[Any], *, is_own: bool = False) -> tuple[Group, Sums]:
    texts = tuple(str(values[COLUMNS.index(name)]) for name in columns)
    messages, trades, in_currency, *amounts = values[len(COLUMNS) :]
    own = amounts[len(amounts) // 2 :]
    sums = Sums(messages, trades, trades, *own) if is_own else Sums(messages, trades, in_currency, *amounts[:3])
    return Group(columns, texts), sums


def _read_subjects(name: str, rows: Sequence[Sequence[Any]]) -> tuple[tuple[Group, Sums], ...]:
    place = SUBJECTS.index(name) + 1
    return tuple(
        (Group((name,), (row[place],)), Sums(row[3], row[3], *row[3:]))
        for row in rows
        if row[0] == _number((name,), SUBJECTS)
    )
