"""Which partitions are due to leave the warehouse, and what stands in the way of sealing one.

A partition is due when its day, month or year ended longer ago than its dataset stays hot. It can be sealed when nothing
that writes to it is half done: no load of its dataset is on its way or waits to be swept, no batch of its days is being
moved, and whatever is made of its rows (bars) is there, because readers take that instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

from spotlightd.flows.archive.means import HERE, Means
from spotlightd.flows.publish import current
from spotlightd.model.dataset import Dataset
from spotlightd.model.partition import Partition
from spotlightd.model.ports import Warehouse
from spotlightd.model.settings import Archive
from spotlightd.model.stream import Stream, frames_of

PARTS = """
SELECT table, partition_id FROM system.parts
WHERE active AND rows > 0 AND database = currentDatabase() AND table IN {tables:Array(String)}
GROUP BY table, partition_id ORDER BY table, partition_id
"""


def leaving(datasets: Iterable[Dataset], policy: Archive) -> dict[str, int]:
    """By name, how many days rows of a dataset stay, of those that do not stay for ever: as the settings say, or else
    the dataset.
    """
    days = {one.name: policy.hot_days.get(one.name, one.retention.hot_days) for one in datasets if one.split_by}
    return {name: some for name, some in days.items() if some}


async def due(
    warehouse: Warehouse, hot_days: Mapping[str, int], known: Iterable[Partition], today: date
) -> list[Partition]:
    """Partitions that nobody has planned yet and that are old enough, oldest first."""
    seen = {(one.dataset, one.id) for one in known}
    found = (await warehouse.rows(PARTS, {"tables": sorted(hot_days)})).rows if hot_days else ()
    parts = [_partition(table, part) for table, part in found if (table, part) not in seen]
    old = [one for one in parts if one.end + timedelta(days=hot_days[one.dataset]) <= today]
    return sorted(old, key=lambda one: (one.day, one.generation, one.dataset))


def _partition(table: str, part: str) -> Partition:
    number, generation = part.split("-")
    return Partition(table, int(number), int(generation), since=datetime.now(UTC))


async def obstacle(means: Means, partition: Partition) -> str:
    """Why it cannot be sealed now, in a sentence; empty when it can."""
    dataset = means.datasets[partition.dataset]
    for name, feed in means.feeds.items():
        if isinstance(feed, Stream) and dataset in (feed.dataset, frames_of(feed)):
            if any(one.day < partition.end for one in await means.positions.intents(name)):
                return f"frames of {name} are being moved into it"
        elif dataset in feed.datasets and await means.ledger.loads(name, states=("loading", "dead")):
            return f"a load of {name} is on its way, or waits to be swept"
    return await _unmade(means, dataset, partition)


async def _unmade(means: Means, dataset: Dataset, partition: Partition) -> str:
    """What is still to be made of its rows."""
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
