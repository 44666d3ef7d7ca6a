"""Ports for the bus and for the spool in front of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from spotlightd.model.bus import Ends, Frame, Records, Topic


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
