"""Frames in a bundle: the engine's format RowBinary, one frame after the other, ordered by epoch, partition and offset.

The fields of a frame, all little-endian: epoch and partition (2 bytes each), offset, connection, sequence and received
(8 bytes each; received in nanoseconds since 1970), repeat (1 byte), then the length of the frame (7 bits a byte, the
lowest first, the high bit set in all but the last) and the frame itself. A part of a day is cut into members of a fixed
length at any byte; the reader joins them. This module parses by hand, so that untrusted bytes reach no library.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from spotlightd.errors import FormatError
from spotlightd.flows.stream.decode import day_span
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bus import KEY, Records, source_mark
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode
from spotlightd.sql.fingerprint import fingerprint_columns
from spotlightd.sql.tiers import Archives
from spotlightd.sql.visibility import all_rows as stored_rows

HEAD = struct.Struct("<HHQQQqB")
COLUMNS = "epoch, partition, offset, connection, sequence, received, repeat, frame"
MOST_LENGTH_BYTES = 5
GROUP_FRAMES = 50_000
GROUP_BYTES = 16 << 20

Row = tuple[int, int, int, int, int, int, int, bytes]  # COLUMNS


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Frames of one topic partition and epoch, ordered by offset. `repeats` holds 1 for each duplicate of an earlier
    frame.
    """

    epoch: int
    partition: int
    records: Records
    repeats: Sequence[int]


def frames_query(source: Stream, archives: Archives, day: date) -> str:
    """The SELECT for the frames of a part of a day, `{day:Date}` and `{part:UInt16}`, in the format RowBinary."""
    table = _stored_frames(source, archives, day)
    return f"SELECT {COLUMNS} FROM {table} WHERE {decode.PART} ORDER BY epoch, partition, offset"


async def fingerprint_frames(
    warehouse: Warehouse, source: Stream, archives: Archives, day: date, part: int
) -> Fingerprint:
    """The fingerprint of the stored frames of a part of a day, hot and archived."""
    table = frames_of(source)
    stored_frames = _stored_frames(source, archives, day)
    sql = f"SELECT {fingerprint_columns(table.columns, table.time)} FROM {stored_frames} WHERE {decode.PART}"
    return Fingerprint(*(await warehouse.rows(sql, {"day": day, "part": part})).rows[0])


def _stored_frames(source: Stream, archives: Archives, day: date) -> str:
    return stored_rows(frames_of(source), archives.archived, day_span(day))


async def read_groups(source: Stream, day: date, chunks: AsyncIterator[bytes]) -> AsyncIterator[FrameGroup]:
    """The frames of an untrusted bundle. FormatError for frames of another day or out of order."""
    group: list[Row] = []
    size, last, is_of_day = 0, (-1, -1, -1), _day_check(day)
    async for rows in _read_rows(chunks, source.topic.max_message_bytes):
        for row in rows:
            position = row[:3]
            if position <= last or not is_of_day(row):
                raise FormatError(f"a frame at {position} in the bundle is out of order, or was not received on {day}")
            if group and (position[:2] != last[:2] or size >= GROUP_BYTES or len(group) >= GROUP_FRAMES):
                yield _make_group(source, group)
                group, size = [], 0
            group.append(row)
            size, last = size + len(row[7]), position
    if group:
        yield _make_group(source, group)


def _day_check(day: date) -> Callable[[Row], bool]:
    """A function that is true for rows received on that day."""
    since = int(datetime.combine(day, time(), UTC).timestamp()) * 10**9
    return lambda row: since <= row[5] < since + 86_400 * 10**9 and row[6] in (0, 1)


def _make_group(source: Stream, rows: Sequence[Row]) -> FrameGroup:
    mark = source_mark(source.name)
    keys = b"".join([KEY.pack(mark, row[3], row[4], row[5]) for row in rows])
    records = Records([row[2] for row in rows], keys, [row[7] for row in rows])
    return FrameGroup(rows[0][0], rows[0][1], records, [row[6] for row in rows])


async def _read_rows(chunks: AsyncIterator[bytes], max_frame_bytes: int) -> AsyncIterator[list[Row]]:
    """The rows that each chunk completes."""
    rest = b""
    async for chunk in chunks:
        rows, rest = _split_rows(rest + chunk, max_frame_bytes)
        yield rows
    if rest:
        raise FormatError("the last frame of a part in the bundle is cut off")


def _split_rows(data: bytes, max_frame_bytes: int) -> tuple[list[Row], bytes]:
    """The complete rows at the start of the data, and the bytes behind them."""
    rows: list[Row] = []
    start = 0
    while (span := _read_length(data, start + HEAD.size, max_frame_bytes)) is not None:
        first, length = span
        if first + length > len(data):
            break
        rows.append((*HEAD.unpack_from(data, start), data[first : first + length]))
        start = first + length
    return rows, data[start:]


def _read_length(data: bytes, start: int, max_frame_bytes: int) -> tuple[int, int] | None:
    """Start and length of the frame whose length field begins at `start`; None while that field is incomplete."""
    length = 0
    for index, byte in enumerate(data[start : start + MOST_LENGTH_BYTES]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004  the high bit
            if length > max_frame_bytes:
                raise FormatError(
                    f"a frame in the bundle has {length:,} bytes, and at most {max_frame_bytes:,} are possible"
                )
            return start + index + 1, length
    if len(data) >= start + MOST_LENGTH_BYTES:
        raise FormatError("a frame in the bundle has a length that is no number")
    return None
