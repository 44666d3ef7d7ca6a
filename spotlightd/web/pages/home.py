"""`/`: the datasets and how fresh they are, what is new, and the largest amounts of the newest slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import LINES, Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters, measures, records
from spotlightd.query.measures import Measure
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import degraded, feeds, responses
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
    return frames.is_streamed(dataset) or dataset.is_growing


def _is_stored(dataset: Dataset) -> bool:
    """Whether there are rows of the dataset, published ones: not all of it is computed when it is read."""
    return dataset.by_load and (dataset.is_growing or not dataset.computed_from)


async def show_home(request: web.Request) -> web.StreamResponse:
    """The page, by three statements, however many datasets there are; by four when rows were archived."""
    context = request.app[APP_STATE].context
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, filters.parse_as_of("as_of", request.query.get("as_of", "")))
    published = [dataset for dataset in context.datasets if _is_stored(dataset)]
    ranked = [dataset for dataset in published if dataset.symbol and dataset.pointer == LINES]
    card_queries = _card_queries(published, snapshot)
    loads, failures, *answers = await reader.together(
        records.latest_loads(snapshot, LOADS),
        records.failed_runs(FAILURES, snapshot),
        *card_queries,
        *(records.newest_slice(dataset, snapshot) for dataset in ranked),
    )
    card_answers, slices = answers[: len(card_queries)], answers[len(card_queries) :]
    newest = {dataset: answer.dicts()[0] for dataset, answer in zip(ranked, slices, strict=True) if answer.rows}
    return responses.render_page(request, "home.html", {
        "snapshot": snapshot,
        "cards": _make_cards(published, card_answers, snapshot, context.day),
        "records": [dataset for dataset in context.datasets if not _is_stored(dataset)],
        "rankings": await _make_rankings(reader, newest, snapshot),
        "slice_address": frames.slice_address,
        "streamed": [dataset.name for dataset in published if frames.is_streamed(dataset)],
        "with_receipts": [dataset.name for dataset in published if dataset.has_receipts],
        "loads": loads.dicts(), "failures": failures.dicts(),
        "is_first_run": not snapshot.seq and snapshot.as_of is None, "missing": context.missing,
        "sources": context.sources,
        "feeds": [feeds.stream_titles(context).get(feed.source, feed.source) for feed in context.state().feeds],
        "day": context.day, "has_fixed_day": context.judged_on is not None,
        "titles": {dataset.name: dataset.title for dataset in context.datasets},
    })  # fmt: skip


def _card_queries(datasets: Sequence[Dataset], snapshot: Snapshot) -> list[Query]:
    """What `_make_cards` takes the answers of: the sizes of all that documents fill, then one for each dataset."""
    filed = [dataset for dataset in datasets if not _is_continuous(dataset)]
    sizes = [records.dataset_sizes(filed, snapshot)] if filed else []
    return sizes + [
        (records.stream_size if _is_continuous(dataset) else records.unarchived_days)(dataset, snapshot)
        for dataset in datasets
    ]


def _make_cards(datasets: Sequence[Dataset], answers: Sequence[Answer], snapshot: Snapshot, today: date) -> list[Card]:
    """One card for each dataset, in their order."""
    sizes = {row[0]: row[1:] for answer in answers[: len(answers) - len(datasets)] for row in answer.rows}
    cards = []
    for dataset, answer in zip(datasets, answers[-len(datasets) :], strict=False):
        if _is_continuous(dataset):
            cards.append(_make_stream_card(dataset, answer))
        else:
            days = _first_and_last_days(dataset, answer, snapshot)
            cards.append(_make_card(dataset, sizes.get(dataset.name), days, today))
    return cards


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


async def _make_rankings(reader: Reader, newest: Mapping[Dataset, dict[str, Any]], snapshot: Snapshot) -> list[Ranking]:
    """`newest`: the load of each dataset that covers the newest period."""
    hot = await _find_hot(reader, newest, snapshot)
    orders = {dataset: _orders(measures.find_measure(dataset)) for dataset in hot}
    answers = iter(
        await reader.together(
            *(
                measures.largest_amounts(dataset, newest[dataset]["load_id"], LARGEST, snapshot, by_value=by_value)
                for dataset in hot
                for _, by_value in orders[dataset]
            )
        )
    )
    return [
        Ranking(
            dataset,
            measures.find_measure(dataset),
            load["covers"],
            tuple(_make_top(unit, next(answers)) for unit, _ in orders.get(dataset, ())),
        )
        for dataset, load in newest.items()
    ]


def _orders(measure: Measure) -> tuple[tuple[str, bool], ...]:
    """The units that a dataset is ranked by, and whether that is by value."""
    return ((measure.unit, False), *(((measure.price.unit, True),) if measure.price else ()))


async def _find_hot(reader: Reader, newest: Mapping[Dataset, dict[str, Any]], snapshot: Snapshot) -> list[Dataset]:
    """The datasets of whose load no row was archived. All of them as of an earlier time: then the page reads the archive."""
    asked = [dataset for dataset in newest if not snapshot.as_of and snapshot.archived.of_dataset(dataset.name)]
    answers = await reader.together(
        *(records.unarchived_load_rows(dataset, newest[dataset]["load_id"], snapshot) for dataset in asked)
    )
    cold = [
        dataset for dataset, answer in zip(asked, answers, strict=True) if answer.rows[0][0] != newest[dataset]["rows"]
    ]
    return [dataset for dataset in newest if dataset not in cold]


def _make_top(unit: str, answer: Answer) -> Top:
    largest = float(answer.rows[0][1]) if answer.rows else 0.0
    rows = tuple(
        LargeAmount(*row, share=round(float(row[1]) / (largest or 1.0), 4))  # type: ignore[misc]
        for row in answer.rows
    )
    return Top(unit, rows)


ROUTES = (Route("/", degraded.with_fallback(show_home, reads_archived)),)
