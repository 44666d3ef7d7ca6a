"""Writes a bundle: documents as fetched, frames as received, and the rows made of them.

The rows are for people and programs without spotlightd: an import makes its own rows from the bytes, and only compares.
As in the archive, each file of rows is verified before it is packed: code that had no part in writing it reads it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from spotlightd.errors import StoreError
from spotlightd.files import open_scratch
from spotlightd.flows.bundle import frames
from spotlightd.flows.bundle.select import ExportContext, SelectedLoad, Selection
from spotlightd.flows.stream.parts import day_of, part_of
from spotlightd.flows.tempfiles import wrap_disk_errors, write_file
from spotlightd.model.archive import export_select
from spotlightd.model.bundle import (
    Frames,
    Manifest,
    PackedLoad,
    document_name,
    frames_name,
    portable_columns,
    rows_name,
)
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Document, Load
from spotlightd.model.stream import Stream
from spotlightd.ports.progress import Progress
from spotlightd.ports.storage import MemberWriter
from spotlightd.sql.visibility import all_rows as stored_rows

PIECE_BYTES = 1 << 20
FRAMES_BYTES = 256 << 20
DISK_REMEDY = "is there room for the bundle and its largest document?"


async def write_bundle(
    context: ExportContext, selection: Selection, release: str, writer: MemberWriter, progress: Progress
) -> Manifest:
    """Write all members. Returns the manifest without its list of members, which the writer keeps."""
    packed = list[PackedLoad]()
    async with context.verifier.keep():
        for done, selected in enumerate(selection.loads):
            progress(selected.load.covers, done, len(selection.loads))
            is_duplicate = any(load.document and load.digest == selected.load.digest for load in packed)
            packed.append(await _write_load(context, selected, writer, is_duplicate=is_duplicate))
    datasets = {dataset.name: dataset for load in packed for dataset in context.feeds[load.source].datasets}
    columns = {
        name: tuple((column.name, column.type) for column in portable_columns(dataset))
        for name, dataset in datasets.items()
    }
    days = selection.days
    return Manifest(release, datetime.now(UTC), selection.dataset.name, days.first, days.last, columns, tuple(packed))


async def _write_load(
    context: ExportContext, selected: SelectedLoad, writer: MemberWriter, *, is_duplicate: bool
) -> PackedLoad:
    """Write one load. `is_duplicate`: another source brought the same bytes, and the bundle holds them already."""
    load, feed = selected.load, context.feeds[selected.load.source]
    packed = PackedLoad(load.source, load.covers, load.digest, load.parser, selected.rows)
    if isinstance(feed, Stream):
        packed = replace(packed, frames=await _write_frames(context, feed, load, writer))
    else:
        document = await _find_document(context, load)
        if not is_duplicate:
            await writer.add(document_name(load.digest), document.size, context.documents.read(load.digest))
        packed = replace(packed, document=document)
    for dataset in feed.datasets:
        await _write_rows(context, selected, dataset, writer)
    return packed


async def _write_frames(context: ExportContext, source: Stream, load: Load, writer: MemberWriter) -> Frames:
    """Write the frames of a part of a day in members of a fixed length. Their total length is known only at the end."""
    day, part, names = day_of(load), part_of(load), list[str]()
    path, values = context.scratch / f"{load.load_id}.frames", {"day": day, "part": part}
    fingerprint = await frames.fingerprint_frames(context.warehouse, source, context.archives, day, part)
    async with context.warehouse.stream(
        frames.frames_query(source, context.archives, day), "RowBinary", values
    ) as chunks:
        pieces = aiter(chunks)
        while size := await _fill_file(path, pieces):
            names.append(frames_name(load.digest, len(names)))
            await writer.add(names[-1], size, _read_file(path))
    await asyncio.to_thread(path.unlink, missing_ok=True)
    if not fingerprint.rows:
        raise StoreError(f"the frames of {load.source} {load.covers} are not stored here any more")
    return Frames(day, part, fingerprint, tuple(names))


async def _fill_file(path: Path, chunks: AsyncIterator[bytes]) -> int:
    """Write chunks to a file until it is long enough. Returns its length, 0 when no chunk is left."""
    size = 0
    with wrap_disk_errors(path, DISK_REMEDY), open_scratch(path) as file:
        while size < FRAMES_BYTES and (chunk := await anext(chunks, b"")):
            size += await asyncio.to_thread(file.write, chunk)
    return size


async def _find_document(context: ExportContext, load: Load) -> Document:
    document = await context.ledger.document(load.digest)
    if document is None:
        raise StoreError(f"the ledger does not know document {load.digest}, the origin of load {load.load_id}")
    return replace(document, source=load.source, covers=load.covers)


async def _write_rows(context: ExportContext, selected: SelectedLoad, dataset: Dataset, writer: MemberWriter) -> None:
    """Write the rows of one load in one dataset, in the order of their positions in the document."""
    path = context.scratch / f"{selected.load.load_id}-{dataset.name}.parquet"
    columns, position = portable_columns(dataset), [column.name for column in dataset.pointer]
    table = stored_rows(dataset, context.archives.archived, selected.spans[dataset.name])
    try:
        sql = export_select(columns, f"{table} WHERE load_id = {{load_id:UInt64}}", position)
        async with context.warehouse.stream(sql, "Parquet", {"load_id": selected.load.load_id}) as chunks:
            await write_file(path, chunks, remedy=DISK_REMEDY)
        fingerprint = await context.verifier.fingerprint(path, columns, dataset.time)
        expected = selected.rows[dataset.name]
        if fingerprint != expected:
            raise StoreError(
                f"the file of rows of {selected.load.covers} has {fingerprint}, and the warehouse has {expected}"
            )
        size = (await asyncio.to_thread(path.stat)).st_size
        await writer.add(rows_name(selected.load.source, selected.load.digest, dataset.name), size, _read_file(path))
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _read_file(path: Path) -> AsyncIterator[bytes]:
    with wrap_disk_errors(path, DISK_REMEDY), path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield chunk
