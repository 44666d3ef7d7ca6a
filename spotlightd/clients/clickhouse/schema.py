"""Bring the tables of the warehouse in line with the declared datasets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from spotlightd.clients.clickhouse import ddl
from spotlightd.datasets.system import loads
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import REBUILD_PREFIX, Dataset
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.fingerprint import row_hash
from spotlightd.sql.tiers import ArchivedPartitions

INSERTS = "query_kind IN ('Insert', 'AsyncInsertFlush')"
SEAL_SECONDS = 60.0
SEAL_PAUSE_SECONDS = 0.05


async def ensure(warehouse: Warehouse, dataset: Dataset, database: str, archived: ArchivedPartitions) -> None:
    """Create the table and its view if they are missing, and add new columns.

    A table that has other partitions and was never archived is copied. StoreError if a column has another type, or if the
    table has other partitions and cannot be copied.
    """
    if ddl.has_years(dataset, archived):
        dataset = ddl.by_year(dataset)
    await drop_leftover_copy(warehouse, dataset, database)
    await warehouse.execute(ddl.create_table(dataset, database))
    existing = await _ensure_columns(warehouse, dataset, database)
    await _ensure_partitions(warehouse, dataset, database, existing)
    if dataset.by_load:
        await warehouse.execute(ddl.create_table(loads, database))
    if view := ddl.create_view(dataset, database, archived):
        await warehouse.execute(view)


async def seal(warehouse: Warehouse, dataset: Dataset, sealed: Mapping[int, int], database: str) -> None:
    """Change the table's default generation, and wait until every insert that may still use the old one has ended.

    An insert reads the table's definition after it has been added to the list of running statements. So an insert that is
    not in the list right after the change uses the new definition.
    """
    await warehouse.execute(ddl.alter_generation(dataset, sealed, database))
    answer = await warehouse.rows(f"SELECT query_id FROM system.processes WHERE {INSERTS}")
    running_ids = [query_id for (query_id,) in answer.rows]
    deadline = asyncio.get_running_loop().time() + SEAL_SECONDS
    running = f"SELECT count() FROM system.processes WHERE {INSERTS} AND query_id IN {{ids:Array(String)}}"
    while running_ids and (await warehouse.rows(running, {"ids": running_ids})).rows[0][0]:
        if asyncio.get_running_loop().time() > deadline:
            raise StoreError(f"an insert that began before {dataset.name} was sealed is still running")
        await asyncio.sleep(SEAL_PAUSE_SECONDS)


async def _ensure_columns(warehouse: Warehouse, dataset: Dataset, database: str) -> set[str]:
    """Add missing columns, and change codecs; returns the names of the stored columns that the table had before."""
    answer = await warehouse.rows(
        "SELECT name, type, default_kind, compression_codec FROM system.columns "
        "WHERE database = {database:String} AND table = {table:String}",
        {"database": database, "table": dataset.name},
    )
    existing = {name: column_type for name, column_type, *_ in answer.rows}
    for column in dataset.stored:
        if column.name not in existing:
            await warehouse.execute(ddl.add_column(dataset, database, column))
        elif _normalize(existing[column.name]) != _normalize(column.type):
            raise StoreError(
                f"table {database}.{dataset.name}: column {column.name} is {existing[column.name]}, but the "
                f"dataset declares {column.type}; give the dataset a new name or change the column by hand"
            )
    for column in dataset.derived:
        if column.name not in existing:
            await warehouse.execute(ddl.add_column(dataset, database, column))
    await _ensure_codecs(warehouse, dataset, database, {name: codec for name, *_, codec in answer.rows})
    return {name for name, _, kind, _ in answer.rows if kind != "ALIAS"}


async def _ensure_codecs(warehouse: Warehouse, dataset: Dataset, database: str, codecs: Mapping[str, str]) -> None:
    """Give the columns of a table the codecs that are declared now. `codecs`: those that it has, by column."""
    changed = [
        column
        for column in dataset.stored
        if column.name in codecs and _normalize_codec(codecs[column.name]) != _normalize_codec(column.compression)
    ]
    if changed:
        await warehouse.execute(ddl.alter_codecs(dataset, database, changed))
        logger(dataset=dataset.name).info("codecs changed", columns=[column.name for column in changed])


async def _ensure_partitions(warehouse: Warehouse, dataset: Dataset, database: str, existing: set[str]) -> None:
    answer = await warehouse.rows(
        "SELECT partition_key FROM system.tables WHERE database = {database:String} AND name = {table:String}",
        {"database": database, "table": dataset.name},
    )
    key, expected = answer.rows[0][0], ddl.partition_key(dataset)
    if _normalize(key) in {_normalize(expected), _normalize(ddl.partition_key(ddl.by_year(dataset)))}:
        return
    if existing <= {column.name for column in dataset.stored}:
        await copy_table(warehouse, dataset, database)
        return
    raise StoreError(
        f"table {database}.{dataset.name} is partitioned by {key or 'nothing'}, but the dataset declares"
        f" {expected or 'nothing'}: give the dataset a new name, or copy the table by hand"
    )


def _normalize(column_type: str) -> str:
    """A type or key without spaces and brackets: engine versions write them differently."""
    return column_type.replace(" ", "").replace("(", "").replace(")", "")


_WIDTH = re.compile(r"(?<=Delta)\(\d\)")


def _normalize_codec(codec: str) -> str:
    """A codec as it is declared: the engine writes `CODEC(…)` around it, and the width of the column after Delta."""
    inner = codec.removeprefix("CODEC(").removesuffix(")") if codec.startswith("CODEC(") else codec
    return _WIDTH.sub("", inner).replace(" ", "")


MAX_COPY_BYTES = 32 << 30  # copying a larger table would delay a start for long, and could fill the disk


SIZE = "SELECT total_bytes FROM system.tables WHERE database = {database:String} AND name = {table:String}"


COPY_SETTINGS = "insert_deduplicate = 0, max_partitions_per_insert_block = 0"


async def drop_leftover_copy(warehouse: Warehouse, dataset: Dataset, database: str) -> None:
    """Drop the table that an interrupted copy left."""
    await warehouse.execute(f"DROP TABLE IF EXISTS {database}.{REBUILD_PREFIX}{dataset.name} SYNC")


async def copy_table(warehouse: Warehouse, dataset: Dataset, database: str) -> None:
    """Replace the table by a copy with the declared partitions. StoreError when it is too large, or the copy differs."""
    old, new = f"{database}.{dataset.name}", f"{database}.{REBUILD_PREFIX}{dataset.name}"
    size = (await warehouse.rows(SIZE, {"database": database, "table": dataset.name})).rows[0][0] or 0
    if size > MAX_COPY_BYTES:
        raise StoreError(f"table {old} has {size:,} bytes, too many to copy into new partitions at a start")
    await warehouse.execute(ddl.create_table(dataset, database, f"{REBUILD_PREFIX}{dataset.name}"))
    names = ", ".join(column.name for column in dataset.stored)
    part = "_partition_id = {part:String}"
    for (name,) in (await warehouse.rows(f"SELECT DISTINCT _partition_id FROM {old} ORDER BY 1")).rows:
        sql = f"INSERT INTO {new} ({names}) SELECT {names} FROM {old} WHERE {part} SETTINGS {COPY_SETTINGS}"
        await warehouse.execute(sql, {"part": name})
    rows, *fingerprint = await _fingerprint(warehouse, dataset, new)
    if [rows, *fingerprint] != await _fingerprint(warehouse, dataset, old):
        raise StoreError(f"table {old} was copied into new partitions, and the copy differs: is the disk full?")
    await warehouse.execute(f"EXCHANGE TABLES {old} AND {new}")
    await drop_leftover_copy(warehouse, dataset, database)
    logger(dataset=dataset.name).info("table copied", rows=rows, partitions=ddl.partition_key(dataset))


async def _fingerprint(warehouse: Warehouse, dataset: Dataset, table: str) -> list[int]:
    """The number of rows, and two hashes over all of their values."""
    sql = f"SELECT count(), sumWithOverflow({row_hash(dataset.stored)} AS _hash), groupBitXor(_hash) FROM {table}"
    return [int(value) for value in (await warehouse.rows(sql)).rows[0]]
