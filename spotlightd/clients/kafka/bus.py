"""Apache Kafka as the port `Bus`, over aiokafka's connections, protocol and codecs.

`log_id` is the id that Kafka gives a topic. Offsets look the same after a topic was created again or the broker was
wiped; the id does not, and one request reads it. The offsets that are committed here serve other people's monitoring only:
they expire, or reappear in a new topic of the same name.
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

from spotlightd.clients.kafka.connection import Brokers, UnknownTopicError, error_from_code, retry_transient
from spotlightd.clients.kafka.consumer import KafkaReader, peek_records
from spotlightd.clients.kafka.producer import KafkaProducer
from spotlightd.clients.kafka.topics import ensure_topic
from spotlightd.errors import StoreError
from spotlightd.model.bus import Ends, Records, Topic
from spotlightd.ports.bus import PartitionReader
from spotlightd.settings.sources import BusSettings

EARLIEST, LATEST = -2, -1
PEEK_BYTES = 16 << 20
GROUP = 0  # the kind of coordinator that keeps committed offsets
QUIET_SECONDS = 60.0


class Kafka:
    """The port `Bus`, opened with `async with`. It connects at the first request. Errors name the brokers."""

    def __init__(self, settings: BusSettings, password: str = "") -> None:
        self._settings = settings
        self._password = password
        self._brokers = Brokers(settings, password)
        self._producer_brokers = Brokers(settings, password)
        self._producer = KafkaProducer(self._producer_brokers)
        self._coordinators: dict[str, int] = {}
        self._log_filter = RepeatFilter()

    async def __aenter__(self) -> Self:
        logging.getLogger("aiokafka.conn").addFilter(self._log_filter)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer_brokers.close()
        await self._brokers.close()
        logging.getLogger("aiokafka.conn").removeFilter(self._log_filter)

    async def ping(self) -> None:
        await self._brokers.fetch_metadata()

    async def ensure(self, topic: Topic) -> None:
        await ensure_topic(self._brokers, topic, self._settings.replication)

    async def log_id(self, topic: str) -> str:
        description = await self._brokers.describe_topic(topic)
        return description.id if description else ""

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        return await retry_transient(lambda: self._fetch_ends(topic), self._brokers.seconds)

    async def _fetch_ends(self, topic: str) -> Mapping[int, Ends]:
        description = await self._brokers.describe_topic(topic)
        if description is None:
            raise UnknownTopicError(f"Kafka at {self._brokers.servers} has no topic {topic}")
        starts = await self._fetch_offsets(topic, description.leaders, EARLIEST)
        ends = await self._fetch_offsets(topic, description.leaders, LATEST)
        return {partition: Ends(starts[partition], ends[partition]) for partition in sorted(description.leaders)}

    async def _fetch_offsets(self, topic: str, leaders: Mapping[int, int], which: int) -> Mapping[int, int]:
        """By partition its first offset (EARLIEST), or the one behind its last (LATEST)."""
        partitions: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for partition, leader in leaders.items():
            partitions[leader].append((partition, which))
        offsets: dict[int, int] = {}
        for leader, wanted in partitions.items():
            response = await self._brokers.send(OffsetRequest(-1, 0, [(topic, wanted)]), leader)
            for partition, code, _, offset in response.topics[0][1]:
                self._check(f"did not return the offsets of {topic}, partition {partition}", code)
                offsets[partition] = offset
        return offsets

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        await self._producer.append(topic, partition, keys, values)

    @asynccontextmanager
    async def open_reader(self, topic: str, partition: int, offset: int) -> AsyncIterator[PartitionReader]:
        reader = KafkaReader(Brokers(self._settings, self._password), topic, partition, offset)
        try:
            yield reader
        finally:
            await reader.close()

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        brokers = self._brokers
        return await retry_transient(
            lambda: peek_records(brokers, topic, partition, offset, most=most, size=PEEK_BYTES), brokers.seconds
        )

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        group = f"spotlightd-{topic}"
        await retry_transient(lambda: self._commit(group, topic, partition, offset), self._brokers.seconds)

    async def _commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        try:
            if group not in self._coordinators:
                self._coordinators[group] = await self._find_coordinator(group)
            request = OffsetCommitRequest(group, -1, "", -1, [(topic, [(partition, offset, "")])])
            response = await self._brokers.send(request, self._coordinators[group])
            self._check(f"did not commit the offset of {group}", response.topics[0][1][0][1])
        except StoreError:
            self._coordinators.pop(group, None)  # another broker may be the coordinator now
            raise

    async def _find_coordinator(self, group: str) -> int:
        response = await self._brokers.send(FindCoordinatorRequest(group, GROUP))
        self._check(f"has no coordinator for {group}", response.error_code)
        await self._brokers.fetch_metadata()  # for the address of that broker
        return int(response.coordinator_id)

    def _check(self, failure: str, code: int) -> None:
        if code:
            raise error_from_code(self._brokers.servers, failure, code)


class RepeatFilter(logging.Filter):
    """Lets each message of a library through once a minute, however often it is logged."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[Any, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(record.msg, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._logged_at[record.msg] = now
        return True
