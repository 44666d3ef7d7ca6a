"""Copies the ledger's records into the warehouse, so that anyone can query what was fetched, tried and refused.

Where the copy stands is read from the copy itself (its highest id), so a crash between two steps needs no mending and
a copy that was thrown away is made again by the same code. Of records that have left for the archive, `archives` says
the highest id; the bucket is not asked.

A record never changes: what the ledger writes down (a gap with what filled it, too) it writes once. One that comes late for
a month that was sealed gets the next generation, as any row does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from spotlightd.datasets.system import MIRRORED
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import ANEW, Dataset
from spotlightd.model.partition import Partition, number_of
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import ArchivedPartitions, Archives
from spotlightd.sql.visibility import rows as everywhere

AT_ONCE = 10_000
Rows = Sequence[tuple[Any, ...]]


async def mirror(ledger: Ledger, warehouse: Warehouse, archives: Archives) -> int:
    """Copy what is new. Answers the number of records. One caller at a time."""
    copied = sum([await _table(ledger, warehouse, archives, dataset) for dataset in MIRRORED])
    if copied:
        logger().debug("records mirrored", rows=copied)
    return copied


async def newest(warehouse: Warehouse, dataset: Dataset, cold: ArchivedPartitions) -> int:
    """The highest id that the copy has, in the table or in the archive."""
    hot = (await warehouse.rows(f"SELECT max(id) FROM {dataset.name}")).rows[0][0]
    return max([int(hot), *(one.newest_id for one in cold.of(dataset.name))])


async def _table(ledger: Ledger, warehouse: Warehouse, archives: Archives, dataset: Dataset) -> int:
    copied, last = 0, await newest(warehouse, dataset, archives.cold)
    while rows := await ledger.history(dataset.name, last, AT_ONCE):
        for some in _apart(dataset, rows):
            await warehouse.insert(dataset, some)
            last = await newest(warehouse, dataset, archives.cold)
            if last != some[-1][0]:
                raise _not_there(dataset)
        copied += len(rows)
    return copied


def _apart(dataset: Dataset, rows: Rows) -> Iterator[Rows]:
    """Neighbours that lie in one partition: of an insert into several the engine may keep some and not the others, and
    the highest id would not tell.
    """
    for _, some in groupby(rows, lambda row: _number(dataset, row)):
        yield list(some)


def _number(dataset: Dataset, row: tuple[Any, ...]) -> int:
    """Of the partition that the record lies in; 0 when the table is not divided."""
    if not dataset.split_by:
        return 0
    return number_of(dataset, row[[column.name for column in dataset.columns].index(dataset.split_by)])


def _not_there(dataset: Dataset) -> StoreError:
    return StoreError(f"records of {dataset.name} were written, and are not there: is the warehouse's disk full?")


async def restore(ledger: Ledger, warehouse: Warehouse, archives: Archives) -> int:
    """Take back what the copies have and the ledger has lost (a lost file, an old backup), out of the archive too.
    Answers how many records. StoreError while a bucket that is needed for that does not answer.
    """
    return sum([await _back(ledger, warehouse, archives.cold, dataset) for dataset in MIRRORED])


async def _back(ledger: Ledger, warehouse: Warehouse, cold: ArchivedPartitions, dataset: Dataset) -> int:
    last, after, taken = await newest(warehouse, dataset, cold), 0, 0
    if not last or await ledger.history(dataset.name, last - 1, 1):
        return 0
    names = ", ".join(column.name for column in dataset.columns)
    sql = f"SELECT {names} FROM {everywhere(dataset, cold)} WHERE id > {{after:UInt64}} ORDER BY id LIMIT {AT_ONCE}"
    while rows := (await warehouse.rows(sql, {"after": after})).rows:
        await ledger.restore(dataset.name, rows)
        taken, after = taken + len(rows), rows[-1][0]
    return taken


async def rebuild(ledger: Ledger, warehouse: Warehouse, archives: Archives, known: Iterable[Partition]) -> int:
    """Make the copies again, and put them in the place of the old ones. `loads` is no copy and is not touched.

    Neither are months that are in the archive or on their way there (`known`, by the ledger): what was proven there must
    not come again under another generation. Answers the number of records.
    """
    away = {(one.dataset, one.number) for one in known}
    away |= {(name, _numbered(one.partition)) for name, some in archives.cold.partitions.items() for one in some}
    return sum([await _again(ledger, warehouse, one, {n for name, n in away if name == one.name}) for one in MIRRORED])


def _numbered(partition: str) -> int:
    return int(partition.partition("-")[0])


async def _again(ledger: Ledger, warehouse: Warehouse, dataset: Dataset, away: set[int]) -> int:
    """A new table beside the old one, filled, counted, and only then exchanged for it: the copy has no hole at any time."""
    fresh = replace(dataset, name=f"{ANEW}{dataset.name}")
    await warehouse.execute(f"DROP TABLE IF EXISTS {fresh.name} SYNC")
    await warehouse.execute(f"CREATE TABLE {fresh.name} AS {dataset.name}")  # with the generations of what is sealed
    for (part,) in (await warehouse.rows(f"SELECT DISTINCT _partition_id FROM {dataset.name}")).rows if away else ():
        if _numbered(part) in away:
            await warehouse.execute(f"ALTER TABLE {fresh.name} ATTACH PARTITION ID '{part}' FROM {dataset.name}")
    kept = await _count(warehouse, fresh)
    copied = await _filled(ledger, warehouse, fresh, away)
    if await _count(warehouse, fresh) != kept + copied:
        raise _not_there(dataset)
    await warehouse.execute(f"EXCHANGE TABLES {dataset.name} AND {fresh.name}")
    await warehouse.execute(f"DROP TABLE {fresh.name} SYNC")
    return copied


async def _filled(ledger: Ledger, warehouse: Warehouse, fresh: Dataset, away: set[int]) -> int:
    """With all records of the ledger but those of months that are away; how many."""
    copied, last = 0, 0
    while rows := await ledger.history(fresh.name.removeprefix(ANEW), last, AT_ONCE):
        last = rows[-1][0]
        wanted = [row for row in rows if _number(fresh, row) not in away]
        for some in _apart(fresh, wanted):
            await warehouse.insert(fresh, some)
        copied += len(wanted)
    return copied


async def _count(warehouse: Warehouse, dataset: Dataset) -> int:
    return int((await warehouse.rows(f"SELECT count() FROM {dataset.name}")).rows[0][0])
