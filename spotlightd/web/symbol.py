"""`/s/{symbol}`: all that is known of one ticker, day by day, as a chart, a sentence and a table."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.model.ports import Answer
from spotlightd.model.provenance import Pin
from spotlightd.web import ask, chart, desk, measure, show
from spotlightd.web.chart import Drawing, Point
from spotlightd.web.desk import DESK
from spotlightd.web.key import joined
from spotlightd.web.measure import Measure
from spotlightd.web.refusal import bad, missing

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
    """What the page shows of one dataset."""

    dataset: Dataset
    symbol: str
    as_of: str
    measure: Measure
    days: tuple[Day, ...]
    titles: tuple[tuple[str, str, date], ...]
    withdrawn: tuple[tuple[date, Any], ...]

    def address(self, one: Day) -> str:
        """The page of the day's row, or the table of its rows when there are several."""
        return _rows_of(self.dataset, self.symbol, one.day, one.key if one.rows == 1 else (), self.as_of)

    @property
    def largest(self) -> list[Day]:
        return heapq.nlargest(LARGEST, self.days, key=lambda one: (one.amount, one.day))

    @property
    def in_page(self) -> list[Day]:
        return list(self.days[::-1][:IN_PAGE])

    @property
    def corrected(self) -> list[Day]:
        return [one for one in self.days if one.before]

    @property
    def unpriced(self) -> int:
        return sum(1 for one in self.days if one.unpriced)

    @property
    def amounts(self) -> Drawing:
        return self._drawn(self.days, [float(one.amount) for one in self.days], self.measure.unit)

    @property
    def worths(self) -> Drawing | None:
        known = [one for one in self.days if one.worth is not None]
        if not (known and self.measure.price):
            return None
        return self._drawn(known, [float(one.worth or 0) for one in known], self.measure.price.unit)

    def _drawn(self, days: Sequence[Day], values: Sequence[float], unit: str) -> Drawing:
        def told(at: int) -> Point:
            one = days[at]
            before = f" (corrected; before: {', '.join(map(show.number, one.before))})" if one.before else ""
            says = f"{one.day}: {show.number(values[at], 0)} {unit}{before}"
            return Point(says, self.address(one), corrected=bool(one.before))

        return chart.drawn([one.day for one in days], values, told)

    @property
    def data(self) -> dict[str, Any]:
        """For the script: columns of numbers (days counted from the year 1), and where a click on a day leads."""
        return {
            "unit": self.measure.unit,
            "money": self.measure.price.unit if self.measure.price else "",
            "days": [one.day.toordinal() for one in self.days],
            "amounts": [one.amount if isinstance(one.amount, int) else float(one.amount) for one in self.days],
            "worths": [None if one.worth is None else int(one.worth) for one in self.days],
            "corrected": [at for at, one in enumerate(self.days) if one.before],
            "leads": show.address(("s", self.symbol, self.dataset.name, "")),
            "as_of": show.address("", as_of=self.as_of),
        }  # fmt: skip


async def show_symbol(request: web.Request) -> web.StreamResponse:
    symbol = request.match_info["symbol"]
    if len(symbol) > LONGEST:
        raise missing(f"{symbol[:LONGEST]!r}… is no symbol: at most {LONGEST} characters.", "Search for the company.")
    as_of = ask.instant("as_of", request.query.get("as_of", ""))
    if unknown := [name for name in request.query if name != "as_of"]:
        raise bad(unknown[0], "there is no such parameter", "A symbol page takes as_of only; the table takes filters.")
    reader = desk.reader(request)
    pin = await reader.pin(None, as_of)
    mark = desk.etag(request, pin)
    if desk.unchanged(request, mark):
        return desk.not_modified(mark)
    able = [one for one in request.app[DESK].context.datasets if one.symbol and one.by_load]
    asked = (measure.series, measure.titles, measure.replaced)
    answers = await reader.all(*(question(one, symbol, pin.seq) for one in able for question in asked))
    link = request.query.get("as_of", "")
    parts = [_panel(one, symbol, answers[3 * at : 3 * at + 3], link) for at, one in enumerate(able)]
    panels = [panel for panel in parts if panel.days or panel.withdrawn]
    if not panels:
        raise _nothing(symbol, pin)
    return desk.page(request, "symbol.html", {"symbol": symbol, "panels": panels, "pin": pin}, etag=mark)


def _nothing(symbol: str, pin: Pin) -> Exception:
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
    days = tuple(_day(row, before.get(row[0], ())) for row in series.rows)
    known = {one.day for one in days}
    gone = tuple((day, amounts[0]) for day, amounts in sorted(before.items()) if day not in known)
    named = tuple((name, cusip, day) for name, cusip, day, _ in titles.rows)
    return Panel(dataset, symbol, as_of, measure.of(dataset), days, named, gone)


def _day(row: Sequence[Any], before: Sequence[Any]) -> Day:
    day, amount, worth, unpriced, rows, *key = row
    other = tuple(dict.fromkeys(one for one in before if one != amount)) if before else ()
    return Day(day, amount, worth, unpriced, rows, tuple(key), other)


def _rows_of(dataset: Dataset, symbol: str, day: date, key: Sequence[Any], as_of: str) -> str:
    """The page of one row, or the table of the day's rows without a key."""
    if key:
        return show.address(("data", dataset.name, joined(key)), as_of=as_of)
    filters = ((dataset.symbol, symbol), *_on(dataset, day))
    return show.address(("data", dataset.name), filters, as_of=as_of)


async def show_day(request: web.Request) -> web.StreamResponse:
    """`/s/{symbol}/{dataset}/{day}` leads to the row of that day: what a click on the chart needs no key for."""
    dataset, symbol = desk.dataset(request, request.match_info["name"]), request.match_info["symbol"]
    if not (dataset.symbol and dataset.by_load):
        raise missing(f"{dataset.name} knows no symbols.", "Look into its table.")
    try:
        day = date.fromisoformat(request.match_info["day"])
    except ValueError:
        raise missing(
            f"{request.match_info['day']!r} is not a date like 2021-01-27.", "Begin at the symbol's page."
        ) from None
    as_of = request.query.get("as_of", "")
    reader = desk.reader(request)
    pin = await reader.pin(dataset, ask.instant("as_of", as_of))
    found = await reader.rows(measure.keys_of_day(dataset, symbol, day, pin.seq))
    raise web.HTTPSeeOther(_rows_of(dataset, symbol, day, found.rows[0] if len(found.rows) == 1 else (), as_of))


def _on(dataset: Dataset, day: date) -> tuple[tuple[str, str], ...]:
    if dataset.column(dataset.time).kind == "date":
        return ((dataset.time, day.isoformat()),)
    return ((f"{dataset.time}__gte", f"{day}T00:00:00Z"), (f"{dataset.time}__lte", f"{day}T23:59:59.999999Z"))
