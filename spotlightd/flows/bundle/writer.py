"""Writes a bundle: documents as they were fetched, frames as they were received, and the rows that were made of them.

The rows are for people and programs that have no spotlightd: an import makes its own from the bytes, and only compares.
They are proven like a file of the archive before they are packed: read back by code that had no part in writing them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from spotlightd.errors import StoreError
from spotlightd.flows.bundle import frames
from spotlightd.flows.bundle.select import Choice, Chosen, ExportContext
from spotlightd.flows.stream.parts import day_of, part_of
from spotlightd.flows.tempfiles import blamed, written
from spotlightd.model.archive import exported
from spotlightd.model.bundle import Frames, Manifest, Packed, Pen, compared, document_name, frames_name, rows_name
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Document, Load
from spotlightd.model.stream import Stream
from spotlightd.ports.progress import Progress
from spotlightd.sql.visibility import rows as stored

PIECE_BYTES = 1 << 20
FRAMES_BYTES = 256 << 20
ROOM = "is there room for the bundle and its largest document?"


async def pack(means: ExportContext, choice: Choice, release: str, pen: Pen, moves: Progress) -> Manifest:
    """All members; answers what the manifest is to say, but for the members, which the pen knows."""
    packed = list[Packed]()
    for done, chosen in enumerate(choice.loads):
        moves(chosen.load.covers, done, len(choice.loads))
        twin = any(one.document and one.digest == chosen.load.digest for one in packed)
        packed.append(await _load(means, chosen, pen, twin=twin))
    used = {one.name: one for load in packed for one in means.feeds[load.source].datasets}
    columns = {name: tuple((column.name, column.type) for column in compared(one)) for name, one in used.items()}
    days = choice.days
    return Manifest(release, datetime.now(UTC), choice.dataset.name, days.first, days.last, columns, tuple(packed))


async def _load(means: ExportContext, chosen: Chosen, pen: Pen, *, twin: bool) -> Packed:
    """One load. `twin`: another source brought the same bytes, and they are in the bundle already."""
    load, feed = chosen.load, means.feeds[chosen.load.source]
    packed = Packed(load.source, load.covers, load.digest, load.parser, chosen.rows)
    if isinstance(feed, Stream):
        packed = replace(packed, frames=await _frames(means, feed, load, pen))
    else:
        document = await _document(means, load)
        if not twin:
            await pen.add(document_name(load.digest), document.size, means.documents.read(load.digest))
        packed = replace(packed, document=document)
    for dataset in feed.datasets:
        await _rows(means, chosen, dataset, pen)
    return packed


async def _frames(means: ExportContext, source: Stream, load: Load, pen: Pen) -> Frames:
    """The frames of a part of a day, in members of a fixed length: how long they are in all is known at their end only."""
    day, part, names = day_of(load), part_of(load), list[str]()
    path, values = means.scratch / f"{load.load_id}.frames", {"day": day, "part": part}
    found = await frames.mark_of(means.warehouse, source, means.archives, day, part)
    async with means.warehouse.stream(frames.select(source, means.archives, day), "RowBinary", values) as chunks:
        pieces = aiter(chunks)
        while size := await _piece(path, pieces):
            names.append(frames_name(load.digest, len(names)))
            await pen.add(names[-1], size, _read(path))
    await asyncio.to_thread(path.unlink, missing_ok=True)
    if not found.rows:
        raise StoreError(f"the frames of {load.source} {load.covers} are not here any more")
    return Frames(day, part, found, tuple(names))


async def _piece(path: Path, chunks: AsyncIterator[bytes]) -> int:
    """Chunks into a file until it is long enough; how long it is, 0 when none is left."""
    size = 0
    with blamed(path, ROOM), path.open("wb") as file:
        while size < FRAMES_BYTES and (chunk := await anext(chunks, b"")):
            size += await asyncio.to_thread(file.write, chunk)
    return size


async def _document(means: ExportContext, load: Load) -> Document:
    kept = await means.ledger.document(load.digest)
    if kept is None:
        raise StoreError(f"the ledger does not know document {load.digest}, which load {load.load_id} was made of")
    return replace(kept, source=load.source, covers=load.covers)


async def _rows(means: ExportContext, chosen: Chosen, dataset: Dataset, pen: Pen) -> None:
    """The rows of one load in one dataset, in the order of their places in the document."""
    path = means.scratch / f"{chosen.load.load_id}-{dataset.name}.parquet"
    columns, place = compared(dataset), [one.name for one in dataset.pointer]
    rows_of = f"{stored(dataset, means.archives.cold, chosen.spans[dataset.name])} WHERE load_id = {{load_id:UInt64}}"
    try:
        sql = exported(columns, rows_of, place)
        async with means.warehouse.stream(sql, "Parquet", {"load_id": chosen.load.load_id}) as chunks:
            await written(path, chunks, remedy=ROOM)
        found = await means.verifier.fingerprint(path, columns, dataset.time)
        if found != chosen.rows[dataset.name]:
            raise StoreError(
                f"the rows of {chosen.load.covers} were written as {found}, and are {chosen.rows[dataset.name]}"
            )
        size = (await asyncio.to_thread(path.stat)).st_size
        await pen.add(rows_name(chosen.load.source, chosen.load.digest, dataset.name), size, _read(path))
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _read(path: Path) -> AsyncIterator[bytes]:
    with blamed(path, ROOM), path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield chunk
