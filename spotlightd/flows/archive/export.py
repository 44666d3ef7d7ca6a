"""The copy: the engine writes a partition as Parquet; the file is uploaded under its SHA-256, and then its manifest.

Rows are sorted by their whole key, so that equal rows make equal files: an export that is repeated after a crash finds
its object in the bucket and adds no second one. The file holds every column of a row, its receipt included. The schema
and the manifest say what the columns mean and which parsers read them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spotlightd.errors import StoreError
from spotlightd.flows.archive.context import IN_PARTITION, ArchiveContext
from spotlightd.flows.archive.copies import choose_folder, find_copy, object_folder
from spotlightd.flows.archive.parquet import hash_file, write_description
from spotlightd.flows.tempfiles import make_parent_folder, wrap_disk_errors, write_file
from spotlightd.model.archive import export_select
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.partition import Partition
from spotlightd.model.stream import unique_columns
from spotlightd.tasks import run_together

MANIFEST_VERSION = 1


async def export(context: ArchiveContext, partition: Partition) -> Partition:
    """Write the file to the local folder, durably. Returns the partition as `exported`."""
    dataset, path = context.datasets[partition.dataset], export_path(context, partition)
    rows_of = f"{dataset.name} WHERE _partition_id = {{partition:String}}"
    columns = context.columns(partition)
    sql = export_select(columns, rows_of, total_order(dataset, columns))
    await context.bucket.head(
        f"{object_folder(partition)}/none.parquet"
    )  # StoreError while the bucket is away, so no files pile up
    async with context.warehouse.stream(sql, "Parquet", {"partition": partition.id}) as chunks:
        await write_file(await make_parent_folder(path), chunks, context.require_space)
    parsers = await _find_parsers(context, partition)
    with wrap_disk_errors(path):
        await asyncio.to_thread(write_description, path, dataset, columns, partition.id, parsers)
        sha256, size = await asyncio.to_thread(hash_file, path)
    return replace(partition, stage="exported", digest=sha256, size=size)


async def _find_parsers(context: ArchiveContext, partition: Partition) -> list[str]:
    """Source and parser version of every load with rows in the partition; empty for records of this instance."""
    dataset = context.datasets[partition.dataset]
    if not dataset.by_load:
        return []
    sql = (
        f"SELECT DISTINCT concat(source, ' ', parser) AS parser_version FROM loads WHERE dataset = {{dataset:String}}"
        f" AND load_id IN (SELECT load_id FROM {dataset.name} WHERE {IN_PARTITION}) ORDER BY parser_version"
    )
    answer = await context.warehouse.rows(sql, {"dataset": dataset.name, "partition": partition.id})
    return [parser_version for (parser_version,) in answer.rows]


async def upload(context: ArchiveContext, partition: Partition) -> Partition:
    """Upload the file and its manifest. Returns the partition as `uploaded`, or as `sealed` when the local file is
    gone: then it is exported again. Meanwhile the engine, which is idle, computes the fingerprint of its rows. A copy of
    the same rows that is in the bucket already is used instead.
    """
    path = export_path(context, partition)
    if not await asyncio.to_thread(path.is_file):
        return replace(partition, stage="sealed", detail="the exported file is missing")
    if copy := await find_copy(context, partition):
        return await _upload_manifest(context, copy)
    folder = await choose_folder(context, partition)
    key = f"{folder}/{partition.digest}.parquet"
    tasks: dict[str, Coroutine[Any, Any, Any]] = {
        "put": context.bucket.put(key, path, partition.digest),
        "fingerprint": context.fingerprint(partition),
    }
    fingerprint = (await run_together(tasks, prefix=f"archive {partition.dataset} {partition.id} "))["fingerprint"]
    if not fingerprint.rows:
        raise StoreError(f"partition {partition.id} of {partition.dataset} is sealed but empty")
    manifest = f"{folder}/{partition.digest}.json"
    return await _upload_manifest(context, replace(partition, keys=(key,), manifest=manifest, fingerprint=fingerprint))


async def _upload_manifest(context: ArchiveContext, partition: Partition) -> Partition:
    """Upload the manifest unless it is there; what it says is verified in the next step."""
    if await context.bucket.head(partition.manifest) is None:
        body = render_manifest(context, partition)
        await context.bucket.put(partition.manifest, body, hashlib.sha256(body).hexdigest())
    return replace(partition, stage="uploaded")


def export_path(context: ArchiveContext, partition: Partition) -> Path:
    return context.folder / "outgoing" / f"{partition.dataset}-{partition.id}.parquet"


def total_order(dataset: Dataset, columns: Sequence[Column]) -> list[str]:
    """The columns to sort by so that no two rows tie, unless they are equal in all columns. Where some columns tell all
    rows apart, the others decide nothing and are left out.
    """
    rest = unique_columns(dataset) or [column.name for column in columns if column.kind not in ("list", "map")]
    return list(dict.fromkeys([*dataset.order, *dataset.key, *rest]))


def render_manifest(context: ArchiveContext, partition: Partition) -> bytes:
    """The manifest: a description of the objects for people and programs that have only the bucket."""
    dataset, fingerprint = context.datasets[partition.dataset], partition.fingerprint
    content = {
        "spotlightd": MANIFEST_VERSION, **manifest_facts(partition), "title": dataset.title, "publisher": dataset.publisher,
        "time": {"column": dataset.time, "low": str(fingerprint.low), "high": str(fingerprint.high)},
        "columns": [
            {"name": column.name, "type": column.type, "unit": column.unit, "meaning": column.meaning}
            for column in context.columns(partition)
        ],
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def manifest_facts(partition: Partition) -> dict[str, Any]:
    """The part of the manifest that identifies objects and rows, without the descriptions that a later release may
    change.
    """
    fingerprint = partition.fingerprint
    return {
        "dataset": partition.dataset, "partition": partition.id, "archive_day": partition.day.isoformat(),
        "archive_generation": partition.generation, "rows": fingerprint.rows,
        "objects": [{"key": key, "sha256": partition.digest, "bytes": partition.size} for key in partition.keys],
        "fingerprint": {"total": str(fingerprint.total), "mixed": str(fingerprint.mixed)},
    }  # fmt: skip


async def read_manifest(context: ArchiveContext, partition: Partition) -> bytes:
    """The bytes of the manifest in the bucket. StoreError when there is none."""
    pieces = [piece async for piece in context.bucket.read(partition.manifest)]
    if not pieces:
        raise StoreError(f"the manifest {partition.manifest} is empty")
    return b"".join(pieces)
