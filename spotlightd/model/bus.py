"""The bus of messages as the flows see it: frames, the key that names each of them, and the ports `Bus` and `Spool`.

A record's value is the frame as it was received, byte for byte. Its identity is packed into the record's key and not
into headers: reading with headers costs half the rate. The key is 32 bytes, little-endian: a mark of the source's name,
the connection (a random number for each connection), the frame's sequence in it (0 for the first), and when it was
received, in nanoseconds since 1970, UTC. A key of another length or mark is not ours: such a record is kept under
connection 0.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

KEY = struct.Struct("<QQQQ")
STRANGER = 0  # the connection of records that no listener of ours wrote


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a venue. `connection` is random and never 0, `sequence` counts from 0, `received` is UTC nanoseconds."""

    connection: int
    sequence: int
    received: int
    value: bytes


def mark(source: str) -> int:
    """The source's name as the key carries it: 8 bytes of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "little")


def packed(source: int, frame: Frame) -> bytes:
    """The key of a frame; `source` is the `mark` of its source."""
    return KEY.pack(source, frame.connection, frame.sequence, frame.received)


def partition_of(connection: int, partitions: int) -> int:
    """The partition of a connection, all of whose frames stay in order: numbers are random, so the remainder is fair."""
    return connection % partitions


@dataclass(frozen=True, slots=True)
class Topic:
    """What a source's topic is to be like. Its name is the source's.

    `retention_hours` and `retention_bytes` (of each partition) bound what the bus keeps; 0 bytes = no bound.
    """

    name: str
    partitions: int = 1
    retention_hours: int = 168
    retention_bytes: int = 8 << 30
    max_message_bytes: int = 17 << 20


@dataclass(frozen=True, slots=True)
class Ends:
    """What a partition holds: offsets from `start` up to, but not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one partition, in order. `keys` holds KEY.size bytes for each, one after the other."""

    offsets: Sequence[int]
    keys: bytes
    values: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.values)

    def key(self, at: int) -> bytes:
        """The key of the record at that place of this group (not at that offset)."""
        return self.keys[at * KEY.size : (at + 1) * KEY.size]

    def slice(self, first: int, last: int) -> Records:
        """The records from that place up to, but not including, the other."""
        keys = self.keys[first * KEY.size : last * KEY.size]
        return Records(self.offsets[first:last], keys, self.values[first:last])
