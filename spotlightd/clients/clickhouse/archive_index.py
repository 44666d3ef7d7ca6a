"""The index of the archive: read from the warehouse's table `archives`, and kept in memory.

Only the daemon writes `archives`, so that its copy in memory is always current. A command that runs beside the daemon
reads the table once, at its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

from spotlightd.clients.sqlite import EPOCH
from spotlightd.datasets.system import MIRRORED, archives
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.partition import Event, Partition, first_day_after
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archived, ArchivedPartitions, Table

SWITCHED = """
SELECT dataset, partition, toInt64(splitByChar('-', partition)[1]), objects, rows, since, until, newest_id, columns FROM archives
WHERE number IN (SELECT max(number) FROM archives GROUP BY dataset, partition) AND event = 'switched'
ORDER BY dataset, partition
"""


def _parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Type by name of each column, from the `name type` texts that `record` wrote."""
    return {name: column_type for name, _, column_type in (text.partition(" ") for text in words)}


class WarehouseArchives:
    """The port `Archives`; only the archiver calls `record`."""

    def __init__(self, warehouse: Warehouse, datasets: Sequence[Dataset], table: Table) -> None:
        self._warehouse = warehouse
        self._datasets: Mapping[str, Dataset] = {dataset.name: dataset for dataset in datasets}
        self._table = table
        self._archived = ArchivedPartitions()

    @property
    def archived(self) -> ArchivedPartitions:
        return self._archived

    async def refresh(self) -> None:
        """Read the index from the warehouse again."""
        archived: dict[str, list[Archived]] = {}
        for name, partition, number, keys, rows, start, end, newest_id, columns in (
            await self._warehouse.rows(SWITCHED)
        ).rows:
            if name in self._datasets:  # else its source was removed, and nothing reads it
                dataset = self._datasets[name]
                bounds = {dataset.split_by: _day_bounds(number), dataset.time: (start, end)}
                archived.setdefault(name, []).append(
                    Archived(dataset, partition, tuple(keys), rows, bounds, newest_id, _parse_columns(columns))
                )
        self._archived = ArchivedPartitions(
            {name: tuple(partitions) for name, partitions in archived.items()}, self._table
        )

    async def record(self, partition: Partition, event: Event) -> None:
        """Record that rows of the partition are now read from the bucket, or from the warehouse again. One at a time."""
        newest, at = (await self._warehouse.rows("SELECT max(number), max(at) FROM archives")).rows[0]
        dataset, fingerprint = self._datasets[partition.dataset], partition.fingerprint
        start, end = time_range(dataset.column(dataset.time), fingerprint)
        row = (
            newest + 1, max(datetime.now(UTC), at + timedelta(microseconds=1)), partition.dataset, partition.id,
            partition.day, partition.generation, event, list(partition.keys), partition.manifest, fingerprint.rows,
            partition.size, fingerprint.total, fingerprint.mixed, fingerprint.low, fingerprint.high,
            [f"{name} {column_type}" for name, column_type in partition.columns], start, end, await self._newest_id(partition),
        )  # fmt: skip
        await self._warehouse.insert(archives, [row])
        await self.refresh()
        await self.refresh_view(partition.dataset)

    async def _newest_id(self, partition: Partition) -> int:
        """The newest mirrored ledger id in the partition, else 0. Read while the rows are still in the table, so that
        later nobody needs the bucket for it.
        """
        if partition.dataset not in {dataset.name for dataset in MIRRORED}:
            return 0
        sql = f"SELECT max(id) FROM {partition.dataset} WHERE _partition_id = {{partition:String}}"
        return int((await self._warehouse.rows(sql, {"partition": partition.id})).rows[0][0])

    async def refresh_view(self, name: str) -> None:
        """Update the dataset's view of current rows, if it has one."""
        await self._warehouse.refresh_view(self._datasets[name], self._archived)

    async def is_switched(self, partition: Partition) -> bool:
        """Whether readers read the partition from the bucket, according to the warehouse."""
        await self.refresh()
        return any(entry.partition == partition.id for entry in self._archived.of_dataset(partition.dataset))


def time_range(column: Column, fingerprint: Fingerprint) -> tuple[datetime, datetime]:
    """The least and the greatest time of a fingerprint, rounded outwards to microseconds."""
    if column.kind == "date":
        return EPOCH + timedelta(days=fingerprint.low), EPOCH + timedelta(days=fingerprint.high)
    per = 10 ** int(column.type.partition("DateTime64(")[2][0])
    low, high = fingerprint.low * 10**6 // per, -(-fingerprint.high * 10**6 // per)
    return EPOCH + timedelta(microseconds=low), EPOCH + timedelta(microseconds=high)


def _day_bounds(number: int) -> tuple[datetime, datetime]:
    first = Partition("", number, 0).day
    end = datetime.combine(first_day_after(number), time(), UTC) - timedelta(microseconds=1)
    return datetime.combine(first, time(), UTC), end
