"""Appending to Kafka topics, idempotent: a batch that is asked for again after a lost answer is written once.

Each batch carries the producer's number and, for its partition, a sequence; the broker knows the last five of them.
When it is not certain what became of a batch (no answer in time, or the caller was cancelled), the number is given up:
a later batch with the same sequence would be taken for a repeat, and be lost.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from spotlightd.clients.kafka.connection import AbsentError, Brokers, PassingError, pause, refused, settled
from spotlightd.clients.kafka.consumer import leader_of
from spotlightd.clients.kafka.records import Identity, packed
from spotlightd.errors import StoreError

ALL = -1  # every copy in sync acknowledges
LONGEST = 2**31 - 1  # of the time that a transaction may take: there are none
SEQUENCES = 2**31  # then they start at 0 again
WRITTEN = (0, 46)  # no error; this very batch is there already
ESTRANGED = (45, 47, 49, 59)  # sequence out of order, epoch too old, number not known: the batch was not written


class Producer:
    """One number of ours at the cluster, and the next sequence of each partition."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.sequences: defaultdict[tuple[str, int], int] = defaultdict(int)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a batch is not known to be written; whether it may be asked for again, and under another number."""

    says: str
    again: bool
    estranged: bool = False

    def insist(self, *, in_time: bool) -> None:
        """StoreError unless the batch is worth another try."""
        if not (self.again and in_time):
            raise StoreError(self.says)


class Writer:
    """Appends, one at a time for each partition."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._producer: Producer | None = None
        self._leaders: dict[tuple[str, int], int] = {}
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        place = (topic, partition)
        async with self._turns[place]:
            at = 0
            while at < len(values):
                at += await self._written(place, keys, values, at)

    async def _written(self, place: tuple[str, int], keys: Sequence[bytes], values: Sequence[bytes], at: int) -> int:
        """Write one batch of the records from that one on; how many it held. Tried for as long as a request may take."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._brokers.seconds
        producer = self._producer or await self._introduced()
        batch, count = packed(keys, values, at, producer.identity, producer.sequences[place])
        try:
            while refusal := await self._refused(place, batch):
                refusal.insist(in_time=loop.time() <= end)
                await pause()
                if refusal.estranged:
                    producer = await self._introduced()
                    batch, count = packed(keys, values, at, producer.identity, 0)
        except BaseException:
            if self._producer is producer:
                self._producer = None
            raise
        producer.sequences[place] = (producer.sequences[place] + count) % SEQUENCES
        return count

    async def _introduced(self) -> Producer:
        """A number of our own, fresh from the cluster."""
        self._producer = producer = Producer(await settled(self._numbered, self._brokers.seconds))
        return producer

    async def _numbered(self) -> Identity:
        answer = await self._brokers.ask(InitProducerIdRequest(None, LONGEST))
        if answer.error_code:
            raise refused(self._brokers.named, "lets nobody write", answer.error_code)
        return Identity(answer.producer_id, answer.producer_epoch)

    async def _refused(self, place: tuple[str, int], batch: bytes) -> Refusal | None:
        """Ask for the batch once; None when it is written."""
        topic, partition = place
        try:
            if place not in self._leaders:
                self._leaders[place] = await leader_of(self._brokers, topic, partition)
            wait = round(self._brokers.seconds * 1000)
            asked = ProduceRequest(None, ALL, wait, [(topic, [(partition, batch)])])
            answer = await self._brokers.ask(asked, self._leaders[place])
        except StoreError as problem:
            self._leaders.pop(place, None)
            return Refusal(str(problem), again=not isinstance(problem, AbsentError))
        code = answer.topics[0][1][0][1]
        if code in WRITTEN:
            return None
        estranged = code in ESTRANGED
        if not estranged:
            self._leaders.pop(place, None)
        meaning = refused(self._brokers.named, f"did not take records for {topic}, partition {partition}", code)
        return Refusal(str(meaning), estranged or isinstance(meaning, PassingError), estranged)
