"""`/`: the datasets and how fresh they are, what is new, and the largest amounts of the newest slice."""

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
from spotlightd.web import degraded, responses
from spotlightd.web.parts import frames
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE

LOADS = 8
FAILURES = 5
LARGEST = 12


@dataclass(frozen=True, slots=True)
class Card:
    """One dataset in a few figures. `age_days` is None when the dataset is empty or is filled by streams.

    For a dataset of a stream, `documents` counts received days, and `rows` counts all rows of the table, superseded
    ones included.
    """

    dataset: Dataset
    rows: int = 0
    documents: int = 0
    published_at: datetime | None = None
    oldest: date | None = None
    newest: date | None = None
    age_days: int | None = None
    is_streamed: bool = False

    @property
    def is_stale(self) -> bool:
        return self.age_days is not None and self.age_days > self.dataset.rhythm.stale_days > 0


@dataclass(frozen=True, slots=True)
class LargeAmount:
    """The largest amount of one symbol. `share` is its part of the largest of all."""

    symbol: str
    value: Any
    day: date
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Top:
    """The largest amounts of a slice in one unit."""

    unit: str
    rows: tuple[LargeAmount, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The largest amounts of a dataset's newest slice, and the largest by worth where prices are known.

    `tables` is empty when rows of that slice were archived: the first page does not read the archive.
    """

    dataset: Dataset
    measure: Measure
    covers: str
    tables: tuple[Top, ...]


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page reads archived rows of the dataset (only as of an earlier time)."""
    return dataset.by_load and not _is_continuous(dataset)


def _is_continuous(dataset: Dataset) -> bool:
    """Whether the dataset is filled by a stream, or computed from one that is."""
    return frames.is_streamed(dataset) or bool(dataset.computed_from)


async def show_home(request: web.Request) -> web.StreamResponse:
    context = request.app[APP_STATE].context
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, filters.parse_as_of("as_of", request.query.get("as_of", "")))
    published = [dataset for dataset in context.datasets if dataset.by_load]
    ranked = [dataset for dataset in published if dataset.symbol and dataset.pointer == LINES]
    loads, failures = await reader.all(records.latest_loads(snapshot, LOADS), records.failed_runs(FAILURES, snapshot))
    return responses.render_page(request, "home.html", {
        "snapshot": snapshot,
        "cards": await _make_cards(reader, published, snapshot, context.day),
        "records": [dataset for dataset in context.datasets if not dataset.by_load],
        "rankings": await _make_rankings(reader, ranked, snapshot),
        "slice_address": frames.slice_address,
        "streamed": [dataset.name for dataset in published if frames.is_streamed(dataset)],
        "loads": loads.dicts(), "failures": failures.dicts(),
        "day": context.day, "has_fixed_day": context.judged_on is not None,
        "titles": {dataset.name: dataset.title for dataset in context.datasets},
    })  # fmt: skip


async def _make_cards(reader: Reader, datasets: Sequence[Dataset], snapshot: Snapshot, today: date) -> list[Card]:
    """One card for each dataset, in their order."""
    continuous = [dataset for dataset in datasets if _is_continuous(dataset)]
    filed = [dataset for dataset in datasets if dataset not in continuous]
    queries = [records.stream_size(dataset, snapshot) for dataset in continuous]
    queries += [records.unarchived_days(dataset, snapshot) for dataset in filed]
    queries += [records.dataset_sizes(filed, snapshot)] if filed else []
    answers = await reader.all(*queries)
    sizes = {row[0]: row[1:] for row in answers[-1].rows} if filed else {}
    cards = {
        dataset.name: _make_stream_card(dataset, answer) for dataset, answer in zip(continuous, answers, strict=False)
    }
    for dataset, answer in zip(filed, answers[len(continuous) :], strict=False):
        days = _first_and_last_days(dataset, answer, snapshot)
        cards[dataset.name] = _make_card(dataset, sizes.get(dataset.name), days, today)
    return [cards[dataset.name] for dataset in datasets]


def _make_stream_card(dataset: Dataset, answer: Answer) -> Card:
    rows, days, published_at, oldest, newest = answer.rows[0]
    if not days:
        return Card(dataset, is_streamed=True)
    first, last = (date.fromisoformat(text.replace("/", "-")) for text in (oldest, newest))
    return Card(dataset, rows, days, published_at, first, last, is_streamed=True)


def _first_and_last_days(dataset: Dataset, unarchived: Answer, snapshot: Snapshot) -> list[date]:
    """First and last days: of the rows in the warehouse, and of the archive's index, superseded rows included."""
    archived = () if snapshot.as_of else snapshot.archived.of_dataset(dataset.name)
    ends = [end.date() for partition in archived for end in partition.bounds.get(dataset.time, ())]
    return [*ends, *(day for day in unarchived.rows[0] if day is not None)]


def _make_card(dataset: Dataset, size: Sequence[Any] | None, days: Sequence[date], today: date) -> Card:
    if size is None:
        return Card(dataset)
    rows, documents, published_at = size
    oldest, newest = (min(days), max(days)) if rows and days else (None, None)
    age_days = (today - newest).days if newest else None
    return Card(dataset, rows, documents, published_at, oldest, newest, age_days)


async def _make_rankings(reader: Reader, datasets: Sequence[Dataset], snapshot: Snapshot) -> list[Ranking]:
    answers = await reader.all(*(records.newest_slice(dataset, snapshot) for dataset in datasets))
    newest_loads = [
        (dataset, answer.dicts()[0]) for dataset, answer in zip(datasets, answers, strict=True) if answer.rows
    ]
    return [await _make_ranking(reader, snapshot, dataset, load) for dataset, load in newest_loads]


async def _make_ranking(reader: Reader, snapshot: Snapshot, dataset: Dataset, load: dict[str, Any]) -> Ranking:
    measure = measures.find_measure(dataset)
    if not await _is_in_warehouse(reader, snapshot, dataset, load):
        return Ranking(dataset, measure, load["covers"], ())
    orders = [(measure.unit, False), *([(measure.price.unit, True)] if measure.price else [])]
    answers = await reader.all(
        *(
            measures.largest_amounts(dataset, load["load_id"], LARGEST, snapshot, by_value=by_value)
            for _, by_value in orders
        )
    )
    tops = tuple(_make_top(unit, answer) for (unit, _), answer in zip(orders, answers, strict=True))
    return Ranking(dataset, measure, load["covers"], tops)


async def _is_in_warehouse(reader: Reader, snapshot: Snapshot, dataset: Dataset, load: dict[str, Any]) -> bool:
    """Whether no row of the load was archived. True as of an earlier time: then the page reads the archive."""
    if snapshot.as_of or not snapshot.archived.of_dataset(dataset.name):
        return True
    rows = (await reader.rows(records.unarchived_load_rows(dataset, load["load_id"], snapshot))).rows[0][0]
    return bool(rows == load["rows"])


def _make_top(unit: str, answer: Answer) -> Top:
    largest = float(answer.rows[0][1]) if answer.rows else 0.0
    rows = tuple(
        LargeAmount(*row, share=round(float(row[1]) / (largest or 1.0), 4))  # type: ignore[misc]
        for row in answer.rows
    )
    return Top(unit, rows)


ROUTES = (Route("/", degraded.with_fallback(show_home, reads_archived)),)
