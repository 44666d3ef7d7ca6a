"""Tables as they are in the warehouse, brought in line with what datasets declare."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from spotlightd.clients.clickhouse import ddl
from spotlightd.datasets.system import loads
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import ANEW, Dataset
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.fingerprint import row_hash
from spotlightd.sql.tiers import ArchivedPartitions

INSERTS = "query_kind IN ('Insert', 'AsyncInsertFlush')"
SEAL_SECONDS = 60.0
SEAL_PAUSE_SECONDS = 0.05


async def ensure(warehouse: Warehouse, dataset: Dataset, database: str, cold: ArchivedPartitions) -> None:
    """Make the table and its view if missing; add new columns; copy a table that has other partitions and can never have
    been archived; StoreError if a column has another type, or the table other partitions all the same.
    """
    await tidy(warehouse, dataset, database)
    await warehouse.execute(ddl.table(dataset, database))
    have = await _columns(warehouse, dataset, database)
    await _partitions(warehouse, dataset, database, have)
    if dataset.by_load:
        await warehouse.execute(ddl.table(loads, database))
    if view := ddl.view(dataset, database, cold):
        await warehouse.execute(view)


async def seal(warehouse: Warehouse, dataset: Dataset, sealed: Mapping[int, int], database: str) -> None:
    """Change the table's default generation, and wait until no insert is at work that does not know of it.

    An insert reads the table's description after it has been entered into the list of those that run: whoever is not in
    the list after the change has read it.
    """
    await warehouse.execute(ddl.sealing(dataset, sealed, database))
    before = [one for (one,) in (await warehouse.rows(f"SELECT query_id FROM system.processes WHERE {INSERTS}")).rows]
    until = asyncio.get_running_loop().time() + SEAL_SECONDS
    running = f"SELECT count() FROM system.processes WHERE {INSERTS} AND query_id IN {{ids:Array(String)}}"
    while before and (await warehouse.rows(running, {"ids": before})).rows[0][0]:
        if asyncio.get_running_loop().time() > until:
            raise StoreError(f"an insert that began before {dataset.name} was sealed is still at work")
        await asyncio.sleep(SEAL_PAUSE_SECONDS)


async def _columns(warehouse: Warehouse, dataset: Dataset, database: str) -> set[str]:
    """Names of those that it had before, and keeps rows in."""
    found = await warehouse.rows(
        "SELECT name, type, default_kind FROM system.columns WHERE database = {database:String} AND table = {table:String}",
        {"database": database, "table": dataset.name},
    )
    have = {name: word for name, word, _ in found.rows}
    for column in dataset.stored:
        if column.name not in have:
            await warehouse.execute(ddl.added_column(dataset, database, column))
        elif _same(have[column.name]) != _same(column.type):
            raise StoreError(
                f"table {database}.{dataset.name}: column {column.name} is {have[column.name]}, but the "
                f"dataset declares {column.type}; give the dataset a new name or change the column by hand"
            )
    return {name for name, _, kind in found.rows if kind != "ALIAS"}


async def _partitions(warehouse: Warehouse, dataset: Dataset, database: str, have: set[str]) -> None:
    found = await warehouse.rows(
        "SELECT partition_key FROM system.tables WHERE database = {database:String} AND name = {table:String}",
        {"database": database, "table": dataset.name},
    )
    key, wanted = found.rows[0][0], ddl.partition_key(dataset)
    if _same(key) == _same(wanted):
        return
    if have <= {column.name for column in dataset.stored}:
        await copy(warehouse, dataset, database)
        return
    raise StoreError(
        f"table {database}.{dataset.name} is partitioned by {key or 'nothing'}, but the dataset declares"
        f" {wanted or 'nothing'}: give the dataset a new name, or copy the table by hand"
    )


def _same(word: str) -> str:
    """As words are compared: engines differ in where they write spaces, and brackets round a list."""
    return word.replace(" ", "").replace("(", "").replace(")", "")


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
