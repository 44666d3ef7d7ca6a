"""Groups of records as the local log stores them: packed into one compressed block, and unpacked again.

A block is zstd (level 1, with a checksum) of: the number of records (4 bytes), their keys (KEY.size bytes each), the
lengths of their values (4 bytes each), and the values one after the other. Numbers are little-endian.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import zstandard

from spotlightd.model.bus import FOREIGN_CONNECTION, KEY, Records

GROUP_BYTES = 4 << 20
LEVEL = 1
ROW_BYTES = 96  # what a group takes beside its block: the row, and its entry in the index
KEYS = np.dtype([("source", "<u8"), ("connection", "<u8"), ("sequence", "<u8"), ("received", "<u8")])
LAST_SEQUENCES = np.dtype([("connection", "<u8"), ("sequence", "<u8")])


@dataclass(frozen=True, slots=True)
class Group:
    """Records of one partition that are appended at once. `keys` holds KEY.size bytes for each."""

    topic: str
    partition: int
    keys: bytes
    values: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """A group as it is stored. `newest` is in UTC nanoseconds, `size` the bytes of the values, `count` the records.

    `last_sequences` holds by connection its highest sequence in the group, packed.
    """

    count: int
    newest: int
    size: int
    last_sequences: bytes
    block: bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes on the disk, approximately."""
        return len(self.block) + len(self.last_sequences) + ROW_BYTES


def join_keys(keys: Sequence[bytes], mark: int) -> bytes:
    """The keys one after the other. A key of another length or mark is replaced by that of a foreign record."""
    foreign = KEY.pack(0, FOREIGN_CONNECTION, 0, 0)
    return b"".join(key if len(key) == KEY.size and KEY.unpack(key)[0] == mark else foreign for key in keys)


def split_group(group: Group) -> Iterator[Group]:
    """The group in pieces of at most GROUP_BYTES; a larger record is a piece of its own."""
    lo = size = 0
    for index, value in enumerate(group.values):
        cost = KEY.size + 4 + len(value)
        if index > lo and size + cost > GROUP_BYTES:
            yield _slice_group(group, lo, index)
            lo, size = index, 0
        size += cost
    if lo < len(group.values):
        yield _slice_group(group, lo, len(group.values))


def _slice_group(group: Group, lo: int, hi: int) -> Group:
    return Group(group.topic, group.partition, group.keys[lo * KEY.size : hi * KEY.size], group.values[lo:hi])


def pack_group(group: Group) -> PackedGroup:
    """The group as one block. It must not be empty, and must have as many keys as values."""
    keys = np.frombuffer(group.keys, dtype=KEYS)
    lengths = np.fromiter(map(len, group.values), dtype="<u4", count=len(group.values))
    if len(keys) != len(lengths):
        raise ValueError(f"{len(keys)} keys for {len(lengths)} values")
    head = len(lengths).to_bytes(4, "little")
    content = b"".join([head, group.keys, lengths.tobytes(), *group.values])
    block = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(content)
    now = time.time_ns()
    newest = min(int(keys["received"].max()) or now, now)
    return PackedGroup(len(keys), newest, int(lengths.sum(dtype=np.int64)), _pack_last_sequences(keys), block)


def _pack_last_sequences(keys: Any) -> bytes:
    """By connection the highest sequence, packed. Foreign records have none: nobody checks whether they are durable."""
    connections = [int(connection) for connection in np.unique(keys["connection"]) if connection != FOREIGN_CONNECTION]
    rows = [(connection, int(keys["sequence"][keys["connection"] == connection].max())) for connection in connections]
    return np.array(rows, dtype=LAST_SEQUENCES).tobytes()


def unpack_last_sequences(packed: bytes) -> dict[int, int]:
    """By connection the highest sequence of a group."""
    return dict(np.frombuffer(packed, dtype=LAST_SEQUENCES).tolist())


def unpack_block(lo: int, block: bytes) -> Records:
    """The records of a block whose first has the offset `lo`. ValueError when the block is damaged."""
    try:
        content = zstandard.ZstdDecompressor().decompress(block)
    except zstandard.ZstdError as problem:
        raise ValueError(f"a damaged block: {problem}") from problem
    count = int.from_bytes(content[:4], "little")
    lengths = 4 + count * KEY.size
    ends = np.cumsum(np.frombuffer(content, "<u4", count, lengths), dtype=np.int64) + (lengths + 4 * count)
    spans = pairwise([lengths + 4 * count, *ends.tolist()])
    return Records(range(lo, lo + count), content[4:lengths], [content[start:end] for start, end in spans])


def join_records(parts: Sequence[Records]) -> Records:
    """Consecutive records as one."""
    if len(parts) == 1:
        return parts[0]
    keys, values = b"".join(part.keys for part in parts), [value for part in parts for value in part.values]
    first = parts[0].offsets[0] if parts else 0
    return Records(range(first, first + len(values)), keys, values)
