"""The statements of `/swaps`: messages of a period in groups, with the notional of new trades in one currency."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from spotlightd.query.question import Question
from spotlightd.query.select import Query, select_grouped
from spotlightd.sql.visibility import Snapshot

MOST_LINES = 15
MOST_DAILY_BARS = 35
IS_NEW = "action = 'NEW'"
IN_CURRENCY = f"{IS_NEW} AND currency = {{currency:String}}"
VALUES = (
    "sum(messages)",
    f"sumIf(messages, {IS_NEW})",
    f"sumIf(messages, {IN_CURRENCY})",
    f"sumIf(notional, {IN_CURRENCY})",
    f"sumIf(capped, {IN_CURRENCY})",
    f"sumIf(capped_notional, {IN_CURRENCY})",
)
LARGEST_FIRST = f"{VALUES[3]} DESC, {VALUES[0]} DESC"
OWN_CURRENCY = tuple(value.replace(IN_CURRENCY, IS_NEW) for value in VALUES)
GROUPINGS = {
    "asset_class": ("asset_class",),
    "repository": ("publisher", "regime"),
    "instrument": ("instrument",),
    "underlier": ("underlier",),
}


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
    """The first and the last day with a message, and the number of messages."""
    return select_grouped(question, snapshot, (), ("min(report_date)", "max(report_date)", "sum(messages)"))


def period_queries(question: Question, currency: str, snapshot: Snapshot) -> list[Query]:
    """What `read_period` takes the answers of."""
    queries = [
        select_grouped(question, snapshot, ("report_date",), VALUES, order="report_date"),
        select_grouped(question, snapshot, (), VALUES),
        select_grouped(question, snapshot, ("action",), ("sum(messages)",), order="sum(messages) DESC"),
        select_grouped(
            question, snapshot, ("currency",), OWN_CURRENCY, order=f"{OWN_CURRENCY[1]} DESC", limit=MOST_LINES
        ),
        *(
            select_grouped(question, snapshot, by, VALUES, order=LARGEST_FIRST, limit=MOST_LINES)
            for by in GROUPINGS.values()
        ),
    ]
    return [replace(query, params={**query.params, "currency": currency}) for query in queries]


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


def read_period(answers: Sequence[Sequence[Sequence[Any]]]) -> PeriodSums:
    days, totals, actions, currencies, *groups = answers
    return PeriodSums(
        tuple((row[0], Sums(*row[1:])) for row in days),
        Sums(*totals[0]),
        tuple((action, count) for action, count in actions),
        _read_groups(("currency",), currencies),
        {name: _read_groups(by, rows) for (name, by), rows in zip(GROUPINGS.items(), groups, strict=True)},
    )


def _read_groups(columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> tuple[tuple[Group, Sums], ...]:
    count = len(columns)
    return tuple((Group(columns, tuple(row[:count])), Sums(*row[count:])) for row in rows)
