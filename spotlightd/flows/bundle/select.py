"""Selects the loads of a bundle: those visible now that have a row of the wanted days, each as a whole.

A document is never cut: all of its rows come with it, so that parsing it again gives what the bundle holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from spotlightd.errors import SettingsError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import portable_columns
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Load
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.ports.ledger import Ledger, Positions
from spotlightd.ports.parser import Verifier
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.days import TIME_RANGES, days_condition, days_span, days_values
from spotlightd.sql.fingerprint import fingerprint_columns, time_shape
from spotlightd.sql.tiers import EVER, Archives, Span
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition
from spotlightd.sql.visibility import all_rows as stored_rows

BATCH_LOADS = 200


@dataclass(frozen=True, slots=True)
class ExportContext:
    """The clients that make a bundle. `feeds` is by name; `scratch` is a folder for temporary files."""

    warehouse: Warehouse
    documents: Documents
    ledger: Ledger
    positions: Positions
    archives: Archives
    verifier: Verifier
    feeds: Mapping[str, Batch | Stream]
    scratch: Path


@dataclass(frozen=True, slots=True)
class DayRange:
    """The wanted days, both ends included, in the dataset's own time."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class SelectedLoad:
    """A load for the bundle: by dataset, the fingerprint of its rows and the time span that holds them."""

    load: Load
    rows: Mapping[str, Fingerprint]
    spans: Mapping[str, Span]


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected loads, oldest first. `open`: parts of days that still receive frames; they are left out."""

    dataset: Dataset
    days: DayRange
    loads: tuple[SelectedLoad, ...]
    open: tuple[Load, ...] = ()


async def select_loads(context: ExportContext, dataset: Dataset, days: DayRange, snapshot: Snapshot) -> Selection:
    """SettingsError when there is nothing to bundle, or the dataset's rows come from no document and no frame."""
    _check_dataset(dataset)
    ids = await _find_load_ids(context, dataset, days, snapshot)
    loads = await context.ledger.published_loads(ids)
    open_ids = await _find_open_ids(context, loads)
    closed = [load for load in loads if load.load_id not in open_ids]
    if not closed:
        hint = "; a day that still receives frames can be bundled when it is over" if loads else ""
        raise SettingsError(f"{dataset.name} has no rows between {days.first} and {days.last} to bundle{hint}")
    for load in closed:
        if load.source not in context.feeds:
            raise SettingsError(
                f"source {load.source}, which brought rows of {dataset.name}, is not set up here any more"
            )
    selected = [load async for load in _with_fingerprints(context, closed)]
    return Selection(dataset, days, tuple(selected), tuple(load for load in loads if load.load_id in open_ids))


def _check_dataset(dataset: Dataset) -> None:
    if dataset.computed_from:
        raise SettingsError(f"{dataset.name} is computed from {dataset.computed_from}: bundle that")
    if not dataset.is_citable:
        raise SettingsError(
            f"{dataset.name} is a record of this instance, or computed: bundle a dataset of publishers or venues"
        )
    if dataset.column(dataset.time).kind not in TIME_RANGES:
        raise SettingsError(f"{dataset.name} has no day or time, so no days of it can be bundled")
    time_shape(dataset.column(dataset.time))


async def _find_open_ids(context: ExportContext, loads: Sequence[Load]) -> set[int]:
    """Loads of streams that still receive rows: those that are not closed, and those with a batch under way."""
    streams = {load.source for load in loads if isinstance(context.feeds.get(load.source), Stream)}
    moving = {intent.load_id for name in streams for intent in await context.positions.intents(name)}
    return {load.load_id for load in loads if load.source in streams and (not load.closed or load.load_id in moving)}


async def _find_load_ids(context: ExportContext, dataset: Dataset, days: DayRange, snapshot: Snapshot) -> set[int]:
    sql = (
        f"SELECT DISTINCT load_id FROM {table_expression(dataset, snapshot, days_span(dataset, days.first, days.last))}"
        f" WHERE {visible_condition(dataset)} AND {days_condition(dataset)}"
    )
    values = {**days_values(dataset, days.first, days.last), "seq": snapshot.seq}
    return {row[0] for row in (await context.warehouse.rows(sql, values)).rows}


async def _with_fingerprints(context: ExportContext, loads: Sequence[Load]) -> AsyncIterator[SelectedLoad]:
    for start in range(0, len(loads), BATCH_LOADS):
        batch = loads[start : start + BATCH_LOADS]
        ids = [load.load_id for load in batch]
        known: dict[int, dict[str, tuple[Fingerprint, Span]]] = {load_id: {} for load_id in ids}
        datasets = {dataset.name: dataset for load in batch for dataset in context.feeds[load.source].datasets}
        for dataset in datasets.values():
            for load_id, fingerprint, span in await _fingerprint_loads(context, dataset, ids):
                known[load_id][dataset.name] = (fingerprint, span)
        for load in batch:
            facts = {name: known[load.load_id].get(name, (Fingerprint(), EVER)) for name in load.datasets}
            yield SelectedLoad(
                load,
                {name: fingerprint for name, (fingerprint, _) in facts.items()},
                {name: span for name, (_, span) in facts.items()},
            )


async def _fingerprint_loads(
    context: ExportContext, dataset: Dataset, ids: Sequence[int]
) -> list[tuple[int, Fingerprint, Span]]:
    """For each of the loads with rows in the dataset: the fingerprint of those rows and their time span."""
    name = dataset.time
    sql = (
        f"SELECT load_id, min(`{name}`), max(`{name}`), {fingerprint_columns(portable_columns(dataset), name)}"
        f" FROM {stored_rows(dataset, context.archives.archived)}"
        " WHERE load_id IN {ids:Array(UInt64)} GROUP BY load_id"
    )
    answer = await context.warehouse.rows(sql, {"ids": list(ids)})
    return [
        (load_id, Fingerprint(*fingerprint), Span({name: (_to_datetime(first), _to_datetime(last))}))
        for load_id, first, last, *fingerprint in answer.rows
    ]


def _to_datetime(value: date | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time(), UTC)


async def fingerprint_load(warehouse: Warehouse, dataset: Dataset, load_id: int, archives: Archives) -> Fingerprint:
    """The fingerprint of the rows of one load in a dataset, hot and archived."""
    sql = (
        f"SELECT {fingerprint_columns(portable_columns(dataset), dataset.time)}"
        f" FROM {stored_rows(dataset, archives.archived)}"
        " WHERE load_id = {load_id:UInt64}"
    )
    return Fingerprint(*(await warehouse.rows(sql, {"load_id": load_id})).rows[0])
