"""`/s/{symbol}`: all that is known of one ticker, day by day, as a chart, a sentence and a table."""

from __future__ import annotations

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
LATEST = 15
IN_PAGE = 400


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a symbol. `before`: other amounts that were published for it earlier, newest first."""

    day: date
    amount: Any
    worth: Decimal | None
    unpriced: int
    rows: int
    address: str
    before: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """What the page shows of one dataset."""

    dataset: Dataset
    measure: Measure
    days: tuple[Day, ...]
    titles: tuple[tuple[str, str, date], ...]
    withdrawn: tuple[tuple[date, Any], ...]
    amounts: Drawing
    worths: Drawing | None

    @property
    def largest(self) -> list[Day]:
        return sorted(self.days, key=lambda one: (one.amount, one.day), reverse=True)[:LARGEST]

    @property
    def latest(self) -> list[Day]:
        return list(self.days[::-1][:LATEST])

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
    def data(self) -> dict[str, Any]:
        """For the script: columns of numbers, and the last part of each day's address."""
        return {
            "title": self.measure.title, "unit": self.measure.unit,
            "money": self.measure.price.unit if self.measure.price else "",
            "days": [one.day.isoformat() for one in self.days],
            "amounts": [float(one.amount) for one in self.days],
            "worths": [None if one.worth is None else round(float(one.worth), 2) for one in self.days],
            "addresses": [one.address for one in self.days],
            "corrected": [bool(one.before) for one in self.days],
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
    days = tuple(_day(dataset, symbol, row, before.get(row[0], []), as_of) for row in series.rows)
    known = {one.day for one in days}
    gone = tuple((day, amounts[0]) for day, amounts in sorted(before.items()) if day not in known)
    how = measure.of(dataset)
    worths = [one for one in days if one.worth is not None]
    return Panel(
        dataset, how, days, tuple((name, cusip, day) for name, cusip, day, _ in titles.rows), gone,
        chart.drawn([_point(one, one.amount, how.unit) for one in days]),
        chart.drawn([_point(one, one.worth, how.price.unit) for one in worths]) if how.price and worths else None,
    )  # fmt: skip


def _day(dataset: Dataset, symbol: str, row: Sequence[Any], before: Sequence[Any], as_of: str) -> Day:
    day, amount, worth, unpriced, rows, *key = row
    path, filters = f"/data/{dataset.name}/{joined(key)}", ()
    if rows > 1:
        path, filters = f"/data/{dataset.name}", ((dataset.symbol, symbol), *_on(dataset, day))  # type: ignore[assignment]
    other = tuple(dict.fromkeys(one for one in before if one != amount))
    return Day(day, amount, worth, unpriced, rows, show.address(path, filters, as_of=as_of), other)


def _on(dataset: Dataset, day: date) -> tuple[tuple[str, str], ...]:
    if dataset.column(dataset.time).kind == "date":
        return ((dataset.time, day.isoformat()),)
    return ((f"{dataset.time}__gte", f"{day}T00:00:00Z"), (f"{dataset.time}__lte", f"{day}T23:59:59.999999Z"))


def _point(one: Day, value: Any, unit: str) -> Point:
    says = f"{one.day}: {show.number(value, 0)} {unit}"
    if one.before:
        says += f" (corrected; before: {', '.join(map(show.number, one.before))})"
    return Point(one.day, float(value), says, one.address, corrected=bool(one.before))
