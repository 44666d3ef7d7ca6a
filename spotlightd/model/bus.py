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
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

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


class Reading(Protocol):
    """A partition being read, from one offset on."""

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        """What comes next, as one group: complete when it has that many frames or (about) that many bytes, or when
        `seconds` have passed since its first record was there. Empty after `idle_seconds` without a record. Never
        more frames than asked for; at least one however large it is. OffsetError when the log lost what was to come.
        """


class Bus(Protocol):
    """A log of messages by topic and partition. Topics never make themselves; every call ends in bounded time."""

    async def ping(self) -> None:
        """StoreError unless the bus answers."""

    async def ensure(self, topic: Topic) -> None:
        """Make the topic, or bring its settings in line. Partitions only grow. StoreError when it cannot be."""

    async def log_id(self, topic: str) -> str:
        """Which log this is: another one after the topic was made anew, or the bus wiped. Empty when there is none."""

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        """By partition. StoreError when there is no such topic."""

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """All of them, in order, acknowledged; StoreError when that is not certain (any of them may be there)."""

    def reading(self, topic: str, partition: int, offset: int) -> AbstractAsyncContextManager[Reading]:
        """Read on from that offset (which may be the end)."""

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        """At most that many records from that offset on, that are there now: for people who look."""

    async def committed(self, topic: str, partition: int, offset: int) -> None:
        """Tell the bus how far the drain is. For other people's monitoring only: nothing of ours reads it."""


class Spool(Protocol):
    """Between a socket, which must not wait, and the bus: bounded, durable, in order.

    What `put` took is durable within `fsync_seconds` (or `fsync_bytes`), and stays until it is durable in the warehouse.
    """

    @property
    def trouble(self) -> str:
        """Why that cannot be now, for the operator; empty when it can."""

    def put(self, topic: str, frame: Frame) -> bool:
        """Take a frame, at once; False when there is no room for this topic, and the frame was not taken."""

    async def flushed(self) -> None:
        """Wait until all that was taken is durable. StoreError when it cannot be."""

    def depth(self, topic: str) -> tuple[int, int]:
        """(frames, bytes) that were taken and are not yet known to be durable in the warehouse."""

    def freed(self, topic: str) -> int:
        """How many frames are known to be durable in the warehouse: in order, so that what is not holds up what follows."""

    async def free(self, topic: str, durable: Mapping[int, int]) -> None:
        """Frames are durable in the warehouse: by connection, all sequences up to and including that one."""
