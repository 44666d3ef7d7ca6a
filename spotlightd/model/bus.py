"""The message bus as the flows see it: frames, and the record key that identifies each of them.

A record's value is the frame as it was received, byte for byte. Its identity is in the record's key and not in headers,
because reading with headers costs half the rate. The key has 32 bytes, little-endian: a hash of the source's name, the
connection (a random number for each connection), the frame's sequence in it (0 for the first), and the time of receipt
in nanoseconds since 1970, UTC. A key with another length or hash was not written by spotlightd: such a record is stored
under connection 0.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

KEY = struct.Struct("<QQQQ")
FOREIGN_CONNECTION = 0  # for records that were not written by one of our listeners


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a venue. `connection` is random and never 0, `sequence` counts from 0, `received` is nanoseconds, UTC."""

    connection: int
    sequence: int
    received: int
    value: bytes


def source_mark(source: str) -> int:
    """The hash of the source's name for the key: 8 bytes of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "little")


def pack_key(source: int, frame: Frame) -> bytes:
    """The key of a frame; `source` is the `source_mark` of its source."""
    return KEY.pack(source, frame.connection, frame.sequence, frame.received)


def partition_of(connection: int, partitions: int) -> int:
    """The partition of a connection. All its frames stay in order; the remainder of a random number spreads evenly."""
    return connection % partitions


@dataclass(frozen=True, slots=True)
class Topic:
    """The settings of a source's topic. The topic has the name of the source.

    `retention_hours` and `retention_bytes` (of each partition) limit what the bus keeps; 0 bytes = no limit.
    """

    name: str
    partitions: int = 1
    retention_hours: int = 168
    retention_bytes: int = 8 << 30
    max_message_bytes: int = 17 << 20


@dataclass(frozen=True, slots=True)
class Ends:
    """The offsets of a partition: from `start` up to, but not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one partition, in order. `keys` has KEY.size bytes for each of them, concatenated."""

    offsets: Sequence[int]
    keys: bytes
    values: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.values)

    def key(self, index: int) -> bytes:
        """The key of the record at that index of this group (which is not its offset)."""
        return self.keys[index * KEY.size : (index + 1) * KEY.size]

    def slice(self, first: int, last: int) -> Records:
        """The records from one index up to, but not including, the other."""
        keys = self.keys[first * KEY.size : last * KEY.size]
        return Records(self.offsets[first:last], keys, self.values[first:last])
