"""The index of the archive, kept in memory and read from the warehouse's `archives`; and the ledger's part of it.

Only the daemon writes `archives`, so what it wrote and read last is how it is. A command that reads beside the daemon
looks once, when it begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

from spotlightd.clients.sqlite import EPOCH
from spotlightd.datasets.system import MIRRORED, archives
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.partition import Event, Partition, next_after
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archived, ArchivedPartitions, Table

NEWEST = """
SELECT dataset, partition, toInt64(splitByChar('-', partition)[1]), objects, rows, since, until, newest_id, columns FROM archives
WHERE number IN (SELECT max(number) FROM archives GROUP BY dataset, partition) AND event = 'switched'
ORDER BY dataset, partition
"""
MINE = "SELECT number FROM archives WHERE dataset = {dataset:String} AND partition = {partition:String} AND event = {event:String}"


def _columns(told: Sequence[str]) -> dict[str, str]:
    """Name and type of each, as `record` wrote them."""
    return {name: word for name, _, word in (one.partition(" ") for one in told)}


class WarehouseArchives:
    """The port `Archives`; `record` is for the archiver alone."""

    def __init__(self, warehouse: Warehouse, datasets: Sequence[Dataset], table: Table) -> None:
        self._warehouse = warehouse
        self._datasets: Mapping[str, Dataset] = {one.name: one for one in datasets}
        self._table = table
        self._cold = ArchivedPartitions()

    @property
    def cold(self) -> ArchivedPartitions:
        return self._cold

    async def refresh(self) -> None:
        """Read the index anew."""
        found: dict[str, list[Archived]] = {}
        for name, partition, number, keys, rows, since, until, top, held in (await self._warehouse.rows(NEWEST)).rows:
            if name in self._datasets:  # else its source was removed: nothing reads it
                dataset = self._datasets[name]
                bounds = {dataset.split_by: _days(number), dataset.time: (since, until)}
                found.setdefault(name, []).append(
                    Archived(dataset, partition, tuple(keys), rows, bounds, top, _columns(held))
                )
        self._cold = ArchivedPartitions({name: tuple(some) for name, some in found.items()}, self._table)

    async def record(self, partition: Partition, event: Event) -> None:
        """From now on rows of the partition are read from the bucket, or from the warehouse again. One at a time."""
        newest, at = (await self._warehouse.rows("SELECT max(number), max(at) FROM archives")).rows[0]
        dataset, mark = self._datasets[partition.dataset], partition.fingerprint
        since, until = moments(dataset.column(dataset.time), mark)
        row = (
            newest + 1, max(datetime.now(UTC), at + timedelta(microseconds=1)), partition.dataset, partition.id,
            partition.day, partition.generation, event, list(partition.keys), partition.manifest, mark.rows,
            partition.size, mark.total, mark.mixed, mark.low, mark.high,
            [f"{name} {word}" for name, word in partition.columns], since, until, await self._newest_id(partition),
        )  # fmt: skip
        await self._warehouse.insert(archives, [row])
        await self.refresh()
        await self.show(partition.dataset)

    async def _newest_id(self, partition: Partition) -> int:
        """Where the copy of the ledger stood in it, taken while its rows are in the table: nobody then asks the bucket."""
        if partition.dataset not in {one.name for one in MIRRORED}:
            return 0
        sql = f"SELECT max(id) FROM {partition.dataset} WHERE _partition_id = {{partition:String}}"
        return int((await self._warehouse.rows(sql, {"partition": partition.id})).rows[0][0])

    async def show(self, name: str) -> None:
        """Bring the dataset's unpinned view in line, if it has one."""
        await self._warehouse.show(self._datasets[name], self._cold)

    async def is_switched(self, partition: Partition) -> bool:
        """Whether readers take it from the bucket, as the warehouse says."""
        await self.refresh()
        return any(one.partition == partition.id for one in self._cold.of(partition.dataset))


def moments(column: Column, mark: Fingerprint) -> tuple[datetime, datetime]:
    """The least and greatest time of a fingerprint, in whole microseconds outwards."""
    if column.kind == "date":
        return EPOCH + timedelta(days=mark.low), EPOCH + timedelta(days=mark.high)
    per = 10 ** int(column.type.partition("DateTime64(")[2][0])
    low, high = mark.low * 10**6 // per, -(-mark.high * 10**6 // per)
    return EPOCH + timedelta(microseconds=low), EPOCH + timedelta(microseconds=high)


def _days(number: int) -> tuple[datetime, datetime]:
    first = Partition("", number, 0).day
    end = datetime.combine(next_after(number), time(), UTC) - timedelta(microseconds=1)
    return datetime.combine(first, time(), UTC), end
