"""Apache Kafka as the port `Bus`, over aiokafka's connections, protocol and codecs.

What a topic's id is good for: offsets alone do not tell that a topic was deleted and made anew, or the broker wiped;
`log_id` does, in one request. Offsets that are committed here are for other people's monitoring: they expire, and come
back from the dead in a topic that was made anew.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.offset import OffsetRequest

from spotlightd.clients.kafka.connection import AbsentError, Brokers, refused, settled
from spotlightd.clients.kafka.consumer import KafkaReading, peeked
from spotlightd.clients.kafka.producer import Writer
from spotlightd.clients.kafka.topics import ensured
from spotlightd.errors import StoreError
from spotlightd.model.bus import Ends, Records, Topic
from spotlightd.ports.bus import Reading
from spotlightd.settings.sources import BusSettings as Settings

EARLIEST, LATEST = -2, -1
PEEK_BYTES = 16 << 20
GROUP = 0  # the kind of coordinator that keeps committed offsets
QUIET_SECONDS = 60.0


class Kafka:
    """The port `Bus`, opened with `async with`; nothing connects before it is needed. Errors name the brokers."""

    def __init__(self, settings: Settings, password: str = "") -> None:
        self._settings = settings
        self._password = password
        self._asking = Brokers(settings, password)
        self._appending = Brokers(settings, password)
        self._writer = Writer(self._appending)
        self._coordinators: dict[str, int] = {}
        self._seldom = Seldom()

    async def __aenter__(self) -> Self:
        logging.getLogger("aiokafka.conn").addFilter(self._seldom)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._appending.close()
        await self._asking.close()
        logging.getLogger("aiokafka.conn").removeFilter(self._seldom)

    async def ping(self) -> None:
        await self._asking.cluster()

    async def ensure(self, topic: Topic) -> None:
        await ensured(self._asking, topic, self._settings.replication)

    async def log_id(self, topic: str) -> str:
        described = await self._asking.topic(topic)
        return described.id if described else ""

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        return await settled(lambda: self._ends(topic), self._asking.seconds)

    async def _ends(self, topic: str) -> Mapping[int, Ends]:
        described = await self._asking.topic(topic)
        if described is None:
            raise AbsentError(f"Kafka at {self._asking.named} has no topic {topic}")
        starts = await self._offsets(topic, described.leaders, EARLIEST)
        ends = await self._offsets(topic, described.leaders, LATEST)
        return {partition: Ends(starts[partition], ends[partition]) for partition in sorted(described.leaders)}

    async def _offsets(self, topic: str, leaders: Mapping[int, int], which: int) -> Mapping[int, int]:
        led: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for partition, leader in leaders.items():
            led[leader].append((partition, which))
        found: dict[int, int] = {}
        for leader, asked in led.items():
            answer = await self._asking.ask(OffsetRequest(-1, 0, [(topic, asked)]), leader)
            for partition, code, _, offset in answer.topics[0][1]:
                self._check(f"does not tell the ends of {topic}, partition {partition}", code)
                found[partition] = offset
        return found

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        await self._writer.append(topic, partition, keys, values)

    @asynccontextmanager
    async def reading(self, topic: str, partition: int, offset: int) -> AsyncIterator[Reading]:
        reading = KafkaReading(Brokers(self._settings, self._password), topic, partition, offset)
        try:
            yield reading
        finally:
            await reading.close()

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        looking = self._asking
        return await settled(
            lambda: peeked(looking, topic, partition, offset, most=most, size=PEEK_BYTES), looking.seconds
        )

    async def committed(self, topic: str, partition: int, offset: int) -> None:
        await settled(lambda: self._commit(f"spotlightd-{topic}", topic, partition, offset), self._asking.seconds)

    async def _commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        try:
            if group not in self._coordinators:
                self._coordinators[group] = await self._coordinator(group)
            asked = OffsetCommitRequest(group, -1, "", -1, [(topic, [(partition, offset, "")])])
            answer = await self._asking.ask(asked, self._coordinators[group])
            self._check(f"did not keep the offset of {group}", answer.topics[0][1][0][1])
        except StoreError:
            self._coordinators.pop(group, None)  # perhaps it is another one now
            raise

    async def _coordinator(self, group: str) -> int:
        found = await self._asking.ask(FindCoordinatorRequest(group, GROUP))
        self._check(f"keeps no offsets for {group}", found.error_code)
        await self._asking.cluster()  # where that broker is
        return int(found.coordinator_id)

    def _check(self, act: str, code: int) -> None:
        if code:
            raise refused(self._asking.named, act, code)


class Seldom(logging.Filter):
    """The same words of a library once a minute, however often it says them."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[Any, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said.get(record.msg, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._said[record.msg] = now
        return True
