"""One dataset on a symbol's page: its amounts day by day, with charts, largest days, corrections and withdrawn days.

On the day of a merger two securities may have one symbol. They are two entries of that day, each with its CUSIP and its
own number, in the charts, in the tables and in every sentence. So are the volumes of two facilities.
"""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from spotlightd.model.dataset import Dataset
from spotlightd.query import measures
from spotlightd.query.key import join_key
from spotlightd.query.measures import Measure
from spotlightd.query.values import format_address
from spotlightd.web.formatting import format_number
from spotlightd.web.symbol import daily_chart
from spotlightd.web.symbol.daily_chart import Drawing, Point

LARGEST = 10
TABLE_DAYS = 120
MOST_TITLES = 8
REPEATS = 7
"""The place of the number of repeated keys in a row."""


@dataclass(frozen=True, slots=True)
class Day:
    """One security of a symbol on one day. `key` holds the key values of its row, or of one of its rows when there are
    several.

    `part` is its CUSIP, or what else tells it apart; empty when the symbol has only one entry on that day. `before`: other amounts that were published for
    the security and the day earlier, newest first. `repeats`: how many of the rows have the key of another one. Then the
    amount is the largest of theirs, and no sum.
    """

    day: date
    part: str
    amount: Any
    worth: Decimal | None
    unpriced: int
    rows: int
    key: tuple[Any, ...]
    before: tuple[Any, ...] = ()
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class WithdrawnDay:
    """A security of a symbol that had a row on a day and has none now, and its last amount."""

    day: date
    part: str
    amount: Any


@dataclass(frozen=True, slots=True)
class Panel:
    """What the page shows of one dataset.

    `rows` are the visible ones of `measures.daily_history`, one for each day and security, oldest first, without the load. `before` has the amounts
    that superseded loads gave for a day and a CUSIP, `shared` the CUSIPs on days with several securities, by index of the
    row; for a dataset that tells rows apart by another column, its values in place of CUSIPs. A `Day` is made only for the days that are shown: making all of 5,000 days took longer than everything else on
    the page.
    """

    dataset: Dataset
    symbol: str
    as_of: str
    measure: Measure
    rows: Sequence[Sequence[Any]]
    before: Mapping[tuple[date, str], Sequence[Any]]
    titles: tuple[tuple[str, str, date], ...]
    shared: Mapping[int, str]

    def day(self, index: int) -> Day:
        day, part, amount, worth, unpriced, rows, _, repeats, *keys = self.rows[index]
        values = {self.dataset.symbol: self.symbol, self.dataset.apart or "cusip": part, self.dataset.time: day}
        values |= dict(zip(measures.unknown_keys(self.dataset), keys, strict=True))
        key = tuple(values[name] for name in self.dataset.key)
        before = tuple(dict.fromkeys(value for value in self.before.get((day, part), ()) if value != amount))
        return Day(day, self.shared.get(index, ""), amount, worth, unpriced, rows, key, before, repeats)

    @property
    def day_count(self) -> int:
        return len({row[0] for row in self.rows})

    @property
    def shared_day_count(self) -> int:
        """The number of days on which several securities have the symbol."""
        return len({self.rows[index][0] for index in self.shared})

    @property
    def repeated_day_count(self) -> int:
        """The number of days on which several rows have one key."""
        return len({row[0] for row in self.rows if row[REPEATS]})

    @property
    def latest(self) -> list[Day]:
        """The newest day: one entry for each security, the largest amount first."""
        newest = self.rows[-1][0]
        same_day = itertools.takewhile(lambda index: self.rows[index][0] == newest, range(len(self.rows))[::-1])
        return [self.day(index) for index in same_day][::-1]

    def address(self, day: Day) -> str:
        """The page of its row, or the table of the day's rows when it has several."""
        return day_address(self.dataset, self.symbol, day.day, day.key if day.rows == 1 else (), self.as_of)

    @property
    def largest(self) -> list[Day]:
        indexes = heapq.nlargest(
            LARGEST, range(len(self.rows)), key=lambda index: (self.rows[index][2], self.rows[index][0])
        )
        return [self.day(index) for index in indexes]

    @property
    def newest(self) -> list[Day]:
        """The days of the table on the page, newest first."""
        return [self.day(index) for index in range(len(self.rows))[::-1][:TABLE_DAYS]]

    @property
    def corrected(self) -> list[int]:
        """Indexes of the rows whose amount differs from one published before."""
        if not self.before:
            return []
        return [
            index
            for index, row in enumerate(self.rows)
            if any(amount != row[2] for amount in self.before.get((row[0], row[1]), ()))
        ]

    @property
    def withdrawn(self) -> list[WithdrawnDay]:
        """What had a row and has none now."""
        withdrawn = set(self.before).difference((row[0], row[1]) for row in self.rows) if self.before else set()
        return [WithdrawnDay(day, part, self.before[day, part][0]) for day, part in sorted(withdrawn)]

    @property
    def unpriced(self) -> int:
        """The number of days on which at least one row has no price."""
        return len({row[0] for row in self.rows if row[4]})

    @property
    def amounts(self) -> Drawing:
        return self._draw(range(len(self.rows)), 2, self.measure.unit)

    @property
    def worths(self) -> Drawing | None:
        priced = [index for index, row in enumerate(self.rows) if row[3] is not None]
        return self._draw(priced, 3, self.measure.price.unit) if priced and self.measure.price else None

    def _draw(self, indexes: Sequence[int], column: int, unit: str) -> Drawing:
        values = [float(self.rows[index][column]) for index in indexes]

        def make_point(position: int) -> Point:
            day = self.day(indexes[position])
            before = f" (corrected; before: {', '.join(map(format_number, day.before))})" if day.before else ""
            part = f", {self.measure.apart_title} {day.part}" if day.part else ""
            apart = f" (the largest of {day.rows:,} rows, which are not added up)" if day.repeats else ""
            text = f"{day.day}{part}: {format_number(values[position], 0)} {unit}{apart}{before}"
            return Point(text, self.address(day), is_corrected=bool(day.before))

        return daily_chart.draw_days([self.rows[index][0] for index in indexes], values, make_point)

    @property
    def data(self) -> dict[str, Any]:
        """For the script: columns of numbers (days counted from the year 1), and the target of clicks on a day. A day with
        several securities is there several times, with what tells them apart in `shared`, by index.
        """
        return {
            "unit": self.measure.unit,
            "price_unit": self.measure.price.unit if self.measure.price else "",
            "days": [row[0].toordinal() for row in self.rows],
            "amounts": [row[2] if isinstance(row[2], int) else float(row[2]) for row in self.rows],
            "worths": [None if row[3] is None else int(row[3]) for row in self.rows],
            "shared": dict(self.shared),
            "apart": self.measure.apart_title,
            "corrected": self.corrected,
            "address": format_address(("s", self.symbol, self.dataset.name, "")),
            "as_of": format_address("", as_of=self.as_of),
        }


