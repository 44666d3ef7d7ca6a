"""Which loads a bundle holds: those visible now that have a row of the days that were asked for, each as a whole.

A document is not cut: all of its rows come with it, so that whoever reads it again finds what the bundle says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from spotlightd.errors import SettingsError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import compared
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Load
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.ports.ledger import Ledger, Positions
from spotlightd.ports.parser import Verifier
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.fingerprint import selected, timed
from spotlightd.sql.tiers import EVER, Archives, Span
from spotlightd.sql.visibility import Snapshot, visible
from spotlightd.sql.visibility import rows as stored
from spotlightd.sql.visibility import source as read_from

AT_A_TIME = 200
ENDS = {"date": (date(1970, 1, 1), date(2149, 6, 5)), "time": (date(1900, 1, 1), date(2262, 4, 10))}
"""The first and last day that the engine's types can hold, by kind of column."""


@dataclass(frozen=True, slots=True)
class ExportContext:
    """What a bundle is made with. `feeds` by name; `scratch` holds one file of rows on its way."""

    warehouse: Warehouse
    documents: Documents
    ledger: Ledger
    positions: Positions
    archives: Archives
    verifier: Verifier
    feeds: Mapping[str, Batch | Stream]
    scratch: Path


@dataclass(frozen=True, slots=True)
class Days:
    """Days that are asked for, both included, by the dataset's own time."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Chosen:
    """A load for the bundle: the fingerprints of its rows by dataset, and between which times they are."""

    load: Load
    rows: Mapping[str, Fingerprint]
    spans: Mapping[str, Span]


@dataclass(frozen=True, slots=True)
class Choice:
    """The loads, oldest first. `open`: parts of days that are still being received, which are left out."""

    dataset: Dataset
    days: Days
    loads: tuple[Chosen, ...]
    open: tuple[Load, ...] = ()


async def choose(means: ExportContext, dataset: Dataset, days: Days, pin: Snapshot) -> Choice:
    """SettingsError when there is nothing to bundle, or the dataset is none that rests on documents or frames."""
    _check(dataset)
    ids = await _loads(means, dataset, days, pin)
    loads = [one for one in await means.ledger.loads(states=("published",)) if one.load_id in ids]
    still_coming = await _open(means, loads)
    whole = [one for one in loads if one.load_id not in still_coming]
    if not whole:
        still = "; what is still being received is bundled when its day is over" if loads else ""
        raise SettingsError(f"{dataset.name} has no rows between {days.first} and {days.last} to bundle{still}")
    for one in whole:
        if one.source not in means.feeds:
            raise SettingsError(
                f"source {one.source}, which brought rows of {dataset.name}, is not set up here any more"
            )
    found = [chosen async for chosen in _chosen(means, whole)]
    return Choice(dataset, days, tuple(found), tuple(one for one in loads if one.load_id in still_coming))


def _check(dataset: Dataset) -> None:
    if dataset.made_of:
        raise SettingsError(f"{dataset.name} is computed from {dataset.made_of}: bundle that")
    if not dataset.receipted:
        raise SettingsError(f"{dataset.name} is a record of this instance: bundle what publishers or venues sent")
    if dataset.column(dataset.time).kind not in ENDS:
        raise SettingsError(f"{dataset.name} has no day or time, so no days of it can be bundled")
    timed(dataset.column(dataset.time))


async def _open(means: ExportContext, loads: Sequence[Load]) -> set[int]:
    """Those of streams into which rows still come: into one that is not closed, or from a batch that began before."""
    streams = {one.source for one in loads if isinstance(means.feeds.get(one.source), Stream)}
    moving = {one.load_id for name in streams for one in await means.positions.intents(name)}
    return {one.load_id for one in loads if one.source in streams and (not one.closed or one.load_id in moving)}


async def _loads(means: ExportContext, dataset: Dataset, days: Days, pin: Snapshot) -> set[int]:
    kind = dataset.column(dataset.time).kind
    first, last = max(days.first, ENDS[kind][0]), min(days.last, ENDS[kind][1])
    since = datetime.combine(first, time(), UTC)
    until = datetime.combine(last, time(), UTC) + timedelta(days=1)
    word = "Date" if kind == "date" else "DateTime64(6, 'UTC')"
    values: dict[str, Any] = {"since": since, "until": until, "seq": pin.seq}
    if word == "Date":
        values |= {"since": first, "until": last + timedelta(days=1)}
    sql = (
        f"SELECT DISTINCT load_id FROM {read_from(dataset, pin, Span({dataset.time: (since, until)}))} WHERE {visible(dataset)}"
        f" AND `{dataset.time}` >= {{since:{word}}} AND `{dataset.time}` < {{until:{word}}}"
    )
    return {row[0] for row in (await means.warehouse.rows(sql, values)).rows}


async def _chosen(means: ExportContext, loads: Sequence[Load]) -> AsyncIterator[Chosen]:
    for at in range(0, len(loads), AT_A_TIME):
        some = loads[at : at + AT_A_TIME]
        known: dict[int, dict[str, tuple[Fingerprint, Span]]] = {one.load_id: {} for one in some}
        for dataset in {one.name: one for load in some for one in means.feeds[load.source].datasets}.values():
            for load_id, mark, span in await _marks(means, dataset, [one.load_id for one in some]):
                known[load_id][dataset.name] = (mark, span)
        for one in some:
            found = {name: known[one.load_id].get(name, (Fingerprint(), EVER)) for name in one.datasets}
            yield Chosen(
                one,
                {name: mark for name, (mark, _) in found.items()},
                {name: span for name, (_, span) in found.items()},
            )


async def _marks(means: ExportContext, dataset: Dataset, ids: Sequence[int]) -> list[tuple[int, Fingerprint, Span]]:
    """The fingerprints of all rows of these loads in one dataset, and their times."""
    name = dataset.time
    sql = (
        f"SELECT load_id, min(`{name}`), max(`{name}`), {selected(compared(dataset), name)}"
        f" FROM {stored(dataset, means.archives.cold)} WHERE load_id IN {{ids:Array(UInt64)}} GROUP BY load_id"
    )
    answer = await means.warehouse.rows(sql, {"ids": list(ids)})
    return [(row[0], Fingerprint(*row[3:]), Span({name: (_moment(row[1]), _moment(row[2]))})) for row in answer.rows]


def _moment(value: date | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time(), UTC)


async def mark_of(warehouse: Warehouse, dataset: Dataset, load_id: int, archives: Archives) -> Fingerprint:
    """The fingerprint of what one load brought into a dataset, hot and archived."""
    sql = (
        f"SELECT {selected(compared(dataset), dataset.time)} FROM {stored(dataset, archives.cold)}"
        " WHERE load_id = {load_id:UInt64}"
    )
    return Fingerprint(*(await warehouse.rows(sql, {"load_id": load_id})).rows[0])
