"""Groups of records as the local log keeps them: packed into one compressed block, and taken apart again.

A block is zstd (level 1, with a checksum) of: how many records (4 bytes), their keys (KEY.size bytes each), the lengths
of their values (4 bytes each), and the values one after the other. Numbers are little-endian.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import zstandard

from spotlightd.model.bus import KEY, STRANGER, Records

GROUP_BYTES = 4 << 20
LEVEL = 1
ROW_BYTES = 96  # what a group costs beside its block: the row, and its entry in the index
KEYS = np.dtype([("source", "<u8"), ("connection", "<u8"), ("sequence", "<u8"), ("received", "<u8")])
TOPS = np.dtype([("connection", "<u8"), ("sequence", "<u8")])


@dataclass(frozen=True, slots=True)
class Group:
    """Records for one partition that are appended at once. `keys` holds KEY.size bytes for each."""

    topic: str
    partition: int
    keys: bytes
    values: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Packed:
    """A group as it is kept. `newest` is UTC nanoseconds, `size` the bytes of its values, `count` its records."""

    count: int
    newest: int
    size: int
    tops: bytes
    block: bytes

    @property
    def stored(self) -> int:
        """Bytes on the disk, nearly."""
        return len(self.block) + len(self.tops) + ROW_BYTES


def joined(keys: Sequence[bytes], mark: int) -> bytes:
    """The keys one after the other; one that has not our length or that mark becomes that of a stranger."""
    stranger = KEY.pack(0, STRANGER, 0, 0)
    return b"".join(key if len(key) == KEY.size and KEY.unpack(key)[0] == mark else stranger for key in keys)


def pieces(group: Group) -> Iterator[Group]:
    """The group, cut so that none holds more than GROUP_BYTES, or more than one record."""
    lo = size = 0
    for at, value in enumerate(group.values):
        cost = KEY.size + 4 + len(value)
        if at > lo and size + cost > GROUP_BYTES:
            yield _part(group, lo, at)
            lo, size = at, 0
        size += cost
    if lo < len(group.values):
        yield _part(group, lo, len(group.values))


def _part(group: Group, lo: int, hi: int) -> Group:
    return Group(group.topic, group.partition, group.keys[lo * KEY.size : hi * KEY.size], group.values[lo:hi])


def packed(group: Group) -> Packed:
    """The group as one block; not empty, and of as many keys as values."""
    keys = np.frombuffer(group.keys, dtype=KEYS)
    lengths = np.fromiter(map(len, group.values), dtype="<u4", count=len(group.values))
    if len(keys) != len(lengths):
        raise ValueError(f"{len(keys)} keys for {len(lengths)} values")
    head = len(lengths).to_bytes(4, "little")
    plain = b"".join([head, group.keys, lengths.tobytes(), *group.values])
    block = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(plain)
    now = time.time_ns()
    return Packed(
        len(keys), min(int(keys["received"].max()) or now, now), int(lengths.sum(dtype=np.int64)), _tops(keys), block
    )


def _tops(keys: Any) -> bytes:
    """By connection the highest sequence, packed. Strangers have none: nobody asks whether they are durable."""
    connections = [int(one) for one in np.unique(keys["connection"]) if one != STRANGER]
    highest = [(one, int(keys["sequence"][keys["connection"] == one].max())) for one in connections]
    return np.array(highest, dtype=TOPS).tobytes()


def tops(told: bytes) -> dict[int, int]:
    """What `_tops` packed."""
    return dict(np.frombuffer(told, dtype=TOPS).tolist())


def unpacked(lo: int, block: bytes) -> Records:
    """The records of a block whose first has that offset. ValueError when it is not what was written."""
    try:
        plain = zstandard.ZstdDecompressor().decompress(block)
    except zstandard.ZstdError as problem:
        raise ValueError(f"a damaged block: {problem}") from problem
    count = int.from_bytes(plain[:4], "little")
    lengths = 4 + count * KEY.size
    ends = np.cumsum(np.frombuffer(plain, "<u4", count, lengths), dtype=np.int64) + (lengths + 4 * count)
    places = pairwise([lengths + 4 * count, *ends.tolist()])
    return Records(range(lo, lo + count), plain[4:lengths], [plain[a:b] for a, b in places])


def span(records: Records, lo: int, hi: int) -> Records:
    """The records at places [lo, hi) of a group."""
    return Records(records.offsets[lo:hi], records.keys[lo * KEY.size : hi * KEY.size], records.values[lo:hi])


def chained(parts: Sequence[Records]) -> Records:
    """Groups that follow on one another, as one."""
    if len(parts) == 1:
        return parts[0]
    keys, values = b"".join(one.keys for one in parts), [value for one in parts for value in one.values]
    first = parts[0].offsets[0] if parts else 0
    return Records(range(first, first + len(values)), keys, values)
