"""Records to and from a real Kafka: too large ones, lost responses, damage, and records of other programs.

What every bus promises is in test_bus.py.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.protocol.produce import ProduceRequest

from spotlightd import StoreError
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.clients.kafka.records import split_batches
from spotlightd.model.bus import FOREIGN_CONNECTION, KEY, Records
from tests.clients.kafka_world import WAIT_SECONDS, append, create_topic, open_bus, read_all
from tests.real.kafka import Kafka as Broker


@pytest.fixture
async def bus(kafka: Broker) -> AsyncIterator[Kafka]:
    async with open_bus(kafka) as bus:
        yield bus


# -- appending ---------------------------------------------------------------------------------------------------------


async def test_a_record_that_is_too_large_is_refused_and_the_next_goes_through(bus: Kafka) -> None:
    topic = await create_topic(bus, max_message_bytes=100_000)
    await append(bus, topic, [b"a"])
    with pytest.raises(StoreError, match="MessageSizeTooLarge"):
        await append(bus, topic, [secrets.token_bytes(200_000)])
    await append(bus, topic, [b"b"])
    assert await read_all(bus, topic) == [b"a", b"b"]


async def test_records_larger_than_a_batch_go_through(bus: Kafka) -> None:
    topic = await create_topic(bus)
    values = [b"a", secrets.token_bytes(5_000_000), b"b", secrets.token_bytes(1_500_000), b"c"]
    await append(bus, topic, values)
    assert await read_all(bus, topic) == values


async def test_a_lost_response_doubles_no_record(bus: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await create_topic(bus)
    send = bus._producer_brokers.send
    lost = 0

    async def lossy(request: Any, node: int = -1) -> Any:
        nonlocal lost
        response = await send(request, node)
        if isinstance(request, ProduceRequest) and lost < 2:
            lost += 1
            raise StoreError("constructed: the broker wrote it, and the response was lost")
        return response

    monkeypatch.setattr(bus._producer_brokers, "send", lossy)
    await append(bus, topic, [b"a", b"b"])
    await append(bus, topic, [b"c"])
    assert lost == 2
    assert await read_all(bus, topic) == [b"a", b"b", b"c"]


async def test_an_append_after_a_cancelled_one_is_not_taken_for_its_repeat(bus: Kafka) -> None:
    topic = await create_topic(bus)
    await append(bus, topic, [b"a"])
    for turns in range(12):
        cut = asyncio.create_task(append(bus, topic, [b"perhaps"]), name="cut")
        for _ in range(turns):
            await asyncio.sleep(0)
        cut.cancel()
        await asyncio.wait([cut])
        await append(bus, topic, [b"sure %d" % turns])
    values = await read_all(bus, topic)
    assert [value for value in values if value != b"perhaps"] == [b"a", *(b"sure %d" % number for number in range(12))]


# -- records of other programs -------------------------------------------------------------------------------------------------


async def test_records_of_other_programs_are_read_too(kafka: Broker, bus: Kafka) -> None:
    topic, begun = await create_topic(bus), time.time_ns() // 10**6 * 10**6
    await append(bus, topic, [b"ours"])
    async with AIOKafkaProducer(bootstrap_servers=kafka.address, compression_type="gzip") as other:
        await other.send_and_wait(topic, b"no key", partition=0, timestamp_ms=1_700_000_000_123)
        await other.send_and_wait(topic, None, key=b"no value", partition=0, headers=[("some", b"header")])
    await append(bus, topic, [b"ours again"])
    records = await bus.peek(topic, 0, 0, most=9)
    assert records.values == [b"ours", b"no key", b"", b"ours again"]
    identities = list(KEY.iter_unpack(records.keys))
    assert [connection for _, connection, _, _ in identities] == [7, FOREIGN_CONNECTION, FOREIGN_CONNECTION, 7]
    assert identities[1][:3] == (0, FOREIGN_CONNECTION, 1)
    assert (
        begun <= identities[1][3] <= time.time_ns()
    )  # by the broker's clock, whatever timestamp the other program sent


async def test_records_from_a_clock_that_is_far_ahead_are_accepted(bus: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka refuses timestamps more than an hour ahead, unless it stamps the records itself."""
    topic, future = await create_topic(bus), time.time_ns() + 2 * 3_600 * 10**9
    with monkeypatch.context() as patch:
        patch.setattr("spotlightd.clients.kafka.records.time.time_ns", lambda: future)
        await append(bus, topic, [b"from later"])
    assert await read_all(bus, topic) == [b"from later"]


async def test_offsets_without_a_record_are_skipped(kafka: Broker, bus: Kafka) -> None:
    """The end of a transaction has an offset of its own."""
    topic = await create_topic(bus)
    other = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=topic)
    async with other:
        for value in (b"a", b"b"):
            async with other.transaction():
                await other.send(topic, value, partition=0)
    await append(bus, topic, [b"c"])
    async with bus.open_reader(topic, 0, 0) as reader:
        groups: list[Records] = []
        while group := await reader.next(frames=9, size=1 << 20, seconds=0.2, idle_seconds=0.5):
            groups.append(group)
    assert [offset for group in groups for offset in group.offsets] == [0, 2, 4]
    assert [value for group in groups for value in group.values] == [b"a", b"b", b"c"]


async def test_a_damaged_batch_is_not_skipped(bus: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await create_topic(bus)
    for value in (b"a", b"b", b"c"):
        await append(bus, topic, [value])

    def damage(raw: bytes) -> list[tuple[int, bytes]]:
        return [
            (behind, batch[:-1] + bytes([batch[-1] ^ 1]) if behind == 2 else batch)
            for behind, batch in split_batches(raw)
        ]

    async with bus.open_reader(topic, 0, 0) as reader:
        monkeypatch.setattr("spotlightd.clients.kafka.consumer.split_batches", damage)
        records = await reader.next(frames=9, size=1 << 20, seconds=WAIT_SECONDS)
        assert records.values == [b"a"]
        for _ in range(2):
            with pytest.raises(StoreError, match="damaged"):
                await reader.next(frames=9, size=1 << 20, seconds=WAIT_SECONDS)
