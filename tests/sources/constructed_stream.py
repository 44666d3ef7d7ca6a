"""A constructed stream that SQL cannot decode: each frame is a count and so many packed ticks, read in pure Python."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from spotlightd import Body, Column, Dataset, Reject, Rhythm, Rows, Stream
from spotlightd.model.stream import PLACE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COUNT = struct.Struct("<H")
TICK = struct.Struct("<4sQd")

constructed_packed = Dataset(
    name="constructed_packed", title="Constructed packed ticks", publisher="nobody", about="Ticks that no venue sent.",
    columns=(
        Column("symbol", "LowCardinality(String)", "four letters"),
        Column("time", "DateTime64(6, 'UTC')", "when"),
        Column("price", "Float64", "the price"),
        Column("source", "LowCardinality(String)", "the source"),
    ),
    key=("symbol", "time", "epoch", "partition", "offset", "frame_index"), order=("symbol", "time"), time="time",
    pointer=PLACE, rhythm=Rhythm("never", stale_days=1),
)  # fmt: skip
SCHEMA = pa.schema([
    pa.field("symbol", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("price", pa.float64(), nullable=False),
    pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field("epoch", pa.uint16(), nullable=False),
    pa.field("partition", pa.uint16(), nullable=False),
    pa.field("offset", pa.uint64(), nullable=False),
    pa.field("frame_index", pa.uint16(), nullable=False),
])  # fmt: skip


def packed(*ticks: tuple[str, int, float]) -> bytes:
    """A frame of (symbol, microseconds since 1970, price)."""
    return COUNT.pack(len(ticks)) + b"".join(TICK.pack(symbol.encode(), time, price) for symbol, time, price in ticks)


def parse(body: Body) -> Iterator[Rows | Reject]:
    """A batch of rows for each batch of frames; `line` of a reject is the frame's place in the file, 1 for the first."""
    line = 0
    with pa.OSFile(str(body.path)) as file, pa.ipc.open_stream(file) as frames:
        for batch in frames:
            rows: list[dict[str, Any]] = []
            for frame in batch.select(["epoch", "partition", "offset", "frame"]).to_pylist():
                line += 1
                value = frame.pop("frame")
                if reason := _wrong(value):
                    yield Reject(0, line, value.hex(), reason)
                    continue
                rows += [{**tick, **frame, "frame_index": at} for at, tick in enumerate(_ticks(value))]
            yield Rows(constructed_packed, pa.RecordBatch.from_pylist(rows, schema=SCHEMA))


def _wrong(value: bytes) -> str:
    if len(value) < COUNT.size:
        return "too short for a count"
    (many,) = COUNT.unpack_from(value)
    return "" if len(value) == COUNT.size + many * TICK.size else f"not {many} ticks long"


def _ticks(value: bytes) -> Iterator[dict[str, Any]]:
    for symbol, time, price in TICK.iter_unpack(value[COUNT.size :]):
        moment = EPOCH + timedelta(microseconds=time)
        yield {"symbol": symbol.decode(), "time": moment, "price": price, "source": "constructed_packed"}


source = Stream(
    name="constructed_packed", title="Constructed packed ticks", home="", datasets=(constructed_packed,),
    address=lambda _: "wss://example.org", hello=lambda _: iter(()), hosts=("example.org",), parse=parse,
)  # fmt: skip