def make_panel(dataset: Dataset, symbol: str, history: Sequence[Sequence[Any]], as_of: str) -> Panel:
    """The panel of the rows of `measures.daily_history`."""
    rows = [row[1:] for row in history if not row[0]]
    before: dict[tuple[date, str], list[Any]] = {}
    for _, day, part, amount, *_ in history[len(rows) :]:
        before.setdefault((day, part), []).insert(0, amount)
    measure = measures.find_measure(dataset)
    return Panel(dataset, symbol, as_of, measure, rows, before, find_titles(rows), find_shared_days(rows))


def find_titles(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, str, date], ...]:
    """Names and CUSIPs (or what else tells them apart) of the symbol with their last day, the newest first; of equal days, the one that came first."""
    last_days = {(name, row[1]): row[0] for row in rows for name in row[6]}
    newest = heapq.nlargest(MOST_TITLES, last_days.items(), key=operator.itemgetter(1))
    return tuple((name, part, day) for (name, part), day in newest)


def find_shared_days(rows: Sequence[Sequence[Any]]) -> dict[int, str]:
    """The CUSIPs of the rows whose day has several entries, by index. The rows of a day are neighbours."""
    same = [first for first, (row, after) in enumerate(itertools.pairwise(rows)) if row[0] == after[0]]
    return {index: rows[index][1] for first in same for index in (first, first + 1)}


def day_address(dataset: Dataset, symbol: str, day: date, key: Sequence[Any], as_of: str) -> str:
    """The page of one row; without a key the table of the day's rows."""
    if key:
        return format_address(("data", dataset.name, join_key(key)), as_of=as_of)
    pairs = ((dataset.symbol, symbol), *_day_filters(dataset, day))
    return format_address(("data", dataset.name), pairs, as_of=as_of)


def _day_filters(dataset: Dataset, day: date) -> tuple[tuple[str, str], ...]:
    if dataset.column(dataset.time).kind == "date":
        return ((dataset.time, day.isoformat()),)
    return ((f"{dataset.time}__gte", f"{day}T00:00:00Z"), (f"{dataset.time}__lte", f"{day}T23:59:59.999999Z"))
