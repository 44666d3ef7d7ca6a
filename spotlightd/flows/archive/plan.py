"""Finds the partitions that are due to leave the warehouse, and seals them.

A partition is due when its day, month, year or decade ended longer ago than its dataset stays hot. One of late rows is
due when no row has arrived for a while, because each generation costs two objects for ever. It can be sealed when no
writer is in the middle of its work: no load of its dataset is unfinished or waits to be swept, no batch of its days is
being moved, and the datasets computed from its rows (bars) are complete, because readers use those instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from spotlightd.flows.archive.context import IN_PARTITION, ArchiveContext
from spotlightd.model.dataset import Dataset
from spotlightd.model.partition import Partition
from spotlightd.model.provenance import LoadState
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.stores import ArchiveSettings

UNFINISHED: tuple[LoadState, ...] = ("loading", "loaded", "publishing", "dead")
PARTS = """
SELECT table, partition_id, dateDiff('second', max(modification_time), now()) FROM system.parts
WHERE active AND rows > 0 AND database = currentDatabase() AND table IN {tables:Array(String)}
GROUP BY table, partition_id ORDER BY table, partition_id
"""


def select_hot_days(datasets: Iterable[Dataset], policy: ArchiveSettings) -> dict[str, int]:
    """The number of days that rows are to stay hot, for each dataset whose rows can leave; 0 is permanently. The settings
    override the dataset's own value.
    """
    return {
        dataset.name: policy.hot_days.get(dataset.name, dataset.retention.hot_days)
        for dataset in datasets
        if dataset.split_by
    }


def is_old(partition: Partition, hot_days: Mapping[str, int], today: date) -> bool:
    """Whether the partition ended longer ago than its dataset stays hot."""
    days = hot_days.get(partition.dataset, 0)
    return bool(days) and partition.end + timedelta(days=days) <= today


async def find_due(
    warehouse: Warehouse, hot_days: Mapping[str, int], known: Iterable[Partition], today: date, late_seconds: float
) -> list[Partition]:
    """The partitions that are old enough and not planned yet, oldest first."""
    leaving = sorted(name for name, days in hot_days.items() if days)
    known_ids = {(partition.dataset, partition.id) for partition in known}
    due = []
    for table, part, quiet_seconds in (await warehouse.rows(PARTS, {"tables": leaving})).rows if leaving else ():
        if (table, part) in known_ids:
            continue
        partition = _make_partition(table, part)
        may_grow = partition.generation and 0 <= quiet_seconds < late_seconds
        if is_old(partition, hot_days, today) and not may_grow and await _count_rows(warehouse, partition):
            due.append(partition)
    return sorted(due, key=lambda partition: (partition.day, partition.generation, partition.dataset))


async def find_filled(
    ledger: Ledger, warehouse: Warehouse, names: Iterable[str], known: Sequence[Partition]
) -> frozenset[str]:
    """Those of these datasets that have rows, in their tables or in the archive; none while nothing was ever published: then
    there are only records of the start itself.
    """
    if not known and await ledger.newest_seq() is None:
        return frozenset()
    parts = (await warehouse.rows(PARTS, {"tables": sorted(names)})).rows
    return frozenset(table for table, *_ in parts) | {partition.dataset for partition in known}


async def _count_rows(warehouse: Warehouse, partition: Partition) -> int:
    """The number of its rows. `system.parts` also counts deleted rows that are not merged away yet."""
    sql = f"SELECT count() FROM {partition.dataset} WHERE {IN_PARTITION}"
    return int((await warehouse.rows(sql, {"partition": partition.id})).rows[0][0])


def _make_partition(table: str, part: str) -> Partition:
    number, generation = part.split("-")
    return Partition(table, int(number), int(generation), since=datetime.now(UTC))


async def find_obstacle(context: ArchiveContext, partition: Partition) -> str:
    """Why the partition cannot be sealed now, in a sentence; empty when it can."""
    dataset = context.datasets[partition.dataset]
    for name, feed in context.feeds.items():
        is_fed = isinstance(feed, Stream) and dataset in (feed.dataset, frames_of(feed))
        if is_fed and any(intent.day < partition.end for intent in await context.positions.intents(name)):
            return f"frames of {name} are being moved into it"
        if dataset in feed.datasets and await context.ledger.loads(name, states=UNFINISHED):
            return f"a load of {name} is unfinished or waits to be swept"
    return await find_unfinished_transform(context, partition)


async def find_unfinished_transform(context: ArchiveContext, partition: Partition) -> str:
    """The transform that has not processed all rows of the partition, in a sentence; empty when there is none. Readers
    use its result instead of the rows. It is checked before the seal, the switch and the drop, because a replay may
    have added a load in between.
    """
    dataset = context.datasets[partition.dataset]
    transforms = [transform for transform in context.transforms if transform.input == dataset]
    if not transforms:
        return ""
    sql = f"SELECT DISTINCT load_id FROM {dataset.name} WHERE {IN_PARTITION}"
    load_ids = {load_id for (load_id,) in (await context.warehouse.rows(sql, {"partition": partition.id})).rows}
    published = await context.ledger.published_loads(load_ids)
    inputs = {load.load_id for load in published if not load.superseded_by}
    derived = await context.ledger.derived_loads(inputs)
    for transform in transforms:
        processed = {load.derived_from for load in derived if load.source == transform.name}
        if inputs - processed:
            return f"{transform.name} are still to be computed from it"
    return ""


async def seal(context: ArchiveContext, partition: Partition, known: Iterable[Partition]) -> Partition:
    """Seal the partition: later rows get the next generation. Returns it as `sealed`, or unchanged with the obstacle.

    Obstacles are checked again after the seal. From then on no new writer can use the old generation, but one may have
    started between the first check and the seal.
    """
    if obstacle := await find_obstacle(context, partition):
        return replace(partition, detail=obstacle)
    await context.warehouse.seal(
        context.datasets[partition.dataset], next_generations([*known, partition], partition.dataset)
    )
    if obstacle := await find_obstacle(context, partition):
        return replace(partition, detail=obstacle)
    columns = tuple((column.name, column.type) for column in context.datasets[partition.dataset].stored)
    return replace(partition, stage="sealed", columns=columns, detail="")


def next_generations(known: Iterable[Partition], dataset: str) -> dict[int, int]:
    """The generation that new rows of a sealed partition get, by its number."""
    generations: dict[int, int] = {}
    for partition in sorted(known, key=lambda partition: (partition.number, partition.generation)):
        if partition.dataset == dataset:
            generations[partition.number] = partition.generation + 1
    return generations
