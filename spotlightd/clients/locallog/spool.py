"""Between a socket, which must not wait, and the bus: frames become durable in a local log and stay while needed.

`put` only appends to lists in memory. A task writes them, one group for each topic and partition and all in one
transaction, `fsync_seconds` after the first frame or as soon as `fsync_bytes` wait. When the log refuses (a full disk),
the write is repeated, while frames gather in memory up to a limit; beyond it `put` refuses too.

**Where the local log is the bus, it is the spool as well** (`is_bus`): the spool appends to the very topic that the
drain reads, and there is no second copy. One commit makes a frame both durable and readable. A copy in between would add
a commit and a hop, and protect against nothing, because both files would lie on the same disk. Frames that are durable in
the warehouse stay for the topic's retention, so that people can look at them; they only need no room here any more.
**With Kafka** the spool has a file of its own, because Kafka does not fsync. Its groups are forwarded in order from
the start of each partition, because everything before it is durable in the warehouse and was deleted; each is deleted as
soon as it is durable there too. `is_bus` is the only difference. After a restart a forwarder sends all groups
again that are in the file; the drain recognises repeats.

A group is durable when all its frames are, and all groups before it are. The sequences of a group are in the file, so that
this also works after a restart. Where the log is the bus, frames below the committed offset count as durable too:
otherwise, after a crash, frames of earlier connections would never be marked.

Room: `spool_bytes` is for frames on the disk (compressed) and in memory (as received) that are not durable in the
warehouse. See `capacity_shares`.

Measured on two cores that had other work too, with one-trade frames made of real trades (101 bytes and a key of 32): at
10,000 frames a second a commit of 526 frames took 2.2 ms p50, 24 ms p99 (3.5 and 10 with a reader beside), an eighth
of a core, and 19 bytes a frame; `put` takes 2 µs; without a pause 0.43 M frames a second became durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from spotlightd.backoff import Backoff
from spotlightd.clients.locallog.blocks import Group
from spotlightd.clients.locallog.file import LogFile
from spotlightd.errors import StoreError
from spotlightd.model.bus import Frame, Topic, pack_key, partition_of, source_mark
from spotlightd.settings.sources import StreamsSettings

CLOSE_SECONDS = 10.0
CONNECTIONS = 10_000  # for each topic, how many connections the spool remembers the durable sequence of
FRAME_BYTES = 80  # what a waiting frame takes beside its value: its key, and two objects
LOWEST_SHARE = 0.8
MEMORY_BYTES = 64 << 20
BACKOFF = Backoff(0.1, 2.0)


@dataclass(slots=True)
class _FrameBatch:
    """Frames of one topic and partition in memory, in the order in which they came."""

    keys: bytearray = field(default_factory=bytearray)
    values: list[bytes] = field(default_factory=list)
    size: int = 0


Batches = dict[tuple[str, int], _FrameBatch]


def capacity_shares(priorities: Mapping[str, int]) -> dict[str, float]:
    """The share of the spool that each topic may fill. Beyond it the topic's frames are refused.

    Topics of the highest priority may fill all of the spool, topics of the lowest priority 80 %. The priorities between
    have equally spaced shares. So each priority leaves space for the higher ones. If all topics have the same priority,
    each may fill all of it.
    """
    steps = sorted(set(priorities.values()))
    step = (1 - LOWEST_SHARE) / max(len(steps) - 1, 1)
    return {topic: 1 - step * (len(steps) - 1 - steps.index(priority)) for topic, priority in priorities.items()}


class LogSpool:
    """The port `Spool`."""

    def __init__(
        self,
        log: LogFile,
        settings: StreamsSettings,
        topics: Sequence[Topic],
        priorities: Mapping[str, int],
        *,
        is_bus: bool,
    ) -> None:
        self._log = log
        self._write_error = self._mark_error = ""
        self._settings = settings
        self._is_bus = is_bus
        self._topics = {topic.name: topic for topic in topics}
        self._marks = {name: source_mark(name) for name in self._topics}
        shares = capacity_shares({name: priorities.get(name, 0) for name in self._topics})
        self._capacity = {name: int(settings.spool_bytes * share) for name, share in shares.items()}
        self._durable: dict[str, dict[int, int]] = {name: {} for name in self._topics}
        self._queued: Batches = {}  # not yet with the writer
        self._writing: Batches = {}  # with the writer
        self._memory_bytes = 0  # of both
        self._queued_bytes = 0
        self._accepted = self._written = 0  # frames since the start
        self._write_due = asyncio.Event()
        self._attempted = asyncio.Event()  # set and replaced after each attempt to write
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for topic in self._topics.values():
            await self._log.ensure(topic)
        self._writer = asyncio.create_task(self._run_writer(), name="spool")
        self._writer.add_done_callback(self._on_writer_end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()
        except TimeoutError as problem:
            raise StoreError(f"frames were not durable within {CLOSE_SECONDS:.0f} s of the stop") from problem
        finally:
            await self._stop_writer()

    @property
    def error(self) -> str:
        """Why frames cannot be made durable or be deleted now, for the operator; empty when all is well."""
        return self._write_error or self._mark_error

    async def _stop_writer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])

    def _on_writer_end(self, writer: asyncio.Task[None]) -> None:
        """Only a stop should end the writer. After anything else no frame is accepted, and the error says why."""
        problem = None if writer.cancelled() else writer.exception()
        if problem is not None:
            self._write_error = f"the writer of the spool ended: {problem!r}"
        self._wake_waiters()

    def put(self, topic: str, frame: Frame) -> bool:
        cost = FRAME_BYTES + len(frame.value)
        stored = sum(self._log.pending(name)[1] for name in self._topics)
        if (
            stored + self._memory_bytes + cost > self._capacity[topic]
            or self._memory_bytes + cost > MEMORY_BYTES
            or not self._is_open()
        ):
            return False
        if not self._queued:
            self._timer = asyncio.get_running_loop().call_later(self._settings.fsync_seconds, self._write_due.set)
        place = (topic, partition_of(frame.connection, self._topics[topic].partitions))
        batch = self._queued.setdefault(place, _FrameBatch())
        batch.keys += pack_key(self._marks[topic], frame)
        batch.values.append(frame.value)
        batch.size += cost
        self._memory_bytes += cost
        self._queued_bytes += cost
        self._accepted += 1
        if self._queued_bytes >= self._settings.fsync_bytes:
            self._write_due.set()
        return True

    def _is_open(self) -> bool:
        return self._writer is not None and not self._writer.done()

    async def flush(self) -> None:
        target = self._accepted
        if self._written < target:
            self._write_due.set()
        while self._written < target:
            if not self._is_open():
                reason = self._write_error or "the spool is closed"
                raise StoreError(f"frames that were accepted are not durable: {reason}")
            await self._attempted.wait()
            if self._write_error and self._written < target:
                raise StoreError(f"frames cannot be made durable: {self._write_error}")

    def depth(self, topic: str) -> tuple[int, int]:
        in_memory = [
            batch for batches in (self._queued, self._writing) for (name, _), batch in batches.items() if name == topic
        ]
        frames, size = self._log.pending(topic)
        return frames + sum(len(batch.values) for batch in in_memory), size + sum(batch.size for batch in in_memory)

    def count_durable(self, topic: str) -> int:
        return sum(state.durable_end for state in self._log.partitions(topic))

    async def mark_durable(self, topic: str, durable: Mapping[int, int]) -> None:
        """When the log refuses now, a later call marks these frames too; `error` says so until then."""
        last_sequences = self._durable[topic]
        for connection, sequence in durable.items():
            last_sequences[connection] = max(last_sequences.pop(connection, -1), sequence)
        while len(last_sequences) > CONNECTIONS:
            del last_sequences[next(iter(last_sequences))]
        try:
            await self._log.mark_durable(topic, last_sequences)
            if not self._is_bus:
                for state in self._log.partitions(topic):
                    await self._log.trim(topic, state.partition, state.durable_end)
        except StoreError as problem:
            self._mark_error = f"frames cannot be deleted from the spool: {problem}"
        else:
            self._mark_error = ""

    # the writer

    async def _run_writer(self) -> None:
        while True:
            await self._write_due.wait()
            self._write_due.clear()
            if self._timer is not None:
                self._timer.cancel()
            self._writing, self._queued, self._queued_bytes = self._queued, {}, 0
            if self._writing:
                await self._write_until_done()
            self._wake_waiters()

    async def _write_until_done(self) -> None:
        """Append the batches, again and again until the log accepts them. What gathers meanwhile is limited."""
        groups = [Group(*place, bytes(batch.keys), batch.values) for place, batch in self._writing.items()]
        failures = 0
        while True:
            try:
                await self._log.write(groups)
                break
            except StoreError as problem:
                failures += 1
                self._write_error = str(problem)
                self._wake_waiters()
                await asyncio.sleep(BACKOFF.pause(failures))
        self._write_error = ""
        self._memory_bytes -= sum(batch.size for batch in self._writing.values())
        self._written += sum(len(batch.values) for batch in self._writing.values())
        self._writing = {}

    def _wake_waiters(self) -> None:
        """Wake those who wait for a flush: the writer made an attempt."""
        attempted, self._attempted = self._attempted, asyncio.Event()
        attempted.set()
