"""A warehouse for the decode of streams, and frames inserted into it as by the drain."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from spotlightd.sql import decode

RECEIVED = 1_755_126_270_278_123_456
SCHEMA = pa.schema([
    ("epoch", pa.uint16()), ("partition", pa.uint16()), ("offset", pa.uint64()), ("part", pa.uint16()),
    ("connection", pa.uint64()), ("sequence", pa.uint64()), ("received", pa.timestamp("ns", "UTC")),
    ("repeat", pa.uint8()), ("frame", pa.binary()),
])  # fmt: skip
COLUMNS = ("symbol", "venue", "time", "price", "volume", "conditions", "long_digits", "offset", "frame_index")
_epochs = itertools.count(1)


@asynccontextmanager
async def warehouse_in(folder: Path) -> AsyncIterator[ClickHouse]:
    with state_lock(folder) as held:
        async with (
            Engine(held, EngineSettings(memory_bytes=2 << 30), on_event=lambda *_, **__: None) as engine,
            ClickHouse(engine.url, engine.user, engine.password, "spotlightd", WarehouseSettings()) as client,
        ):
            yield client


def batch(frames: Sequence[bytes], *, epoch: int, part: int = 1, repeats: Sequence[int] = ()) -> pa.RecordBatch:
    """Frames as the drain inserts them, a microsecond apart, at offsets from 0."""
    many = len(frames)
    columns = [
        [epoch] * many, [0] * many, range(many), [part] * many, [7] * many, range(many),
        [RECEIVED + at * 1_000 for at in range(many)], [int(at in repeats) for at in range(many)], frames,
    ]  # fmt: skip
    return pa.record_batch(
        [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA
    )


def stream_bytes(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


@dataclass(frozen=True, slots=True)
class InsertedFrames:
    """Frames in their table, under an epoch of their own."""

    source: Stream
    warehouse: Warehouse
    span: dict[str, Any]

    async def decode(self, *, strict: bool = False, load_id: int = 1) -> None:
        await self.warehouse.execute(
            decode.insert_decoded(self.source, decode.SPAN, strict=strict), self.span | {"load_id": load_id}
        )

    async def wanted(self) -> int:
        return int((await self.warehouse.rows(decode.count_decoded(self.source, decode.SPAN), self.span)).rows[0][0])

    async def rejected(self) -> list[tuple[Any, ...]]:
        return list((await self.warehouse.rows(decode.select_rejects(self.source, decode.SPAN), self.span)).rows)

    async def rows(self, columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
        """The rows of these frames in the dataset's table, in order."""
        result = await self.warehouse.rows(
            f"SELECT {', '.join(columns)} FROM {self.source.dataset.name} WHERE epoch = {{epoch:UInt16}}"
            " ORDER BY offset, frame_index",
            {"epoch": self.span["epoch"]},
        )
        return [dict(zip(columns, row, strict=True)) for row in result.rows]


async def insert_frames(
    source: Stream, warehouse: Warehouse, frames: Sequence[bytes], *, part: int = 1, repeats: Sequence[int] = ()
) -> InsertedFrames:
    """Insert the frames into their table."""
    await warehouse.ensure(frames_of(source))
    await warehouse.ensure(source.dataset)
    epoch = next(_epochs)
    sent = stream_bytes(batch(frames, epoch=epoch, part=part, repeats=repeats))
    inserted = await warehouse.insert_stream(frames_of(source), _once(sent))
    assert inserted == len(frames)
    return InsertedFrames(source, warehouse, {"epoch": epoch, "partition": 0, "lo": 0, "hi": len(frames)})


async def _once(sent: bytes) -> AsyncIterator[bytes]:
    yield sent
