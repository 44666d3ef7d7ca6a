"""Writes a backup beside a daemon that goes on working.

The order makes what is copied later a superset of what is copied earlier needs, because a start repairs a ledger that is
older than the tables, and cannot repair the opposite:

1. the ledger. What it calls published is in `loads`, what it calls moved is in the frames;
2. `loads` and `archives`. The rows of each publication are inserted before it, so they are in the tables;
3. what is computed, before what it is computed from: bars, trades, frames. Frames without trades are decoded at the start;
4. documents, which are stored before anything refers to them, and then the objects of the bucket: a document that leaves
   the folder meanwhile is in the bucket by then.

A partition that is dropped meanwhile, an archive that goes on, or a part of a stream that begins, would break that
order. Then the pass begins again with the ledger; what it has written is not written again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spotlightd.errors import StoreError
from spotlightd.flows.archive.parquet import hash_file
from spotlightd.flows.backup.context import BackupContext
from spotlightd.flows.backup.manifest import BackupObject, Kind, Manifest, manifest_key, render_manifest
from spotlightd.flows.backup.partitions import (
    export,
    export_name,
    list_names,
    list_partitions,
    put_object,
    read_export,
    split_state,
)
from spotlightd.flows.tempfiles import wrap_disk_errors, write_file
from spotlightd.model.bucket import DOCUMENT_PREFIX, document_key
from spotlightd.ports.progress import Progress

MOST_PASSES = 5
MOVES = "SELECT (SELECT count() FROM archives), (SELECT max(seq) FROM loads WHERE dataset IN {streamed:Array(String)}) AS part"


class Writing:
    """What is in the target, and what this backup added. Objects whose names begin with the state that they are a copy of
    are found by it.
    """

    def __init__(self, present: dict[str, int]) -> None:
        self._sizes = present
        self._states = {split_state(key): key for key in present}
        self.new_objects = self.new_bytes = 0

    def size_of(self, key: str) -> int | None:
        return self._sizes.get(key)

    def find(self, state: str) -> str | None:
        """The key of the copy of that state."""
        return self._states.get(state)

    def note(self, key: str, size: int) -> None:
        self._sizes[key] = size
        self._states[split_state(key)] = key
        self.new_objects += 1
        self.new_bytes += size


@dataclass(frozen=True, slots=True)
class WrittenBackup:
    """A finished backup. `new_objects` and `new_bytes` are what earlier backups did not have."""

    manifest: Manifest
    key: str
    new_objects: int
    new_bytes: int
    passes: int


async def write_backup(context: BackupContext, progress: Progress) -> WrittenBackup:
    """Write the objects that the target lacks, then the manifest. StoreError when partitions move in every pass."""
    writing = Writing({item.key: item.size async for item in context.target.list(context.prefix)})
    for number in range(1, MOST_PASSES + 1):
        started, before = datetime.now(UTC), await _find_moves(context)
        objects = [item async for item in _copy_all(context, writing, progress)]
        exported = {item.name for item in objects if item.kind == "rows"}
        if before == await _find_moves(context) and exported <= await list_names(context):
            manifest = Manifest(started, context.release, tuple(objects), sealed=context.encrypt is not None)
            body = render_manifest(manifest)
            key = manifest_key(context.prefix, manifest, body)
            await context.target.put(key, body, hashlib.sha256(body).hexdigest())
            return WrittenBackup(manifest, key, writing.new_objects, writing.new_bytes, number)
    raise StoreError(f"partitions moved during each of {MOST_PASSES} passes: try again when the archive is idle")


async def _find_moves(context: BackupContext) -> Any:
    answer = await context.warehouse.rows(MOVES, {"streamed": list(context.streamed)})
    return answer.rows[0]


async def _copy_all(context: BackupContext, writing: Writing, progress: Progress) -> AsyncIterator[BackupObject]:
    progress("ledger", 0, 0)
    path = context.scratch / "ledger.sqlite"
    await context.copy_ledger(path)
    yield await _put_file(context, writing, "ledger", "ledger.sqlite", path)
    for done, dataset in enumerate(context.datasets):
        progress(dataset.name, done, len(context.datasets))
        for partition in await list_partitions(context, dataset):
            if key := writing.find(export_name(context, partition)):
                yield read_export(partition, key, writing.size_of(key) or 0)
            elif item := await export(context, partition):
                writing.note(item.key, item.size)
                yield item
    for (kind, name), file in context.files.items():
        yield await _put_file(context, writing, "settings" if kind == "settings" else "source", name, file)
    progress("documents", 0, 0)
    async for item in _copy_documents(context, writing):
        yield item
    progress("bucket", 0, 0)
    if context.copies_bucket:
        async for item in _copy_bucket(context, writing):
            yield item


async def _put_file(context: BackupContext, writing: Writing, kind: Kind, name: str, path: Path) -> BackupObject:
    with wrap_disk_errors(path):
        sha256, size = await asyncio.to_thread(hash_file, path)
    return await _put(
        context, writing, BackupObject(kind, name, f"{context.objects}files/{sha256}", size, sha256), path
    )


async def _put(context: BackupContext, writing: Writing, item: BackupObject, path: Path) -> BackupObject:
    present = writing.size_of(item.key)
    if present is None or (present != item.size and context.encrypt is None):  # encrypted bytes are more
        await put_object(context, item.key, path, item.sha256)
        writing.note(item.key, item.size)
    return item


async def _copy_documents(context: BackupContext, writing: Writing) -> AsyncIterator[BackupObject]:
    """The documents in the folder. Those that are in a bucket which is not part of the backup are safe there."""
    elsewhere = set[str]()
    if not context.copies_bucket:
        elsewhere = {item.key async for item in context.bucket.list(DOCUMENT_PREFIX)}
    async for document in context.documents.local():
        if document_key(document.digest) in elsewhere:
            continue
        key = f"{context.objects}{document_key(document.digest)}"
        item = BackupObject("document", document.digest, key, document.size, document.digest)
        async with AsyncExitStack() as stack:
            try:
                path = await stack.enter_async_context(context.documents.file(document.digest))
            except StoreError:
                if await context.bucket.head(document_key(document.digest)) is None:
                    raise
                continue  # it left for the bucket meanwhile
            yield await _put(context, writing, item, path)


async def _copy_bucket(context: BackupContext, writing: Writing) -> AsyncIterator[BackupObject]:
    """The objects of the bucket. They never change, so those that the target has are not read again."""
    async for stored in context.bucket.list(""):
        state = f"{context.objects}bucket/{stored.key}/"
        if key := writing.find(state):
            yield BackupObject("bucket", stored.key, key, stored.size, key.rpartition("/")[2])
            continue
        path = context.scratch / "object"
        await write_file(path, context.bucket.read(stored.key))
        with wrap_disk_errors(path):
            sha256, size = await asyncio.to_thread(hash_file, path)
        key = f"{state}{sha256}"
        yield await _put(context, writing, BackupObject("bucket", stored.key, key, size, sha256), path)
