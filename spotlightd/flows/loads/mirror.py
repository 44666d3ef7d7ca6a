"""Copies the ledger's records into the warehouse, so that SQL can query what was fetched, tried and refused.

The highest id in the copy says how far the copy is. So a crash between two steps needs no repair, and the same code
makes a deleted copy again. For archived records the dataset `archives` has the highest id; the bucket is not read.

A record never changes: the ledger writes each once (a gap together with what filled it). A record that arrives late for
a sealed month gets the next generation, like any row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from spotlightd.datasets.system import MIRRORED
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import REBUILD_PREFIX, Dataset
from spotlightd.model.partition import Partition, partition_number
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import ArchivedPartitions, Archives
from spotlightd.sql.visibility import all_rows

BATCH_ROWS = 10_000
Rows = Sequence[tuple[Any, ...]]


async def mirror_records(
    ledger: Ledger, warehouse: Warehouse, archives: Archives, newest: dict[str, int] | None = None
) -> int:
    """Copy the new records and return their number. One caller at a time.

    `newest` keeps the highest id of each copy for the next call: the warehouse is then asked about a copy only when the
    ledger has newer records. A daemon at rest asked it 135 times a minute before.
    """
    newest = {} if newest is None else newest
    copied = sum([await _mirror_table(ledger, warehouse, archives, dataset, newest) for dataset in MIRRORED])
    if copied:
        logger().debug("records mirrored", rows=copied)
    return copied


async def find_newest_id(warehouse: Warehouse, dataset: Dataset, archived: ArchivedPartitions) -> int:
    """The highest id of the copy, in the table or in the archive."""
    hot = (await warehouse.rows(f"SELECT max(id) FROM {dataset.name}")).rows[0][0]
    return max([int(hot), *(partition.newest_id for partition in archived.of_dataset(dataset.name))])


async def _mirror_table(
    ledger: Ledger, warehouse: Warehouse, archives: Archives, dataset: Dataset, newest: dict[str, int]
) -> int:
    name = dataset.name
    if name in newest and not await ledger.history(name, newest[name], 1):
        return 0
    copied, last = 0, await find_newest_id(warehouse, dataset, archives.archived)
    while rows := await ledger.history(dataset.name, last, BATCH_ROWS):
        for batch in _split_by_partition(dataset, rows):
            await warehouse.insert(dataset, batch)
            last = await find_newest_id(warehouse, dataset, archives.archived)
            if last != batch[-1][0]:
                raise _missing_records(dataset)
        copied += len(rows)
    newest[name] = last
    return copied


def _split_by_partition(dataset: Dataset, rows: Rows) -> Iterator[Rows]:
    """Runs of consecutive records of one partition. The engine may store an insert into several partitions in part, and
    the highest id would not show that.
    """
    for _, batch in groupby(rows, lambda row: _partition_of(dataset, row)):
        yield list(batch)


def _partition_of(dataset: Dataset, row: tuple[Any, ...]) -> int:
    """The number of the record's partition; 0 when the table has no partitions."""
    if not dataset.split_by:
        return 0
    return partition_number(dataset, row[[column.name for column in dataset.columns].index(dataset.split_by)])


def _missing_records(dataset: Dataset) -> StoreError:
    return StoreError(
        f"records of {dataset.name} were written, but the table lacks them: is the warehouse's disk full?"
    )


async def restore_records(ledger: Ledger, warehouse: Warehouse, archives: Archives) -> int:
    """Give the ledger back the records that it lost (a lost file, an old backup) from the copies, archived ones
    included. Returns their number. StoreError while a bucket that is needed for that does not answer.
    """
    return sum([await _restore_table(ledger, warehouse, archives.archived, dataset) for dataset in MIRRORED])


async def _restore_table(ledger: Ledger, warehouse: Warehouse, archived: ArchivedPartitions, dataset: Dataset) -> int:
    last, after, restored = await find_newest_id(warehouse, dataset, archived), 0, 0
    if not last or await ledger.history(dataset.name, last - 1, 1):
        return 0
    names = ", ".join(column.name for column in dataset.columns)
    sql = (
        f"SELECT {names} FROM {all_rows(dataset, archived)} WHERE id > {{after:UInt64}} ORDER BY id LIMIT {BATCH_ROWS}"
    )
    while rows := (await warehouse.rows(sql, {"after": after})).rows:
        await ledger.restore(dataset.name, rows)
        restored, after = restored + len(rows), rows[-1][0]
    return restored


async def rebuild_mirror(ledger: Ledger, warehouse: Warehouse, archives: Archives, known: Iterable[Partition]) -> int:
    """Make the copies again and exchange them for the old ones. Returns the number of records.

    `loads` is no copy and stays. So do months that are in the archive or on their way there (`known`, from the ledger):
    archived rows must not appear again under another generation.
    """
    archived = {(partition.dataset, partition.number) for partition in known}
    for name, partitions in archives.archived.partitions.items():
        archived |= {(name, _number_in_id(partition.partition)) for partition in partitions}
    copied = 0
    for dataset in MIRRORED:
        numbers = {number for name, number in archived if name == dataset.name}
        copied += await _rebuild_table(ledger, warehouse, dataset, numbers)
    return copied


def _number_in_id(partition_id: str) -> int:
    return int(partition_id.partition("-")[0])


async def _rebuild_table(ledger: Ledger, warehouse: Warehouse, dataset: Dataset, archived: set[int]) -> int:
    """Fill a new table beside the old one, count its rows, then exchange the two: the copy is complete at all times."""
    fresh = replace(dataset, name=f"{REBUILD_PREFIX}{dataset.name}")
    await warehouse.execute(f"DROP TABLE IF EXISTS {fresh.name} SYNC")
    await warehouse.execute(
        f"CREATE TABLE {fresh.name} AS {dataset.name}"
    )  # keeps the generations of sealed partitions
    ids = (await warehouse.rows(f"SELECT DISTINCT _partition_id FROM {dataset.name}")).rows if archived else ()
    for (partition_id,) in ids:
        if _number_in_id(partition_id) in archived:
            await warehouse.execute(
                f"ALTER TABLE {fresh.name} ATTACH PARTITION ID '{partition_id}' FROM {dataset.name}"
            )
    attached = await _count_rows(warehouse, fresh)
    copied = await _fill_table(ledger, warehouse, fresh, archived)
    if await _count_rows(warehouse, fresh) != attached + copied:
        raise _missing_records(dataset)
    await warehouse.execute(f"EXCHANGE TABLES {dataset.name} AND {fresh.name}")
    await warehouse.execute(f"DROP TABLE {fresh.name} SYNC")
    return copied


async def _fill_table(ledger: Ledger, warehouse: Warehouse, fresh: Dataset, archived: set[int]) -> int:
    """Insert all records of the ledger except those of archived months. Returns their number."""
    copied, last = 0, 0
    while rows := await ledger.history(fresh.name.removeprefix(REBUILD_PREFIX), last, BATCH_ROWS):
        last = rows[-1][0]
        hot = [row for row in rows if _partition_of(fresh, row) not in archived]
        for batch in _split_by_partition(fresh, hot):
            await warehouse.insert(fresh, batch)
        copied += len(hot)
    return copied


async def _count_rows(warehouse: Warehouse, dataset: Dataset) -> int:
    return int((await warehouse.rows(f"SELECT count() FROM {dataset.name}")).rows[0][0])
