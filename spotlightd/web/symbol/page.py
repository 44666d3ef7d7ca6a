"""`/s/{symbol}`: all that is known of one ticker: its price by the minute, and datasets day by day, drawn and as tables."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from aiohttp import web

from spotlightd.datasets import system
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters as ask
from spotlightd.query import measures
from spotlightd.query.errors import bad, missing
from spotlightd.query.key import joined
from spotlightd.query.measures import Measure
from spotlightd.query.values import address
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import formatting, responses
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol import daily_chart, price
from spotlightd.web.symbol.daily_chart import Drawing, Point

LONGEST = 40
LARGEST = 10
IN_PAGE = 120


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a symbol. `key` holds the key values of its row, of any when there are several; `before`: other
    amounts that were published for it earlier, newest first.
    """

    day: date
    amount: Any
    worth: Decimal | None
    unpriced: int
    rows: int
    key: tuple[Any, ...]
    before: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """What the page shows of one dataset. `rows` are those of `measure.series`, one for each day, oldest first; `before`
    has the amounts that superseded loads gave for a day. A `Day` is made only for those that are shown: making all of
    5,000 days took longer than everything else on the page.
    """

    dataset: Dataset
    symbol: str
    as_of: str
    measure: Measure
    rows: Sequence[Sequence[Any]]
    before: Mapping[date, Sequence[Any]]
    titles: tuple[tuple[str, str, date], ...]

    def day(self, at: int) -> Day:
        day, amount, worth, unpriced, rows, *key = self.rows[at]
        other = tuple(dict.fromkeys(one for one in self.before.get(day, ()) if one != amount))
        return Day(day, amount, worth, unpriced, rows, tuple(key), other)

    def address(self, one: Day) -> str:
        """The page of the day's row, or the table of its rows when there are several."""
        return _rows_of(self.dataset, self.symbol, one.day, one.key if one.rows == 1 else (), self.as_of)

    @property
    def largest(self) -> list[Day]:
        found = heapq.nlargest(LARGEST, range(len(self.rows)), key=lambda at: (self.rows[at][1], self.rows[at][0]))
        return [self.day(at) for at in found]

    @property
    def in_page(self) -> list[Day]:
        return [self.day(at) for at in range(len(self.rows))[::-1][:IN_PAGE]]

    @property
    def corrected(self) -> list[int]:
        """Which days have another amount than was published before."""
        if not self.before:
            return []
        return [at for at, row in enumerate(self.rows) if any(one != row[1] for one in self.before.get(row[0], ()))]

    @property
    def withdrawn(self) -> list[tuple[date, Any]]:
        """Days that had a row and have none any more, with their last amount."""
        gone = set(self.before).difference(row[0] for row in self.rows) if self.before else set()
        return [(day, self.before[day][0]) for day in sorted(gone)]

    @property
    def unpriced(self) -> int:
        return sum(1 for row in self.rows if row[3])

    @property
    def amounts(self) -> Drawing:
        return self._drawn(range(len(self.rows)), 1, self.measure.unit)

    @property
    def worths(self) -> Drawing | None:
        known = [at for at, row in enumerate(self.rows) if row[2] is not None]
        return self._drawn(known, 2, self.measure.price.unit) if known and self.measure.price else None

    def _drawn(self, shown: Sequence[int], part: int, unit: str) -> Drawing:
        values = [float(self.rows[at][part]) for at in shown]

        def told(at: int) -> Point:
            one = self.day(shown[at])
            before = f" (corrected; before: {', '.join(map(formatting.number, one.before))})" if one.before else ""
            says = f"{one.day}: {formatting.number(values[at], 0)} {unit}{before}"
            return Point(says, self.address(one), corrected=bool(one.before))

        return daily_chart.drawn([self.rows[at][0] for at in shown], values, told)

    @property
    def data(self) -> dict[str, Any]:
        """For the script: columns of numbers (days counted from the year 1), and where a click on a day leads."""
        return {
            "unit": self.measure.unit,
            "money": self.measure.price.unit if self.measure.price else "",
            "days": [row[0].toordinal() for row in self.rows],
            "amounts": [row[1] if isinstance(row[1], int) else float(row[1]) for row in self.rows],
            "worths": [None if row[2] is None else int(row[2]) for row in self.rows],
            "corrected": self.corrected,
            "leads": address(("s", self.symbol, self.dataset.name, "")),
            "as_of": address("", as_of=self.as_of),
        }


