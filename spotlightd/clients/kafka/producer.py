"""Appending to Kafka topics, idempotently: a batch that is sent again after a lost response is written once.

Each batch carries the producer's id and a sequence for its partition; the broker remembers the last five batches. When
the outcome of a batch is not known (no response in time, or the caller was cancelled), the producer id is given up: the
broker would take a later batch with the same sequence for a repeat, and the later batch would be lost.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from spotlightd.clients.kafka.connection import (
    BACKOFF,
    Brokers,
    TransientError,
    UnknownTopicError,
    error_from_code,
    retry_transient,
)
from spotlightd.clients.kafka.consumer import find_leader
from spotlightd.clients.kafka.records import ProducerId, pack_batch
from spotlightd.errors import StoreError

ALL = -1  # all replicas in sync must acknowledge
TRANSACTION_MS = 2**31 - 1  # the longest that the protocol knows; there are no transactions here
SEQUENCES = 2**31  # then they start at 0 again
WRITTEN_CODES = (0, 46)  # no error; DuplicateSequenceNumber: this very batch is there already
# OutOfOrderSequenceNumber, InvalidProducerEpoch, InvalidProducerIdMapping, UnknownProducerId: the batch was not written.
NEW_ID_CODES = (45, 47, 49, 59)


class ProducerSession:
    """A producer id of the cluster, and the next sequence of each partition."""

    def __init__(self, producer_id: ProducerId) -> None:
        self.id = producer_id
        self.sequences: defaultdict[tuple[str, int], int] = defaultdict(int)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a batch is not known to be written; whether it may be sent again, and whether that needs a new producer id."""

    detail: str
    can_retry: bool
    needs_new_id: bool = False

    def raise_unless_retriable(self, *, in_time: bool) -> None:
        """StoreError unless the batch may be sent again."""
        if not (self.can_retry and in_time):
            raise StoreError(self.detail)


class KafkaProducer:
    """Appends, one batch at a time for each partition."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._session: ProducerSession | None = None
        self._leaders: dict[tuple[str, int], int] = {}
        self._locks: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        place = (topic, partition)
        async with self._locks[place]:
            at = 0
            while at < len(values):
                at += await self._append_batch(place, keys, values, at)

    async def _append_batch(
        self, place: tuple[str, int], keys: Sequence[bytes], values: Sequence[bytes], at: int
    ) -> int:
        """Write the records from index `at` on that fit into one batch; return their number.

        A rejected batch is sent again until the time limit of a request has passed.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._brokers.seconds
        session = self._session or await self._start_session()
        batch, count = pack_batch(keys, values, at, session.id, session.sequences[place])
        failures = 0
        try:
            while rejection := await self._send_batch(place, batch):
                rejection.raise_unless_retriable(in_time=loop.time() <= end)
                failures += 1
                await asyncio.sleep(BACKOFF.pause(failures))
                if rejection.needs_new_id:
                    session = await self._start_session()
                    batch, count = pack_batch(keys, values, at, session.id, 0)
        except BaseException:
            if self._session is session:
                self._session = None
            raise
        session.sequences[place] = (session.sequences[place] + count) % SEQUENCES
        return count

    async def _start_session(self) -> ProducerSession:
        self._session = session = ProducerSession(await retry_transient(self._request_id, self._brokers.seconds))
        return session

    async def _request_id(self) -> ProducerId:
        response = await self._brokers.send(InitProducerIdRequest(None, TRANSACTION_MS))
        if response.error_code:
            raise error_from_code(self._brokers.servers, "gave no producer id", response.error_code)
        return ProducerId(response.producer_id, response.producer_epoch)

    async def _send_batch(self, place: tuple[str, int], batch: bytes) -> Rejection | None:
        """Send the batch once; None when it is written."""
        topic, partition = place
        try:
            if place not in self._leaders:
                self._leaders[place] = await find_leader(self._brokers, topic, partition)
            wait_ms = round(self._brokers.seconds * 1000)
            request = ProduceRequest(None, ALL, wait_ms, [(topic, [(partition, batch)])])
            response = await self._brokers.send(request, self._leaders[place])
        except StoreError as problem:
            self._leaders.pop(place, None)
            return Rejection(str(problem), can_retry=not isinstance(problem, UnknownTopicError))
        code = response.topics[0][1][0][1]
        if code in WRITTEN_CODES:
            return None
        needs_new_id = code in NEW_ID_CODES
        if not needs_new_id:
            self._leaders.pop(place, None)
        error = error_from_code(self._brokers.servers, f"rejected records for {topic}, partition {partition}", code)
        return Rejection(str(error), needs_new_id or isinstance(error, TransientError), needs_new_id)
