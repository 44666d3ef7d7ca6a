"""The copy: the engine writes a partition as Parquet, the file goes into the bucket under its SHA-256, then its manifest.

Rows are sorted by their whole key, so that the same rows make the same file: an export that is repeated after a crash
finds its object there, and leaves one object and not two. The file keeps everything that a row has, its receipt
included; what the columns mean, and which parsers read them, stands in its schema and in the manifest.
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
from spotlightd.flows.archive.context import HERE, ArchiveContext
from spotlightd.flows.archive.parquet import describe, digest
from spotlightd.flows.tempfiles import blamed, housed, written
from spotlightd.model.archive import exported
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.partition import Partition
from spotlightd.tasks import together

MANIFEST = 1


async def export(means: ArchiveContext, partition: Partition) -> Partition:
    """`exported`: the file stands in our folder, durable."""
    dataset, path = means.datasets[partition.dataset], outgoing(means, partition)
    rows_of = f"{dataset.name} WHERE _partition_id = {{partition:String}}"
    columns = means.columns(partition)
    sql = exported(columns, rows_of, total_order(dataset, columns))
    await means.bucket.head(f"{place(partition)}/none.parquet")  # while it is away nothing piles up here
    async with means.warehouse.stream(sql, "Parquet", {"partition": partition.id}) as chunks:
        await written(await housed(path), chunks, means.room)
    parsers = await _parsers(means, partition)
    with blamed(path):
        await asyncio.to_thread(describe, path, dataset, columns, partition.id, parsers)
        sha256, size = await asyncio.to_thread(digest, path)
    return replace(partition, stage="exported", digest=sha256, size=size)


async def _parsers(means: ArchiveContext, partition: Partition) -> list[str]:
    """Source and version of all that brought the rows; nothing for our own records."""
    dataset = means.datasets[partition.dataset]
    if not dataset.by_load:
        return []
    sql = (
        f"SELECT DISTINCT concat(source, ' ', parser) AS said FROM loads WHERE dataset = {{dataset:String}} AND load_id IN"
        f" (SELECT load_id FROM {dataset.name} WHERE {HERE}) ORDER BY said"
    )
    found = await means.warehouse.rows(sql, {"dataset": dataset.name, "partition": partition.id})
    return [said for (said,) in found.rows]


async def upload(means: ArchiveContext, partition: Partition) -> Partition:
    """`uploaded`: object and manifest are in the bucket. Back to `sealed` when our file is gone: it is made again.

    The engine takes the fingerprint of what it holds meanwhile: it has nothing else to do.
    """
    path = outgoing(means, partition)
    if not await asyncio.to_thread(path.is_file):
        return replace(partition, stage="sealed", says="the exported file was gone")
    key = f"{place(partition)}/{partition.digest}.parquet"
    work: dict[str, Coroutine[Any, Any, Any]] = {
        "put": means.bucket.put(key, path, partition.digest),
        "fingerprint": means.fingerprint(partition),
    }
    mark = (await together(work, prefix=f"archive {partition.dataset} {partition.id} "))["fingerprint"]
    if not mark.rows:
        raise StoreError(f"partition {partition.id} of {partition.dataset} was sealed, and is empty")
    done = replace(
        partition, keys=(key,), manifest=f"{place(partition)}/{partition.digest}.json", fingerprint=mark
    )  # fmt: skip
    body = manifest(means, done)
    await means.bucket.put(done.manifest, body, hashlib.sha256(body).hexdigest())
    return replace(done, stage="uploaded")


def place(partition: Partition) -> str:
    """The folder of its files: as Hive names partitions, so that other programs find them as they stand."""
    return f"{partition.dataset}/archive_day={partition.day}/archive_generation={partition.generation}"


def outgoing(means: ArchiveContext, partition: Partition) -> Path:
    return means.folder / "outgoing" / f"{partition.dataset}-{partition.id}.parquet"


def total_order(dataset: Dataset, columns: Sequence[Column]) -> list[str]:
    """By which no two rows are equal, unless they are so as a whole."""
    names = [*dataset.order, *dataset.key, *(column.name for column in columns if column.kind != "list")]
    return list(dict.fromkeys(names))


def manifest(means: ArchiveContext, partition: Partition) -> bytes:
    """What the objects are, for people and programs that have nothing but the bucket."""
    dataset, mark = means.datasets[partition.dataset], partition.fingerprint
    said = {
        "spotlightd": MANIFEST, **essence(partition), "title": dataset.title, "publisher": dataset.publisher,
        "time": {"column": dataset.time, "low": str(mark.low), "high": str(mark.high)},
        "columns": [{"name": c.name, "type": c.type, "unit": c.unit, "meaning": c.meaning} for c in means.columns(partition)],
    }  # fmt: skip
    return json.dumps(said, ensure_ascii=False, indent=1).encode()


def essence(partition: Partition) -> dict[str, Any]:
    """What the manifest says of the objects and their rows: all but the wording, which a later release may change."""
    mark = partition.fingerprint
    return {
        "dataset": partition.dataset, "partition": partition.id, "archive_day": partition.day.isoformat(),
        "archive_generation": partition.generation, "rows": mark.rows,
        "objects": [{"key": key, "sha256": partition.digest, "bytes": partition.size} for key in partition.keys],
        "fingerprint": {"total": str(mark.total), "mixed": str(mark.mixed)},
    }  # fmt: skip


async def read_manifest(means: ArchiveContext, partition: Partition) -> bytes:
    """As it is in the bucket. StoreError when there is none."""
    pieces = [piece async for piece in means.bucket.read(partition.manifest)]
    if not pieces:
        raise StoreError(f"the manifest {partition.manifest} is empty")
    return b"".join(pieces)
