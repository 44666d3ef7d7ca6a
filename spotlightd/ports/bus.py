"""Ports for the bus and for the spool in front of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from spotlightd.model.bus import Ends, Frame, Records, Topic


class PartitionReader(Protocol):
    """Reads one partition from an offset on."""

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        """The next records, as one group. The group is complete when it has that many frames or about that many bytes,
        or when `seconds` have passed since its first record arrived. It is empty after `idle_seconds` without a record.
        It never has more frames than asked for, and at least one, however large. OffsetError when the log has lost the
        records that should come next.
        """


class Bus(Protocol):
    """A log of messages by topic and partition. Topics are created only by `ensure`. Every call ends in bounded time."""

    async def ping(self) -> None:
        """StoreError unless the bus answers."""

    async def ensure(self, topic: Topic) -> None:
        """Create the topic, or update its settings. The number of partitions only grows. StoreError when that fails."""

    async def log_id(self, topic: str) -> str:
        """The identity of the log. It changes when the topic is created again or the bus is wiped. Empty without a topic."""

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        """First and last offsets by partition. StoreError when there is no such topic."""

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Append all records in order, acknowledged. After a StoreError any of them may or may not be in the log."""

    def open_reader(self, topic: str, partition: int, offset: int) -> AbstractAsyncContextManager[PartitionReader]:
        """Read from that offset on. The offset may be the end of the log."""

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        """At most that many of the records that are in the log now, from that offset on. For the topic pages."""

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        """Report the drain's offset to the bus, for other people's monitoring. spotlightd itself never reads it."""


class Spool(Protocol):
    """A bounded, durable, ordered buffer between a socket, which must not wait, and the bus.

    An accepted frame is durable within `fsync_seconds` (or `fsync_bytes`). It stays until the warehouse has it.
    """

    @property
    def error(self) -> str:
        """Why frames cannot be made durable now, for the operator. Empty when they can."""

    def put(self, topic: str, frame: Frame) -> bool:
        """Accept a frame without waiting. False when there is no room for this topic; the frame is then not accepted."""

    async def flush(self) -> None:
        """Wait until all accepted frames are durable. StoreError when they cannot be."""

    def depth(self, topic: str) -> tuple[int, int]:
        """(frames, bytes) that were accepted and are not yet known to be durable in the warehouse."""

    def count_durable(self, topic: str) -> int:
        """How many frames are known to be durable in the warehouse. They count in order: a missing one holds up the rest."""

    async def mark_durable(self, topic: str, durable: Mapping[int, int]) -> None:
        """Frames are durable in the warehouse. `durable` maps a connection to its last durable sequence, inclusive."""
