"""Which partitions are due to leave the warehouse, and what stands in the way of sealing one.

A partition is due when its day, month or year ended longer ago than its dataset stays hot; one of rows that came late, when
none came for a while, because each generation costs two objects for ever. It can be sealed when nothing
that writes to it is half done: no load of its dataset is on its way or waits to be swept, no batch of its days is being
moved, and whatever is made of its rows (bars) is there, because readers take that instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from spotlightd.flows.archive.context import HERE, ArchiveContext
from spotlightd.flows.loads.publish import current
from spotlightd.model.dataset import Dataset
from spotlightd.model.partition import Partition
from spotlightd.model.provenance import LoadState
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.stores import ArchiveSettings

UNSETTLED: tuple[LoadState, ...] = ("loading", "loaded", "publishing", "dead")
PARTS = """
SELECT table, partition_id, dateDiff('second', max(modification_time), now()) FROM system.parts
WHERE active AND rows > 0 AND database = currentDatabase() AND table IN {tables:Array(String)}
GROUP BY table, partition_id ORDER BY table, partition_id
"""


def leaving(datasets: Iterable[Dataset], policy: ArchiveSettings) -> dict[str, int]:
    """By name, how many days rows of a dataset stay, of those that do not stay for ever: as the settings say, or else
    the dataset.
    """
    days = {one.name: policy.hot_days.get(one.name, one.retention.hot_days) for one in datasets if one.split_by}
    return {name: some for name, some in days.items() if some}


async def due(
    warehouse: Warehouse, hot_days: Mapping[str, int], known: Iterable[Partition], today: date, late_seconds: float
) -> list[Partition]:
    """Partitions that nobody has planned yet and that are old enough, oldest first."""
    seen = {(one.dataset, one.id) for one in known}
    found = (await warehouse.rows(PARTS, {"tables": sorted(hot_days)})).rows if hot_days else ()
    parts = [(_partition(table, part), quiet) for table, part, quiet in found if (table, part) not in seen]
    rested = [one for one, quiet in parts if not (one.generation and 0 <= quiet < late_seconds)]
    old = [one for one in rested if one.end + timedelta(days=hot_days[one.dataset]) <= today]
    full = [one for one in old if await _rows(warehouse, one)]
    return sorted(full, key=lambda one: (one.day, one.generation, one.dataset))


async def _rows(warehouse: Warehouse, partition: Partition) -> int:
    """How many rows are in it. Parts count those too that were deleted and not yet merged away."""
    sql = f"SELECT count() FROM {partition.dataset} WHERE {HERE}"
    return int((await warehouse.rows(sql, {"partition": partition.id})).rows[0][0])


def _partition(table: str, part: str) -> Partition:
    number, generation = part.split("-")
    return Partition(table, int(number), int(generation), since=datetime.now(UTC))


async def obstacle(means: ArchiveContext, partition: Partition) -> str:
    """Why it cannot be sealed now, in a sentence; empty when it can."""
    dataset = means.datasets[partition.dataset]
    for name, feed in means.feeds.items():
        moved = isinstance(feed, Stream) and dataset in (feed.dataset, frames_of(feed))
        if moved and any(one.day < partition.end for one in await means.positions.intents(name)):
            return f"frames of {name} are being moved into it"
        if dataset in feed.datasets and await means.ledger.loads(name, states=UNSETTLED):
            return f"a load of {name} is on its way, or waits to be swept"
    return await unmade(means, partition)


async def unmade(means: ArchiveContext, partition: Partition) -> str:
    """What is still to be made of its rows, and read instead of them: asked before the seal, the switch and the drop,
    because a replay may have made a new load of the day meanwhile.
    """
    dataset = means.datasets[partition.dataset]
    made_of_it = [one for one in means.transforms if one.of == dataset]
    if not made_of_it:
        return ""
    sql = f"SELECT DISTINCT load_id FROM {dataset.name} WHERE {HERE}"
    here = {load for (load,) in (await means.warehouse.rows(sql, {"partition": partition.id})).rows}
    published = await means.ledger.loads(states=("published",))
    wanted = {one.load_id for one in current(published)} & here
    for transform in made_of_it:
        made = {one.derived_from for one in published if one.source == transform.name}
        if wanted - made:
            return f"{transform.name} are still to be made of it"
    return ""


async def seal(means: ArchiveContext, partition: Partition, known: Iterable[Partition]) -> Partition:
    """`sealed`, or the partition as it was, with what stands in the way.

    What stands in the way is asked for again when the seal is on: then no new writer can come, but one may have come
    in between, and what he writes may have got the old generation.
    """
    if why := await obstacle(means, partition):
        return replace(partition, says=why)
    await means.warehouse.seal(means.datasets[partition.dataset], generations([*known, partition], partition.dataset))
    if why := await obstacle(means, partition):
        return replace(partition, says=why)
    columns = tuple((one.name, one.type) for one in means.datasets[partition.dataset].stored)
    return replace(partition, stage="sealed", columns=columns, says="")


def generations(known: Iterable[Partition], dataset: str) -> dict[int, int]:
    """By number, the generation that new rows of a sealed partition get."""
    found: dict[int, int] = {}
    for one in sorted(known, key=lambda one: (one.number, one.generation)):
        if one.dataset == dataset:
            found[one.number] = one.generation + 1
    return found
