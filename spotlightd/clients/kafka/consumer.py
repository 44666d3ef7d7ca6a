"""Reading one partition of a Kafka topic: the next fetch is under way while the batches of the last are unpacked."""

from __future__ import annotations

import asyncio
from collections import deque

from aiokafka.protocol.fetch import FetchRequest

from spotlightd.clients.kafka.connection import (
    Brokers,
    TransientError,
    UnknownTopicError,
    error_from_code,
    retry_transient,
)
from spotlightd.clients.kafka.records import RecordBuffer, split_batches, unpack_batch
from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import Records, source_mark

PEEK_BYTES = 256 << 10
GATHER_SECONDS = 0.02
FETCH_BYTES = 2 << 20  # compressed; memory holds two responses, and one group unpacked
WAIT_SECONDS = 0.5  # how long a broker waits for records before it answers that there are none
OUT_OF_RANGE = 1


async def fetch_batches(
    brokers: Brokers, topic: str, partition: int, leader: int, offset: int, *, seconds: float, size: int = FETCH_BYTES
) -> list[tuple[int, bytes]]:
    """Batches from that offset on, each with the offset behind it; none when nothing came within `seconds`."""
    wanted = [(topic, [(partition, offset, size)])]
    response = await brokers.send(FetchRequest(round(seconds * 1000), 1, size, 0, wanted), leader)
    if code := getattr(response, "error_code", 0):
        raise error_from_code(brokers.servers, f"returned no records of {topic}", code)
    _, code, *_, raw = response.topics[0][1][0]
    if code == OUT_OF_RANGE:
        raise OffsetError(f"Kafka's topic {topic} has no offset {offset} in partition {partition}")
    if code:
        raise error_from_code(brokers.servers, f"returned no records of {topic}, partition {partition}", code)
    return split_batches(raw or b"")


async def find_leader(brokers: Brokers, topic: str, partition: int) -> int:
    """The broker that leads a partition. StoreError when there is none."""
    description = await brokers.describe_topic(topic)
    if description is None or partition not in description.leaders:
        raise UnknownTopicError(f"Kafka at {brokers.servers} has no topic {topic} with a partition {partition}")
    if (leader := description.leaders[partition]) < 0:
        raise TransientError(f"no broker of Kafka at {brokers.servers} leads {topic}, partition {partition}, now")
    return leader


class KafkaReader:
    """The port `PartitionReader`. After an error it can be called again, and continues where it was.

    A caller that comes late, because it was busy with the group before, does not wait `seconds` again: it waits only as
    long as Kafka needs to return what has gathered meanwhile.
    """

    def __init__(self, brokers: Brokers, topic: str, partition: int, offset: int) -> None:
        self._brokers = brokers
        self._topic = topic
        self._mark = source_mark(topic)
        self._partition = partition
        self._next = offset  # the first offset that is not unpacked yet
        self._batches: deque[tuple[int, bytes]] = deque()
        self._buffer = RecordBuffer()
        self._leader: int | None = None
        self._fetching: asyncio.Task[list[tuple[int, bytes]]] | None = None
        self._fetched_at = 0.0  # when the last response came

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        loop = asyncio.get_running_loop()
        end = self._deadline(seconds) if self._buffer.frames else loop.time() + idle_seconds
        while self._buffer.frames < frames and self._buffer.size < size:
            was_empty = not self._buffer.frames
            try:
                if not await self._read_more(end - loop.time()):
                    break
            except StoreError:
                if was_empty:
                    raise
                break  # the records before the error come first; the error comes again with the next call
            if was_empty and self._buffer.frames:
                end = self._deadline(seconds)
        return self._buffer.take(frames, size)

    def _deadline(self, seconds: float) -> float:
        return max(self._fetched_at + seconds, asyncio.get_running_loop().time() + min(seconds, GATHER_SECONDS))

    async def _read_more(self, seconds: float) -> bool:
        """Unpack one batch, or wait for a response. False when none came in time."""
        if self._batches:
            behind, raw = self._batches[0]
            self._buffer.put(*unpack_batch(raw, self._next, self._mark))
            self._batches.popleft()  # only now: a batch that cannot be read is not skipped
            self._next = behind
            await asyncio.sleep(0)  # other tasks run between two batches
            return True
        fetching = self._fetching = self._fetching or self._start_fetch(self._next)
        await asyncio.wait([fetching], timeout=max(0.0, seconds))
        if not fetching.done():
            return False
        self._fetching = None
        self._batches.extend(fetching.result())
        if self._batches:
            self._fetching = self._start_fetch(self._batches[-1][0])
        return True

    def _start_fetch(self, offset: int) -> asyncio.Task[list[tuple[int, bytes]]]:
        return asyncio.create_task(self._fetch(offset), name=f"fetch {self._topic}/{self._partition}")

    async def _fetch(self, offset: int) -> list[tuple[int, bytes]]:
        batches = await retry_transient(lambda: self._fetch_once(offset), self._brokers.seconds)
        self._fetched_at = asyncio.get_running_loop().time()
        return batches

    async def _fetch_once(self, offset: int) -> list[tuple[int, bytes]]:
        try:
            if self._leader is None:
                self._leader = await find_leader(self._brokers, self._topic, self._partition)
            place = (self._topic, self._partition, self._leader)
            return await fetch_batches(self._brokers, *place, offset, seconds=self._wait_seconds())
        except StoreError:
            self._leader = None  # another broker may be the leader now
            raise

    def _wait_seconds(self) -> float:
        return min(WAIT_SECONDS, self._brokers.seconds / 2)

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
            if not self._fetching.cancelled():
                self._fetching.exception()  # retrieved, because nobody else will
        await self._brokers.close()


async def peek_records(brokers: Brokers, topic: str, partition: int, offset: int, *, most: int, size: int) -> Records:
    """At most `most` records that exist now, of about `size` bytes."""
    buffer = RecordBuffer()
    while buffer.frames < most and buffer.size < size:
        leader = await find_leader(brokers, topic, partition)
        batches = await fetch_batches(brokers, topic, partition, leader, offset, seconds=0, size=PEEK_BYTES)
        if not batches:
            break
        for behind, raw in batches:
            buffer.put(*unpack_batch(raw, offset, source_mark(topic)))
            offset = behind
    return buffer.take(most, size)
