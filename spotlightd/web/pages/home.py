"""`/`: what there is, how fresh it is, what is new, and the largest amounts of the newest slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import LINES, Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters, measures, records
from spotlightd.query.measures import Measure
from spotlightd.query.reader import Reader
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import responses
from spotlightd.web.pages import frame
from spotlightd.web.state import APP_STATE

NEWS = 8
TROUBLES = 5
LARGEST = 12


@dataclass(frozen=True, slots=True)
class Card:
    """One dataset at a glance. `age_days` None: it is empty, or filled by streams; `documents` are then received days,
    and `rows` those in the table, replaced ones included.
    """

    dataset: Dataset
    rows: int = 0
    documents: int = 0
    published_at: datetime | None = None
    oldest: date | None = None
    newest: date | None = None
    age_days: int | None = None
    streamed: bool = False

    @property
    def stale(self) -> bool:
        return self.age_days is not None and self.age_days > self.dataset.rhythm.stale_days > 0


@dataclass(frozen=True, slots=True)
class Large:
    symbol: str
    value: Any
    day: date
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Top:
    """The largest of a slice by one unit."""

    unit: str
    rows: tuple[Large, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The largest amounts of a dataset's newest slice, and the largest by worth where prices are known. No tables: rows
    of that slice have left for the archive, which this page does not ask.
    """

    dataset: Dataset
    measure: Measure
    covers: str
    tables: tuple[Top, ...]


def reads(dataset: Dataset) -> bool:
    """Whether the page looks into archived rows of it, as of an earlier time."""
    return dataset.by_load and not _fed(dataset)


def _fed(dataset: Dataset) -> bool:
    return frame.streamed(dataset) or bool(dataset.made_of)


async def show_home(request: web.Request) -> web.StreamResponse:
    context = request.app[APP_STATE].context
    reader = responses.reader(request)
    pin = await reader.pin(None, filters.instant("as_of", request.query.get("as_of", "")))
    data = [one for one in context.datasets if one.by_load]
    news, troubles = await reader.all(records.latest_loads(pin, NEWS), records.troubles(TROUBLES, pin))
    return responses.page(request, "home.html", {
        "pin": pin,
        "cards": await _cards(reader, data, pin, context.day),
        "records": [one for one in context.datasets if not one.by_load],
        "rankings": await _rankings(reader, [one for one in data if one.symbol and one.pointer == LINES], pin),
        "slice": frame.of_slice, "framed": [one.name for one in data if frame.streamed(one)],
        "news": news.dicts(), "troubles": troubles.dicts(), "day": context.day, "judged": context.judged_on is not None,
        "titles": {one.name: one.title for one in context.datasets},
    })  # fmt: skip


async def _cards(reader: Reader, data: Sequence[Dataset], pin: Snapshot, today: date) -> list[Card]:
    """In the order of the datasets."""
    fed = [one for one in data if _fed(one)]
    filed = [one for one in data if one not in fed]
    asked = [records.stream_size(one, pin) for one in fed] + [records.days_at_hand(one, pin) for one in filed]
    asked += [records.dataset_sizes(filed, pin)] if filed else []
    answers = await reader.all(*asked)
    known = {row[0]: row[1:] for row in answers[-1].rows} if filed else {}
    cards = {one.name: _stream_card(one, answer) for one, answer in zip(fed, answers, strict=False)}
    for one, answer in zip(filed, answers[len(fed) :], strict=False):
        cards[one.name] = _card(one, known.get(one.name), _days(one, answer, pin), today)
    return [cards[one.name] for one in data]


def _stream_card(dataset: Dataset, answer: Answer) -> Card:
    rows, days, published_at, oldest, newest = answer.rows[0]
    if not days:
        return Card(dataset, streamed=True)
    first, last = (date.fromisoformat(text.replace("/", "-")) for text in (oldest, newest))
    return Card(dataset, rows, days, published_at, first, last, streamed=True)


def _days(dataset: Dataset, at_hand: Answer, pin: Snapshot) -> list[date]:
    """First and last days: of what is at hand from its rows, of what has left from the index, replaced rows included."""
    left = () if pin.asked else pin.cold.of(dataset.name)
    known = [end.date() for one in left for end in one.bounds.get(dataset.time, ())]
    return [*known, *(day for day in at_hand.rows[0] if day is not None)]


def _card(dataset: Dataset, size: Sequence[Any] | None, days: Sequence[date], today: date) -> Card:
    if size is None:
        return Card(dataset)
    rows, documents, published_at = size
    oldest, newest = (min(days), max(days)) if rows and days else (None, None)
    age = (today - newest).days if newest else None
    return Card(dataset, rows, documents, published_at, oldest, newest, age)


async def _rankings(reader: Reader, able: Sequence[Dataset], pin: Snapshot) -> list[Ranking]:
    slices = await reader.all(*(records.newest_slice(one, pin) for one in able))
    filled = [(one, found.dicts()[0]) for one, found in zip(able, slices, strict=True) if found.rows]
    return [await _ranking(reader, pin, one, load) for one, load in filled]


async def _ranking(reader: Reader, pin: Snapshot, dataset: Dataset, load: dict[str, Any]) -> Ranking:
    how = measures.of(dataset)
    if not await _whole(reader, pin, dataset, load):
        return Ranking(dataset, how, load["covers"], ())
    ways = [(how.unit, False), *([(how.price.unit, True)] if how.price else [])]
    tops = await reader.all(
        *(measures.largest(dataset, load["load_id"], LARGEST, pin, by_worth=way) for _, way in ways)
    )
    return Ranking(
        dataset, how, load["covers"], tuple(_top(unit, top) for (unit, _), top in zip(ways, tops, strict=True))
    )


async def _whole(reader: Reader, pin: Snapshot, dataset: Dataset, load: dict[str, Any]) -> bool:
    """Whether no row of that load has left for the archive, as far as this page is to know."""
    if pin.asked or not pin.cold.of(dataset.name):
        return True
    at_hand = (await reader.rows(records.rows_at_hand(dataset, load["load_id"], pin))).rows[0][0]
    return bool(at_hand == load["rows"])


def _top(unit: str, top: Answer) -> Top:
    most = float(top.rows[0][1]) if top.rows else 0.0
    rows = tuple(Large(*row, share=round(float(row[1]) / (most or 1.0), 4)) for row in top.rows)  # type: ignore[misc]
    return Top(unit, rows)
