"""Reading one partition of a Kafka topic: one answer is always on its way while the one before is unpacked."""

from __future__ import annotations

import asyncio
from collections import deque

from aiokafka.protocol.fetch import FetchRequest

from spotlightd.clients.kafka.connection import AbsentError, Brokers, PassingError, refused, settled
from spotlightd.clients.kafka.records import Held, batches, unpacked
from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import Records, mark

PEEK_BYTES = 256 << 10
GATHER_SECONDS = 0.02
FETCH_BYTES = 2 << 20  # packed; memory holds two answers, and one group unpacked
WAIT_SECONDS = 0.5  # how long a broker waits for something to answer
OUT_OF_RANGE = 1


async def fetched(
    brokers: Brokers, topic: str, partition: int, leader: int, offset: int, *, seconds: float, size: int = FETCH_BYTES
) -> list[tuple[int, bytes]]:
    """What is there from that offset on, as batches; none when nothing came within `seconds`."""
    asked = [(topic, [(partition, offset, size)])]
    answer = await brokers.ask(FetchRequest(round(seconds * 1000), 1, size, 0, asked), leader)
    if code := getattr(answer, "error_code", 0):
        raise refused(brokers.named, f"gives nothing of {topic}", code)
    _, code, *_, raw = answer.topics[0][1][0]
    if code == OUT_OF_RANGE:
        raise OffsetError(f"Kafka's topic {topic} has no offset {offset} in partition {partition}")
    if code:
        raise refused(brokers.named, f"does not give {topic}, partition {partition}", code)
    return batches(raw or b"")


async def leader_of(brokers: Brokers, topic: str, partition: int) -> int:
    """The broker to ask about a partition. StoreError when there is none."""
    described = await brokers.topic(topic)
    if described is None or partition not in described.leaders:
        raise AbsentError(f"Kafka at {brokers.named} has no topic {topic} with a partition {partition}")
    if (leader := described.leaders[partition]) < 0:
        raise PassingError(f"no broker of Kafka at {brokers.named} leads {topic}, partition {partition}, now")
    return leader


class KafkaReading:
    """The port `Reading`. After an error it may be asked again, and goes on where it was.

    Who comes late, because he was busy with the group before, does not wait `seconds` anew: only as long as Kafka needs
    to tell what has gathered meanwhile.
    """

    def __init__(self, brokers: Brokers, topic: str, partition: int, offset: int) -> None:
        self._brokers = brokers
        self._topic = topic
        self._mark = mark(topic)
        self._partition = partition
        self._next = offset  # the first one that is not unpacked yet
        self._packed: deque[tuple[int, bytes]] = deque()
        self._held = Held()
        self._leader: int | None = None
        self._coming: asyncio.Task[list[tuple[int, bytes]]] | None = None
        self._came = 0.0  # when the last answer did

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        loop = asyncio.get_running_loop()
        end = self._until(seconds) if self._held.frames else loop.time() + idle_seconds
        while self._held.frames < frames and self._held.size < size:
            none = not self._held.frames
            try:
                if not await self._more(end - loop.time()):
                    break
            except StoreError:
                if none:
                    raise
                break  # what is there first; the error comes again with the next call
            if none and self._held.frames:
                end = self._until(seconds)
        return self._held.take(frames, size)

    def _until(self, seconds: float) -> float:
        return max(self._came + seconds, asyncio.get_running_loop().time() + min(seconds, GATHER_SECONDS))

    async def _more(self, seconds: float) -> bool:
        """Unpack one batch, or wait for an answer. False when none came in time."""
        if self._packed:
            behind, raw = self._packed[0]
            self._held.put(*unpacked(raw, self._next, self._mark))
            self._packed.popleft()  # not before: what cannot be read is not passed over
            self._next = behind
            await asyncio.sleep(0)  # between two batches, others have their turn
            return True
        coming = self._coming = self._coming or self._asked(self._next)
        await asyncio.wait([coming], timeout=max(0.0, seconds))
        if not coming.done():
            return False
        self._coming = None
        self._packed.extend(coming.result())
        if self._packed:
            self._coming = self._asked(self._packed[-1][0])
        return True

    def _asked(self, offset: int) -> asyncio.Task[list[tuple[int, bytes]]]:
        return asyncio.create_task(self._fetched(offset), name=f"fetch {self._topic}/{self._partition}")

    async def _fetched(self, offset: int) -> list[tuple[int, bytes]]:
        found = await settled(lambda: self._attempted(offset), self._brokers.seconds)
        self._came = asyncio.get_running_loop().time()
        return found

    async def _attempted(self, offset: int) -> list[tuple[int, bytes]]:
        try:
            if self._leader is None:
                self._leader = await leader_of(self._brokers, self._topic, self._partition)
            place = (self._topic, self._partition, self._leader)
            return await fetched(self._brokers, *place, offset, seconds=self._waits())
        except StoreError:
            self._leader = None  # perhaps it is another one now
            raise

    def _waits(self) -> float:
        return min(WAIT_SECONDS, self._brokers.seconds / 2)

    async def close(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])
            if not self._coming.cancelled():
                self._coming.exception()  # nobody asks for it any more
        await self._brokers.close()


async def peeked(brokers: Brokers, topic: str, partition: int, offset: int, *, most: int, size: int) -> Records:
    """At most `most` records that are there now, of about `size` bytes."""
    held = Held()
    while held.frames < most and held.size < size:
        leader = await leader_of(brokers, topic, partition)
        found = await fetched(brokers, topic, partition, leader, offset, seconds=0, size=PEEK_BYTES)
        if not found:
            break
        for behind, raw in found:
            held.put(*unpacked(raw, offset, mark(topic)))
            offset = behind
    return held.take(most, size)
