"""Writes a bundle: documents as they were fetched, frames as they were received, and the rows that were made of them.

The rows are for people and programs that have no spotlightd: an import makes its own from the bytes, and only compares.
They are proven like a file of the archive before they are packed: read back by code that had no part in writing them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from spotlightd.flows.bundle.choose import Choice, Chosen, Means
from spotlightd.model.archive import exported
from spotlightd.model.bundle import Packed, Pen, compared, document_name, rows_name
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import StoreError
from spotlightd.model.pin import rows as stored
from spotlightd.model.provenance import Document, Load

PIECE_BYTES = 1 << 20
Moves = Callable[[str, int, int], None]


async def pack(means: Means, choice: Choice, pen: Pen, moves: Moves) -> tuple[Packed, ...]:
    """All members but the manifest. What each load is, in their order."""
    packed = []
    for done, chosen in enumerate(choice.loads):
        moves(chosen.load.covers, done, len(choice.loads))
        packed.append(await _load(means, chosen, pen))
    return tuple(packed)


async def _load(means: Means, chosen: Chosen, pen: Pen) -> Packed:
    load = chosen.load
    document = await _document(means, load)
    await pen.add(document_name(load.digest), document.size, means.documents.read(load.digest))
    for dataset in means.feeds[load.source].datasets:
        await _rows(means, chosen, dataset, pen)
    return Packed(load.source, load.covers, load.digest, load.parser, chosen.rows, document)


async def _document(means: Means, load: Load) -> Document:
    kept = await means.ledger.document(load.digest)
    if kept is None:
        raise StoreError(f"the ledger does not know document {load.digest}, which load {load.load_id} was made of")
    return replace(kept, source=load.source, covers=load.covers)


async def _rows(means: Means, chosen: Chosen, dataset: Dataset, pen: Pen) -> None:
    """The rows of one load in one dataset, in the order of their places in the document."""
    path = means.scratch / f"{chosen.load.load_id}-{dataset.name}.parquet"
    columns, place = compared(dataset), [one.name for one in dataset.pointer]
    rows_of = f"{stored(dataset, means.archives.cold, chosen.spans[dataset.name])} WHERE load_id = {{load_id:UInt64}}"
    try:
        sql = exported(columns, rows_of, place)
        async with means.warehouse.stream(sql, "Parquet", {"load_id": chosen.load.load_id}) as chunks:
            await _written(path, chunks)
        found = await means.verifier.fingerprint(path, columns, dataset.time)
        if found != chosen.rows[dataset.name]:
            raise StoreError(
                f"the rows of {chosen.load.covers} were written as {found}, and are {chosen.rows[dataset.name]}"
            )
        size = (await asyncio.to_thread(path.stat)).st_size
        await pen.add(rows_name(chosen.load.digest, dataset.name), size, _read(path))
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _written(path: Path, chunks: AsyncIterator[bytes]) -> None:
    try:
        with path.open("wb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
    except OSError as problem:
        raise StoreError(f"{path} cannot be written: {problem.strerror}") from problem


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield chunk
