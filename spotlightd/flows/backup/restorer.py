"""Puts a backup into a state folder that has no ledger.

Each object is copied to a scratch file and compared with its SHA-256 before anything uses it. The ledger comes last: its
rename makes the folder a state. Before that, a crash leaves a folder that the next restore empties and fills again.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spotlightd.datasets.system import hidden_rows
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.parquet import PIECE_BYTES, hash_file
from spotlightd.flows.backup.manifest import BackupObject, Manifest, damaged
from spotlightd.flows.tempfiles import wrap_disk_errors, write_file
from spotlightd.model.dataset import Dataset
from spotlightd.ports.progress import Progress
from spotlightd.ports.storage import Bucket, Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import ArchivedPartitions

REMEDY = "free space on its disk, and restore again"
UNKNOWN = "DELETE FROM {table} WHERE {column} > {{newest:UInt64}} AND {column} NOT IN (SELECT load_id FROM loads)"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is read: where its objects are, what there is, and the folder for the object that is in hand."""

    bucket: Bucket
    manifest: Manifest
    scratch: Path
    decrypt: Callable[[Path, Path], None] | None = None

    async def fetch(self, item: BackupObject, name: str = "object") -> Path:
        """The object in a file. StoreError that names it when its bytes do not have its SHA-256."""
        path = self.scratch / name
        await write_file(path, self.bucket.read(item.key), remedy=REMEDY)
        if self.manifest.sealed:
            path = await self._decrypt(path)
        with wrap_disk_errors(path, REMEDY):
            digest, _ = await asyncio.to_thread(hash_file, path)
        if digest != item.sha256:
            raise damaged(item.key)
        return path

    async def _decrypt(self, path: Path) -> Path:
        if self.decrypt is None:
            raise SettingsError("the backup is encrypted: name the file with its secret key (--key)")
        sealed = self.scratch / "sealed"
        with wrap_disk_errors(path, REMEDY):
            await asyncio.to_thread(path.replace, sealed)
            await asyncio.to_thread(self.decrypt, sealed, path)
        return path


async def restore_rows(
    backup: Backup, warehouse: Warehouse, dataset: Dataset, archived: ArchivedPartitions, generations: Mapping[int, int]
) -> int:
    """Make the dataset's table and insert its partitions, one after the other; returns the number of rows.

    `generations`: what rows of its sealed partitions get from now on. While a partition is inserted, its rows get the
    generation that they had.
    """
    await warehouse.ensure(dataset, archived)
    items = sorted(backup.manifest.rows_of(dataset.name), key=lambda item: item.partition)
    for item in items:
        if dataset.split_by:
            number, _, generation = item.partition[1].rpartition("-")
            await warehouse.seal(dataset, {int(number): int(generation)} if int(generation) else {})
        path = await backup.fetch(item)
        rows = await warehouse.insert_stream(dataset, _read_blocks(path, dataset))
        if rows != item.rows:
            raise StoreError(f"{item.key} holds {item.rows:,} rows, and {rows:,} were inserted: restore again")
    if dataset.split_by and (items or generations):
        await warehouse.seal(dataset, generations)
    expected = sum(item.rows for item in items)
    present = int((await warehouse.rows(f"SELECT count() FROM {dataset.name}")).rows[0][0])
    if present != expected:
        raise StoreError(f"table {dataset.name} has {present:,} rows, and the backup {expected:,}: is its disk full?")
    return expected


async def drop_unknown_loads(warehouse: Warehouse, dataset: Dataset, newest: int) -> None:
    """Delete rows of loads that began after the ledger was copied and are not published: nobody saw them, and the ledger
    gives their numbers again. Also what is noted of them in `hidden_rows`: it would hide rows of the loads that get the numbers.
    """
    columns = ("load_id", "by_load") if dataset.name == hidden_rows.name else ("load_id",) if dataset.by_load else ()
    for column in columns:
        await warehouse.execute(UNKNOWN.format(table=dataset.name, column=column), {"newest": newest})


async def restore_documents(backup: Backup, documents: Documents, progress: Progress) -> int:
    items = backup.manifest.of_kind("document")
    for done, item in enumerate(items):
        progress("documents", done, len(items))
        stored = await documents.put(_read_pieces(await backup.fetch(item)))
        if stored.digest != item.name:
            raise StoreError(f"document {item.name} has another digest in the backup: {stored.digest}")
    return len(items)


async def restore_bucket(backup: Backup, bucket: Bucket, progress: Progress) -> int:
    items = backup.manifest.of_kind("bucket")
    for done, item in enumerate(items):
        progress("bucket", done, len(items))
        await bucket.put(item.name, await backup.fetch(item), item.sha256)
    return len(items)


def require_datasets(manifest: Manifest, known: Mapping[str, Dataset]) -> None:
    """SettingsError when the backup has rows of a dataset that no source declares here."""
    if missing := sorted({item.partition[0] for item in manifest.of_kind("rows")} - known.keys()):
        raise SettingsError(
            f"the backup of release {manifest.release} has rows of {', '.join(missing)}, which no source declares here: use a"
            " release that does, or put the source back"
        )


async def _read_pieces(path: Path) -> AsyncIterator[bytes]:
    with wrap_disk_errors(path, REMEDY), await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


async def _read_blocks(path: Path, dataset: Dataset) -> AsyncIterator[bytes]:
    """The rows of a Parquet file as an Arrow stream. Memory: one row group."""
    blocks = _encode_row_groups(path, [column.name for column in dataset.stored])
    try:
        while block := await asyncio.to_thread(next, blocks, b""):
            yield block
    except (pa.ArrowException, KeyError) as problem:
        raise StoreError(f"rows of {dataset.name} in the backup do not fit its columns: {problem}") from problem


def _encode_row_groups(path: Path, names: list[str]) -> Iterator[bytes]:
    with pq.ParquetFile(path) as file:
        schema = pa.schema([file.schema_arrow.field(name) for name in names])
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, schema) as writer:
            for number in range(file.num_row_groups):
                for batch in file.read_row_group(number, columns=names).select(names).to_batches():
                    writer.write_batch(batch)
                yield sink.getvalue()
                sink.seek(0)
                sink.truncate()
        yield sink.getvalue()
