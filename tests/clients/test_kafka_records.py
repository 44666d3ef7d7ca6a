"""Records on their way to and from a real Kafka: too large ones, lost answers, damage, and what others wrote.

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
from spotlightd.clients.kafka.records import batches
from spotlightd.model.bus import KEY, STRANGER, Records
from tests.clients.kafka_world import PATIENCE, all_of, append, made, opened
from tests.real.kafka import Kafka as Broker


@pytest.fixture
async def bus(kafka: Broker) -> AsyncIterator[Kafka]:
    async with opened(kafka) as bus:
        yield bus


# -- appending ---------------------------------------------------------------------------------------------------------


async def test_a_record_that_is_too_large_is_refused_and_the_next_goes_through(bus: Kafka) -> None:
    topic = await made(bus, max_message_bytes=100_000)
    await append(bus, topic, [b"a"])
    with pytest.raises(StoreError, match="MessageSizeTooLarge"):
        await append(bus, topic, [secrets.token_bytes(200_000)])
    await append(bus, topic, [b"b"])
    assert await all_of(bus, topic) == [b"a", b"b"]


async def test_records_larger_than_a_batch_go_through(bus: Kafka) -> None:
    topic = await made(bus)
    values = [b"a", secrets.token_bytes(5_000_000), b"b", secrets.token_bytes(1_500_000), b"c"]
    await append(bus, topic, values)
    assert await all_of(bus, topic) == values


async def test_an_answer_that_was_lost_doubles_nothing(bus: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await made(bus)
    answered = bus._appending.ask
    lost = 0

    async def lossy(request: Any, node: int = -1) -> Any:
        nonlocal lost
        answer = await answered(request, node)
        if isinstance(request, ProduceRequest) and lost < 2:
            lost += 1
            raise StoreError("constructed: the broker wrote it, and nobody heard")
        return answer

    monkeypatch.setattr(bus._appending, "ask", lossy)
    await append(bus, topic, [b"a", b"b"])
    await append(bus, topic, [b"c"])
    assert lost == 2
    assert await all_of(bus, topic) == [b"a", b"b", b"c"]


async def test_after_an_append_that_was_cut_short_the_next_is_not_taken_for_its_repeat(bus: Kafka) -> None:
    topic = await made(bus)
    await append(bus, topic, [b"a"])
    for turns in range(12):
        cut = asyncio.create_task(append(bus, topic, [b"perhaps"]), name="cut")
        for _ in range(turns):
            await asyncio.sleep(0)
        cut.cancel()
        await asyncio.wait([cut])
        await append(bus, topic, [b"sure %d" % turns])
    found = await all_of(bus, topic)
    assert [value for value in found if value != b"perhaps"] == [b"a", *(b"sure %d" % one for one in range(12))]


# -- records of others -------------------------------------------------------------------------------------------------


async def test_records_of_others_are_read_too(kafka: Broker, bus: Kafka) -> None:
    topic, begun = await made(bus), time.time_ns() // 10**6 * 10**6
    await append(bus, topic, [b"ours"])
    async with AIOKafkaProducer(bootstrap_servers=kafka.address, compression_type="gzip") as other:
        await other.send_and_wait(topic, b"no key", partition=0, timestamp_ms=1_700_000_000_123)
        await other.send_and_wait(topic, None, key=b"no value", partition=0, headers=[("some", b"header")])
    await append(bus, topic, [b"ours again"])
    found = await bus.peek(topic, 0, 0, most=9)
    assert found.values == [b"ours", b"no key", b"", b"ours again"]
    identities = list(KEY.iter_unpack(found.keys))
    assert [connection for _, connection, _, _ in identities] == [7, STRANGER, STRANGER, 7]
    assert identities[1][:3] == (0, STRANGER, 1)
    assert begun <= identities[1][3] <= time.time_ns()  # by the broker's clock, whatever the stranger's said


async def test_a_broker_takes_records_from_whose_clock_is_far_ahead(
    bus: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka refuses what is timed more than an hour ahead, unless it stamps the records itself."""
    topic, ahead = await made(bus), time.time_ns() + 2 * 3_600 * 10**9
    with monkeypatch.context() as patch:
        patch.setattr("spotlightd.clients.kafka.records.time.time_ns", lambda: ahead)
        await append(bus, topic, [b"from later"])
    assert await all_of(bus, topic) == [b"from later"]


async def test_offsets_that_hold_no_record_are_passed_over(kafka: Broker, bus: Kafka) -> None:
    """The end of a transaction takes an offset of its own."""
    topic = await made(bus)
    other = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=topic)
    async with other:
        for value in (b"a", b"b"):
            async with other.transaction():
                await other.send(topic, value, partition=0)
    await append(bus, topic, [b"c"])
    async with bus.reading(topic, 0, 0) as reading:
        groups: list[Records] = []
        while group := await reading.next(frames=9, size=1 << 20, seconds=0.2, idle_seconds=0.5):
            groups.append(group)
    assert [offset for one in groups for offset in one.offsets] == [0, 2, 4]
    assert [value for one in groups for value in one.values] == [b"a", b"b", b"c"]


async def test_a_damaged_batch_is_not_passed_over(bus: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await made(bus)
    for value in (b"a", b"b", b"c"):
        await append(bus, topic, [value])

    def damaged(raw: bytes) -> list[tuple[int, bytes]]:
        return [(behind, one[:-1] + bytes([one[-1] ^ 1]) if behind == 2 else one) for behind, one in batches(raw)]

    async with bus.reading(topic, 0, 0) as reading:
        monkeypatch.setattr("spotlightd.clients.kafka.consumer.batches", damaged)
        found = await reading.next(frames=9, size=1 << 20, seconds=PATIENCE)
        assert found.values == [b"a"]
        for _ in range(2):
            with pytest.raises(StoreError, match="damaged"):
                await reading.next(frames=9, size=1 << 20, seconds=PATIENCE)
