"""A table of an older release, copied into the partitions that its dataset declares now.

The copy stands beside the table until it is proven to hold the same rows; then the two change names in one step, and the
old one is dropped. What a start left that was cut off is thrown away by the next: the copy, or behind that step the old
table. Nothing of such a table can have been archived, because its rows bear no generation.
"""

from __future__ import annotations

from spotlightd.clients import ddl
from spotlightd.log import logger
from spotlightd.model.dataset import ANEW, Dataset
from spotlightd.model.errors import StoreError
from spotlightd.model.fingerprint import row_hash
from spotlightd.model.ports import Warehouse

MOST_BYTES = 32 << 30  # larger tables would hold up a start for long, and be in the way of the disk
SIZE = "SELECT total_bytes FROM system.tables WHERE database = {database:String} AND name = {table:String}"
AS_THEY_ARE = "insert_deduplicate = 0, max_partitions_per_insert_block = 0"


async def tidy(warehouse: Warehouse, dataset: Dataset, database: str) -> None:
    """Throw away what a copy left that was cut off."""
    await warehouse.execute(f"DROP TABLE IF EXISTS {database}.{ANEW}{dataset.name} SYNC")


async def copy(warehouse: Warehouse, dataset: Dataset, database: str) -> None:
    """Put a copy in the place of the table. StoreError when it is too large for that, or the copy is not the same."""
    old, new = f"{database}.{dataset.name}", f"{database}.{ANEW}{dataset.name}"
    size = (await warehouse.rows(SIZE, {"database": database, "table": dataset.name})).rows[0][0] or 0
    if size > MOST_BYTES:
        raise StoreError(f"table {old} has {size:,} bytes, too many to be copied into new partitions at a start")
    await warehouse.execute(ddl.table(dataset, database, f"{ANEW}{dataset.name}"))
    names = ", ".join(column.name for column in dataset.stored)
    part = "_partition_id = {part:String}"
    for (name,) in (await warehouse.rows(f"SELECT DISTINCT _partition_id FROM {old} ORDER BY 1")).rows:
        sql = f"INSERT INTO {new} ({names}) SELECT {names} FROM {old} WHERE {part} SETTINGS {AS_THEY_ARE}"
        await warehouse.execute(sql, {"part": name})
    rows, *held = await _mark(warehouse, dataset, new)
    if [rows, *held] != await _mark(warehouse, dataset, old):
        raise StoreError(f"table {old} was copied into new partitions, and the copy is not the same: is the disk full?")
    await warehouse.execute(f"EXCHANGE TABLES {old} AND {new}")
    await tidy(warehouse, dataset, database)
    logger(dataset=dataset.name).info("table copied", rows=rows, partitions=ddl.partition_key(dataset))


async def _mark(warehouse: Warehouse, dataset: Dataset, table: str) -> list[int]:
    """How many rows, and two numbers that change with any of their values."""
    sql = f"SELECT count(), sumWithOverflow({row_hash(dataset.stored)} AS _hash), groupBitXor(_hash) FROM {table}"
    return [int(value) for value in (await warehouse.rows(sql)).rows[0]]
