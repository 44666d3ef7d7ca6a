"""Between a socket, which must not wait, and the bus: frames become durable in a local log, and stay there while needed.

`put` only appends to lists in memory. A task writes them, one group for each topic and partition and all in one
transaction, `fsync_seconds` after the first frame or as soon as `fsync_bytes` wait. A log that refuses (a full disk) is
asked again and again, while frames gather in memory up to a bound; beyond it `put` refuses too.

**Where the local log is the bus, it is the spool as well** (`is_bus`): the spool appends to the very topic that the
drain reads, and there is no second copy. One commit makes a frame both durable and readable, so a copy in between would
add a commit and a hop, and guard against nothing: both files would lie on the same disk. Freed frames stay for
the topic's retention, so that people can look at them; they only need no room here any more. **With Kafka** the
spool has a file of its own, because Kafka does not fsync: its groups are forwarded in order (`log.reading` from the
start of each partition, which is the first group that is not free), and forgotten as soon as they are free. The
difference is that one flag. After a restart a forwarder sends again all that is there; the drain knows repeats.

A group is free when all its frames are durable, and none before it is held. Which sequences it holds stands in the file,
so that this also goes on after a restart. Where the log is the bus, what the drain says it has passed (`committed`) is
free too: after a crash nobody would tell again of the connections of before.

Room: `spool_bytes` is for what is on the disk (compressed) and in memory (as received), and not free. See `shares`.

Measured on two cores that had other work too, with one-trade frames made of real trades (101 bytes and a key of 32): at
10,000 frames a second a commit of 526 frames took 2.2 ms p50, 24 ms p99 (3.5 and 10 with a reader beside), an eighth
of a core, and 19 bytes a frame; `put` takes 2 µs; flat out 0.43 M frames a second were durable.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Self

from spotlightd.clients.locallog.blocks import Group
from spotlightd.clients.locallog.file import LogFile
from spotlightd.errors import StoreError
from spotlightd.model.bus import Frame, Topic, mark, packed, partition_of
from spotlightd.settings.sources import StreamsSettings

CLOSE_SECONDS = 10.0
CONNECTIONS = 10_000  # of which the spool remembers how far they are durable, for each topic
FRAME_BYTES = 80  # what a waiting frame takes beside its value: its key, and two objects
LOWEST_SHARE = 0.8
MEMORY_BYTES = 64 << 20
PAUSE_SECONDS = 0.1
PAUSE_MOST_SECONDS = 2.0


@dataclass(slots=True)
class _Waiting:
    """Frames of one topic and partition in memory, in the order in which they came."""

    keys: bytearray = field(default_factory=bytearray)
    values: list[bytes] = field(default_factory=list)
    size: int = 0


Batch = dict[tuple[str, int], _Waiting]


def shares(priorities: Mapping[str, int]) -> dict[str, float]:
    """By topic the share of the room beyond which it is refused.

    The topics of the highest priority may take all of it, those of the lowest 0.8, and those between stand at equal
    steps: what one priority may not take is left to those above it. Topics of one priority alone may take all.
    """
    steps = sorted(set(priorities.values()))
    step = (1 - LOWEST_SHARE) / max(len(steps) - 1, 1)
    return {topic: 1 - step * (len(steps) - 1 - steps.index(own)) for topic, own in priorities.items()}


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
        self._unwritten = self._unfreed = ""  # why
        self._settings = settings
        self._is_bus = is_bus
        self._topics = {topic.name: topic for topic in topics}
        self._marks = {name: mark(name) for name in self._topics}
        room = shares({name: priorities.get(name, 0) for name in self._topics})
        self._room = {name: int(settings.spool_bytes * share) for name, share in room.items()}
        self._durable: dict[str, dict[int, int]] = {name: {} for name in self._topics}
        self._waiting: Batch = {}  # not yet with the writer
        self._writing: Batch = {}  # with it
        self._memory = 0  # bytes of both
        self._pending = 0  # bytes of the first
        self._taken = self._written = 0
        self._due = asyncio.Event()
        self._tried = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for topic in self._topics.values():
            await self._log.ensure(topic)
        self._writer = asyncio.create_task(self._write(), name="spool")
        self._writer.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flushed()
        except TimeoutError as problem:
            raise StoreError(f"frames were not durable within {CLOSE_SECONDS:.0f} s of the stop") from problem
        finally:
            await self._end()

    @property
    def trouble(self) -> str:
        """Why frames cannot be made durable now, or not be freed, for the operator; empty when all is well."""
        return self._unwritten or self._unfreed

    async def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])

    def _ended(self, writer: asyncio.Task[None]) -> None:
        """Nothing but a stop should end it: then nothing is taken any more, and this says why."""
        problem = None if writer.cancelled() else writer.exception()
        if problem is not None:
            self._unwritten = f"the writer of the spool ended: {problem!r}"
        self._tell()

    def put(self, topic: str, frame: Frame) -> bool:
        cost = FRAME_BYTES + len(frame.value)
        stored = sum(self._log.held(name)[1] for name in self._topics)
        if (
            stored + self._memory + cost > self._room[topic]
            or self._memory + cost > MEMORY_BYTES
            or not self._is_open()
        ):
            return False
        if not self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self._settings.fsync_seconds, self._due.set)
        place = (topic, partition_of(frame.connection, self._topics[topic].partitions))
        waiting = self._waiting.setdefault(place, _Waiting())
        waiting.keys += packed(self._marks[topic], frame)
        waiting.values.append(frame.value)
        waiting.size += cost
        self._memory += cost
        self._pending += cost
        self._taken += 1
        if self._pending >= self._settings.fsync_bytes:
            self._due.set()
        return True

    def _is_open(self) -> bool:
        return self._writer is not None and not self._writer.done()

    async def flushed(self) -> None:
        target = self._taken
        if self._written < target:
            self._due.set()
        while self._written < target:
            if not self._is_open():
                raise StoreError(f"frames that were taken are not durable: {self._unwritten or 'the spool is closed'}")
            await self._tried.wait()
            if self._unwritten and self._written < target:
                raise StoreError(f"frames cannot be made durable: {self._unwritten}")

    def depth(self, topic: str) -> tuple[int, int]:
        waiting = [one for batch in (self._waiting, self._writing) for (name, _), one in batch.items() if name == topic]
        frames, size = self._log.held(topic)
        return frames + sum(len(one.values) for one in waiting), size + sum(one.size for one in waiting)

    def freed(self, topic: str) -> int:
        return sum(part.freed for part in self._log.parts(topic))

    async def free(self, topic: str, durable: Mapping[int, int]) -> None:
        """What the log refuses to forget now goes with a later call: `trouble` says so."""
        known = self._durable[topic]
        for connection, sequence in durable.items():
            known[connection] = max(known.pop(connection, -1), sequence)
        while len(known) > CONNECTIONS:
            del known[next(iter(known))]
        try:
            await self._log.free(topic, known)
            if not self._is_bus:
                for part in self._log.parts(topic):
                    await self._log.trim(topic, part.partition, part.freed)
        except StoreError as problem:
            self._unfreed = f"frames cannot be freed: {problem}"
        else:
            self._unfreed = ""

    # the writer

    async def _write(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
            self._writing, self._waiting, self._pending = self._waiting, {}, 0
            if self._writing:
                await self._insist()
            self._tell()

    async def _insist(self) -> None:
        """Append what is being written, again and again until the log takes it: what comes meanwhile is bounded."""
        groups = [Group(*place, bytes(one.keys), one.values) for place, one in self._writing.items()]
        for pause in _pauses():
            try:
                await self._log.write(groups)
                break
            except StoreError as problem:
                self._unwritten = str(problem)
                self._tell()
                await asyncio.sleep(pause)
        self._unwritten = ""
        self._memory -= sum(one.size for one in self._writing.values())
        self._written += sum(len(one.values) for one in self._writing.values())
        self._writing = {}

    def _tell(self) -> None:
        """To those who wait for what was taken: it was tried."""
        tried, self._tried = self._tried, asyncio.Event()
        tried.set()


def _pauses() -> Iterator[float]:
    """Between tries, with jitter."""
    for tried in count():
        yield min(PAUSE_SECONDS * 2.0 ** min(tried, 10), PAUSE_MOST_SECONDS) * random.uniform(0.5, 1)  # noqa: S311 - no secret
