"""A constructed stream: frames that no venue sent, each `{"type": "ticks", "n": [7, 8]}`, and their decode."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from spotlightd import Column, Dataset, Rhythm, Stream
from spotlightd.model.bus import Frame, pack_key, source_mark
from spotlightd.model.stream import PLACE

SECOND = 10**9
MIDNIGHT = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * SECOND

constructed_ticks = Dataset(
    name="constructed_ticks", title="Constructed ticks", publisher="nobody", about="Numbers that no venue sent.",
    columns=(
        Column("number", "UInt64", "the tick's own number"),
        Column("received", "DateTime64(6, 'UTC')", "when its frame was received"),
        Column("source", "LowCardinality(String)", "the source"),
    ),
    key=("number", "epoch", "partition", "offset", "frame_index"), order=("number", "epoch", "partition", "offset"),
    time="received", partition="toYYYYMMDD(received)", pointer=PLACE, rhythm=Rhythm("when asked", 1),
)  # fmt: skip

DECODE = """
SELECT number + {plus} AS number, received, epoch, partition, offset, toUInt16(nth - 1) AS frame_index, reject
FROM (
    SELECT *, JSONExtract(frame, 'Tuple(type Nullable(String), n Array(UInt64))') AS f,
        multiIf(f.type = 'ping', '', NOT isValidJSON(frame), 'not JSON', f.type != 'ticks', 'no such type', isNull(f.type),
            'no type', '') AS reject,
        if(reject = '', f.n, [toUInt64(0)]) AS numbers
    FROM {frames}
)
ARRAY JOIN numbers AS number, arrayEnumerate(numbers) AS nth
"""

ticks = Stream(
    name="constructed", title="Constructed", home="https://example.org", datasets=(constructed_ticks,),
    address=lambda _: "wss://example.org", hello=lambda _: iter(()), hosts=("example.org",), decode=DECODE.replace("{plus}", "0"),
)  # fmt: skip
mended = replace(ticks, decode=DECODE.replace("{plus}", "1000000"))
"""The same frames, decoded in another way."""


def frame(connection: int, sequence: int, numbers: list[int], received: int) -> Frame:
    return Frame(connection, sequence, received, json.dumps({"type": "ticks", "n": numbers}).encode())


def records(frames: list[Frame]) -> tuple[list[bytes], list[bytes]]:
    """Keys and values, as a bus takes them."""
    return [pack_key(source_mark(ticks.name), frame) for frame in frames], [frame.value for frame in frames]


def numbered(many: int, *, connection: int = 7, first: int = 0, around: int = MIDNIGHT, per: int = 2) -> list[Frame]:
    """Frames of one connection, a millisecond apart, whose middle one is the first to be received after `around`."""
    start = around - many // 2 * 1_000_000
    return [
        frame(connection, first + at, [(first + at) * per + nth for nth in range(per)], start + at * 1_000_000)
        for at in range(many)
    ]
