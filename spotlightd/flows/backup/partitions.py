"""The partitions that are in the tables, and their export.

A partition is exported again only if its parts changed. The name of its object has a hash over the parts, which the
engine knows, and over the columns. Rows that arrive during the export are in the object too: they are newer than the
hash, so the next backup exports the partition again.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spotlightd.errors import StoreError
from spotlightd.flows.archive.context import IN_PARTITION
from spotlightd.flows.archive.export import total_order
from spotlightd.flows.archive.parquet import hash_file
from spotlightd.flows.backup.context import BackupContext
from spotlightd.flows.backup.manifest import BackupObject
from spotlightd.flows.tempfiles import wrap_disk_errors, write_file
from spotlightd.model.archive import export_select
from spotlightd.model.dataset import Dataset

PARTS = (
    "SELECT table, partition_id, arraySort(groupArray(hash_of_all_files)) AS parts FROM system.parts"
    " WHERE database = currentDatabase() AND active GROUP BY table, partition_id ORDER BY table, partition_id"
)
TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
_FILE = re.compile(r"(?P<state>[0-9a-f]{32})-(?P<rows>[0-9]+)-(?P<sha256>[0-9a-f]{64})\.parquet")


@dataclass(frozen=True, slots=True)
class HotPartition:
    """A partition with rows in a table. `state` is the hash over its parts and columns."""

    dataset: Dataset
    id: str
    state: str

    @property
    def name(self) -> str:
        return f"{self.dataset.name}/{self.id}"


async def list_partitions(context: BackupContext, dataset: Dataset) -> list[HotPartition]:
    """The partitions of the dataset. StoreError when its table is missing: a backup without it would look complete."""
    tables = {name for (name,) in (await context.warehouse.rows(TABLES)).rows}
    if dataset.name not in tables:
        raise StoreError(f"table {dataset.name} is missing: start the daemon, and see /status for what to do")
    columns = [(column.name, column.type) for column in dataset.stored]
    return [
        HotPartition(dataset, partition, hashlib.sha256(repr((parts, columns)).encode()).hexdigest()[:32])
        for table, partition, parts in (await context.warehouse.rows(PARTS)).rows
        if table == dataset.name
    ]


async def list_names(context: BackupContext) -> set[str]:
    """`dataset/partition` of all partitions."""
    return {f"{table}/{partition}" for table, partition, _ in (await context.warehouse.rows(PARTS)).rows}


def export_name(context: BackupContext, partition: HotPartition) -> str:
    """How the key of an export of the partition in this state begins."""
    return f"{context.objects}rows/{partition.name}/{partition.state}-"


def split_state(key: str) -> str:
    """The part of a key that names what it is a copy of: without the number of rows and the digest of the copy."""
    folder, _, name = key.rpartition("/")
    match = _FILE.fullmatch(name)
    return f"{folder}/{match['state']}-" if match else f"{folder}/"


def read_export(partition: HotPartition, key: str, size: int) -> BackupObject:
    """What the key of an export says."""
    match = _FILE.fullmatch(key.rpartition("/")[2])
    if match is None:
        raise StoreError(f"{key} is no export of a partition")
    return BackupObject("rows", partition.name, key, size, match["sha256"], int(match["rows"]))


async def export(context: BackupContext, partition: HotPartition) -> BackupObject | None:
    """Write the rows to the target; None when there are none any more."""
    dataset, path = partition.dataset, context.scratch / "rows.parquet"
    sql = export_select(dataset.stored, f"{dataset.name} WHERE {IN_PARTITION}", total_order(dataset, dataset.stored))
    async with context.warehouse.stream(sql, "Parquet", {"partition": partition.id}) as chunks:
        await write_file(path, chunks)
    with wrap_disk_errors(path):
        rows = await asyncio.to_thread(_count_rows, path)
        sha256, size = await asyncio.to_thread(hash_file, path)
    if not rows:
        return None
    key = f"{export_name(context, partition)}{rows}-{sha256}.parquet"
    await put_object(context, key, path, sha256)
    return BackupObject("rows", partition.name, key, size, sha256, rows)


async def put_object(context: BackupContext, key: str, path: Path, sha256: str) -> None:
    """Store a file of these bytes, encrypted if there is a key."""
    if context.encrypt is None:
        await context.target.put(key, path, sha256)
        return
    sealed = context.scratch / "sealed"
    with wrap_disk_errors(sealed):
        await asyncio.to_thread(context.encrypt, path, sealed)
        digest, _ = await asyncio.to_thread(hash_file, sealed)
    await context.target.put(key, sealed, digest)


def _count_rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowException as problem:
        raise StoreError(f"the engine wrote a file of rows that cannot be read: {problem}") from problem
