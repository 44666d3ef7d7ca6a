"""The stages of the drain, each alone, in batches of the drain's size."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from _frames import Shape
from _ground import Ground

from spotlightd.flows.stream.moving.move import SCHEMA
from spotlightd.flows.stream.sequences import keys_of
from spotlightd.model.bus import Records
from spotlightd.model.offsets import Intent
from spotlightd.model.stream import Stream, frames_of
from spotlightd.sql import decode


@dataclass(slots=True)
class Clock:
    """Seconds, and processor seconds of this process and the engine, by stage."""

    on: Ground
    seconds: dict[str, float] = field(default_factory=dict)
    processor: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        before, began = self.on.processor_seconds(), time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - began
        self.processor[stage] = {name: spent - before[name] for name, spent in self.on.processor_seconds().items()}


async def time_stages(on: Ground, shape: Shape) -> Clock:
    """Time three stages: reading the topic only, inserting its frames, decoding the inserted frames."""
    source, warehouse, clock = shape.source, on.context.warehouse, Clock(on)
    with clock.timing("consume"):
        async for records in read(on, source, shape.frames):
            del records
    batches = [records async for records in read(on, source, shape.frames)]
    intents = [intent_of(source, records, load_id=1) for records in batches]
    blocks = [make_block(intent, records) for intent, records in zip(intents, batches, strict=True)]
    with clock.timing("frames"):
        for intent, block in zip(intents, blocks, strict=True):
            await warehouse.insert_stream(frames_of(source), _once(block), token=f"{intent.token}-frames")
    sql = decode.insert_decoded(source, decode.SPAN, strict=True)
    with clock.timing("decode"):
        for intent in intents:
            span = {"epoch": intent.epoch, "partition": 0, "lo": intent.lo, "hi": intent.hi, "load_id": intent.load_id}
            await warehouse.execute(sql, span, token=f"{intent.token}-rows")
    return clock


async def read(on: Ground, source: Stream, frames: int) -> AsyncIterator[Records]:
    """Read the topic in batches of the drain's own settings."""
    settings = on.context.settings
    async with on.bus.open_reader(source.name, 0, 0) as reading:
        while frames > 0:
            records = await reading.next(
                frames=settings.batch_frames,
                size=settings.batch_bytes,
                seconds=settings.batch_seconds,
                idle_seconds=10.0,
            )
            assert len(records), f"{frames} frames of {source.name} did not arrive"
            frames -= len(records)
            yield records


def intent_of(source: Stream, records: Records, *, load_id: int) -> Intent:
    """The intent that the drain would write for these records."""
    day = datetime.fromtimestamp(int(keys_of(records)["received"][0]) / 1e9, UTC).date()
    return Intent(
        source.name, 1, 0, records.offsets[0], records.offsets[-1] + 1, len(records), day, 1, load_id, source.parser, "alone",
    )  # fmt: skip


def make_block(intent: Intent, records: Records) -> bytes:
    """The frames as one Arrow block, as the drain sends it. It is made before the clock starts, so the engine is the limit."""
    parts, count = keys_of(records), len(records)
    columns = {
        "epoch": np.full(count, intent.epoch), "partition": np.full(count, intent.partition), "offset": records.offsets,
        "part": np.full(count, intent.part), "connection": parts["connection"], "sequence": parts["sequence"],
        "received": parts["received"].astype("i8"), "repeat": np.zeros(count, int), "frame": records.values,
    }  # fmt: skip
    arrays = [pa.array(_plain(columns[column.name]), column.type) for column in SCHEMA]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
    return bytes(sink.getvalue())


def _plain(values: object) -> Sequence[object]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)  # type: ignore[call-overload,no-any-return]


async def _once(block: bytes) -> AsyncIterator[bytes]:
    yield block
