"""Frames in a bundle: one after the other in the order of their places, as the engine's format RowBinary has them.

Of each: epoch and partition (2 bytes each), offset, connection, sequence and received (8 bytes each; nanoseconds since
1970), repeat (1 byte), all little-endian, then the length of the frame (7 bits a byte, the lowest first, the high bit
set in all but the last) and the frame. A part of a day is cut into members of a fixed length wherever that falls: they are
read one after the other as one. It is read here by hand, so that no library sees somebody else's bytes.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from spotlightd.errors import FormatError
from spotlightd.flows.stream.decode import within
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bus import KEY, Records, mark
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode
from spotlightd.sql.fingerprint import selected
from spotlightd.sql.tiers import Archives
from spotlightd.sql.visibility import rows as stored

HEAD = struct.Struct("<HHQQQqB")
COLUMNS = "epoch, partition, offset, connection, sequence, received, repeat, frame"
MOST_LENGTH_BYTES = 5
GROUP_FRAMES = 50_000
GROUP_BYTES = 16 << 20

Row = tuple[int, int, int, int, int, int, int, bytes]  # COLUMNS


@dataclass(frozen=True, slots=True)
class Group:
    """Frames of one partition of one log, in order. `repeats` has 1 for each that came before."""

    epoch: int
    partition: int
    records: Records
    repeats: Sequence[int]


def select(source: Stream, archives: Archives, day: date) -> str:
    """The frames of a part of a day, `{day:Date}` and `{part:UInt16}`, for the format RowBinary."""
    return f"SELECT {COLUMNS} FROM {_kept(source, archives, day)} WHERE {decode.PART} ORDER BY epoch, partition, offset"


async def mark_of(warehouse: Warehouse, source: Stream, archives: Archives, day: date, part: int) -> Fingerprint:
    """The fingerprint of the frames that are kept of a part of a day, hot and archived."""
    table = frames_of(source)
    sql = f"SELECT {selected(table.columns, table.time)} FROM {_kept(source, archives, day)} WHERE {decode.PART}"
    return Fingerprint(*(await warehouse.rows(sql, {"day": day, "part": part})).rows[0])


def _kept(source: Stream, archives: Archives, day: date) -> str:
    return stored(frames_of(source), archives.cold, within(day))


async def groups(source: Stream, day: date, chunks: AsyncIterator[bytes]) -> AsyncIterator[Group]:
    """The frames of somebody's bundle. FormatError for what is no frame of that day, or stands out of order."""
    held: list[Row] = []
    size, last, fits = 0, (-1, -1, -1), _of_day(day)
    async for rows in _rows(chunks, source.topic.max_message_bytes):
        for row in rows:
            place = row[:3]
            if place <= last or not fits(row):
                raise FormatError(f"a frame at {place} in the bundle is out of order, or was not received on {day}")
            if held and (place[:2] != last[:2] or size >= GROUP_BYTES or len(held) >= GROUP_FRAMES):
                yield _group(source, held)
                held, size = [], 0
            held.append(row)
            size, last = size + len(row[7]), place
    if held:
        yield _group(source, held)


def _of_day(day: date) -> Callable[[Row], bool]:
    since = int(datetime.combine(day, time(), UTC).timestamp()) * 10**9
    return lambda row: since <= row[5] < since + 86_400 * 10**9 and row[6] in (0, 1)


def _group(source: Stream, held: Sequence[Row]) -> Group:
    of = mark(source.name)
    keys = b"".join([KEY.pack(of, row[3], row[4], row[5]) for row in held])
    records = Records([row[2] for row in held], keys, [row[7] for row in held])
    return Group(held[0][0], held[0][1], records, [row[6] for row in held])


async def _rows(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[list[Row]]:
    """Whole rows, as many as each chunk brings to their end."""
    rest = b""
    async for chunk in chunks:
        found, rest = _whole(rest + chunk, most)
        yield found
    if rest:
        raise FormatError("the last frame of a part in the bundle is cut off")


def _whole(text: bytes, most: int) -> tuple[list[Row], bytes]:
    found: list[Row] = []
    at = 0
    while (ends := _length(text, at + HEAD.size, most)) is not None:
        first, length = ends
        if first + length > len(text):
            break
        found.append((*HEAD.unpack_from(text, at), text[first : first + length]))
        at = first + length
    return found, text[at:]


def _length(text: bytes, at: int, most: int) -> tuple[int, int] | None:
    """Where a frame begins whose length stands there, and that length; None when more bytes are needed to tell."""
    length = 0
    for place, byte in enumerate(text[at : at + MOST_LENGTH_BYTES]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004  the high bit
            if length > most:
                raise FormatError(f"a frame in the bundle has {length:,} bytes, and at most {most:,} are possible")
            return at + place + 1, length
    if len(text) >= at + MOST_LENGTH_BYTES:
        raise FormatError("a frame in the bundle has a length that is no number")
    return None
