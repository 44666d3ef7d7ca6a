"""`/`: what there is, how fresh it is, what is new, and the largest amounts of the newest slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.model.ports import Answer
from spotlightd.web import ask, desk, measure, records
from spotlightd.web.desk import DESK
from spotlightd.web.measure import Measure
from spotlightd.web.reader import Reader

NEWS = 8
TROUBLES = 5
LARGEST = 12


@dataclass(frozen=True, slots=True)
class Card:
    """One dataset at a glance. `age_days` None: it is empty."""

    dataset: Dataset
    rows: int = 0
    documents: int = 0
    published_at: datetime | None = None
    oldest: date | None = None
    newest: date | None = None
    age_days: int | None = None

    @property
    def stale(self) -> bool:
        return self.age_days is not None and self.age_days > self.dataset.rhythm.stale_days > 0


@dataclass(frozen=True, slots=True)
class Large:
    symbol: str
    amount: Any
    day: date
    worth: Decimal | None
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """The largest amounts of a dataset's newest slice."""

    dataset: Dataset
    measure: Measure
    covers: str
    rows: tuple[Large, ...]


async def show_home(request: web.Request) -> web.StreamResponse:
    context = request.app[DESK].context
    reader = desk.reader(request)
    pin = await reader.pin(None, ask.instant("as_of", request.query.get("as_of", "")))
    data = [one for one in context.datasets if one.by_load]
    news, troubles = await reader.all(records.latest_loads(pin.seq, NEWS), records.troubles(TROUBLES))
    return desk.page(request, "home.html", {
        "pin": pin,
        "cards": await _cards(reader, data, pin.seq, context.day),
        "records": [one for one in context.datasets if not one.by_load],
        "rankings": await _rankings(reader, [one for one in data if one.symbol], pin.seq),
        "news": news.dicts(), "troubles": troubles.dicts(), "day": context.day, "judged": context.judged_on is not None,
        "titles": {one.name: one.title for one in context.datasets},
    })  # fmt: skip


async def _cards(reader: Reader, data: Sequence[Dataset], seq: int, today: date) -> list[Card]:
    if not data:
        return []
    sizes, *days = await reader.all(records.dataset_sizes(data, seq), *(records.newest_day(one, seq) for one in data))
    known = {row[0]: row[1:] for row in sizes.rows}
    return [_card(one, known.get(one.name), answer, today) for one, answer in zip(data, days, strict=True)]


def _card(dataset: Dataset, size: Sequence[Any] | None, days: Answer, today: date) -> Card:
    if size is None:
        return Card(dataset)
    rows, documents, published_at = size
    newest, oldest = days.rows[0] if rows else (None, None)
    age = (today - newest).days if newest else None
    return Card(dataset, rows, documents, published_at, oldest, newest, age)


async def _rankings(reader: Reader, able: Sequence[Dataset], seq: int) -> list[Ranking]:
    slices = await reader.all(*(records.newest_slice(one, seq) for one in able))
    filled = [(one, found.dicts()[0]) for one, found in zip(able, slices, strict=True) if found.rows]
    tops = await reader.all(*(measure.largest(one, load["load_id"], LARGEST) for one, load in filled))
    return [_ranking(one, load["covers"], top) for (one, load), top in zip(filled, tops, strict=True)]


def _ranking(dataset: Dataset, covers: str, top: Answer) -> Ranking:
    most = float(top.rows[0][1]) if top.rows else 1.0
    rows = tuple(
        Large(symbol, amount, day, worth, name, round(float(amount) / (most or 1.0), 4))
        for symbol, amount, day, worth, name in top.rows
    )
    return Ranking(dataset, measure.of(dataset), covers, rows)