def reads(dataset: Dataset) -> bool:
    """Whether rows of it that are archived stand on a symbol's page."""
    return dataset.by_load or dataset == system.gaps


async def show_symbol(request: web.Request) -> web.StreamResponse:
    symbol = request.match_info["symbol"]
    if len(symbol) > LONGEST:
        raise missing(f"{symbol[:LONGEST]!r}… is no symbol: at most {LONGEST} characters.", "Search for the company.")
    as_of = ask.instant("as_of", request.query.get("as_of", ""))
    if unknown := [name for name in request.query if name not in ("as_of", "window", "until")]:
        raise bad(
            unknown[0],
            "there is no such parameter",
            "A symbol page takes as_of, window and until; the table takes filters.",
        )
    reader, link = responses.reader(request), request.query.get("as_of", "")
    asked = price.asked(request)
    pin = await reader.pin(None, as_of)
    traded = await price.shown(request, symbol, asked, pin)
    mark = "" if traded else responses.etag(request, pin)
    if mark and responses.unchanged(request, mark):
        return responses.not_modified(mark)
    panels = await _panels(request, symbol, pin, link)
    if not panels and not traded:
        raise _nothing(symbol, pin)
    page = {"symbol": symbol, "panels": panels, "price": traded, "pin": pin}
    return responses.page(request, "symbol.html", page, etag=mark)


async def _panels(request: web.Request, symbol: str, pin: Snapshot, link: str) -> list[Panel]:
    able = measures.daily(request.app[APP_STATE].context.datasets)
    asked = (measures.series, measures.titles, measures.replaced)
    answers = await responses.reader(request).all(*(question(one, symbol, pin) for one in able for question in asked))
    parts = [_panel(one, symbol, answers[3 * at : 3 * at + 3], link) for at, one in enumerate(able)]
    return [panel for panel in parts if panel.rows or panel.before]


def _nothing(symbol: str, pin: Snapshot) -> Exception:
    if not pin.seq:
        return missing(
            f"Nothing was published by then, so nothing is known of {symbol!r}.",
            "Leave as_of out, or name a later time.",
        )
    return missing(
        f"No dataset has a row for the symbol {symbol!r}.", "Search for it: it may be known by another symbol."
    )


def _panel(dataset: Dataset, symbol: str, answers: Sequence[Answer], as_of: str) -> Panel:
    series, titles, replaced = answers
    before: dict[date, list[Any]] = {}
    for day, amount in replaced.rows:
        before.setdefault(day, []).insert(0, amount)
    named = tuple((name, cusip, day) for name, cusip, day, _ in titles.rows)
    return Panel(dataset, symbol, as_of, measures.of(dataset), series.rows, before, named)


def _rows_of(dataset: Dataset, symbol: str, day: date, key: Sequence[Any], as_of: str) -> str:
    """The page of one row, or the table of the day's rows without a key."""
    if key:
        return address(("data", dataset.name, joined(key)), as_of=as_of)
    filters = ((dataset.symbol, symbol), *_on(dataset, day))
    return address(("data", dataset.name), filters, as_of=as_of)


async def show_day(request: web.Request) -> web.StreamResponse:
    """`/s/{symbol}/{dataset}/{day}` leads to the row of that day: what a click on the chart needs no key for."""
    dataset, symbol = responses.dataset(request, request.match_info["name"]), request.match_info["symbol"]
    if not (dataset.symbol and dataset.by_load):
        raise missing(f"{dataset.name} knows no symbols.", "Look into its table.")
    try:
        day = date.fromisoformat(request.match_info["day"])
    except ValueError:
        raise missing(
            f"{request.match_info['day']!r} is not a date like 2021-01-27.", "Begin at the symbol's page."
        ) from None
    as_of = request.query.get("as_of", "")
    reader = responses.reader(request)
    pin = await reader.pin(dataset, ask.instant("as_of", as_of))
    found = await reader.rows(measures.keys_of_day(dataset, symbol, day, pin))
    raise web.HTTPSeeOther(_rows_of(dataset, symbol, day, found.rows[0] if len(found.rows) == 1 else (), as_of))


def _on(dataset: Dataset, day: date) -> tuple[tuple[str, str], ...]:
    if dataset.column(dataset.time).kind == "date":
        return ((dataset.time, day.isoformat()),)
    return ((f"{dataset.time}__gte", f"{day}T00:00:00Z"), (f"{dataset.time}__lte", f"{day}T23:59:59.999999Z"))
