"""What every bus promises: the same tests for each implementation of the port `Bus`.

They use only the port, and topics of their own, so that all of them can share one bus.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from time import time_ns

import pytest

from spotlightd import StoreError
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.errors import OffsetError
from spotlightd.model.bus import FOREIGN_CONNECTION, KEY, Ends, Frame, Records, Topic, pack_key, source_mark
from spotlightd.ports.bus import Bus, PartitionReader
from spotlightd.settings import sources

WAIT_SECONDS = 20.0
SHORT_SECONDS = 0.05


@pytest.fixture(params=["embedded", "kafka"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    if request.param == "embedded":
        async with LocalLog(tmp_path / "bus.sqlite") as log:
            yield log
    else:
        broker = request.getfixturevalue("kafka")
        async with Kafka(sources.BusSettings(kind="kafka", servers=[broker.address])) as bus:
            yield bus


@pytest.fixture
async def topic(bus: Bus) -> str:
    """A topic of two partitions."""
    return await create_topic(bus, partitions=2)


async def create_topic(bus: Bus, *, partitions: int = 1) -> str:
    name = f"constructed_{secrets.token_hex(6)}"
    await bus.ensure(Topic(name, partitions))
    return name


def make_keys(topic: str, sequences: Sequence[int], connection: int = 7) -> list[bytes]:
    now = time_ns()
    return [pack_key(source_mark(topic), Frame(connection, sequence, now + sequence, b"")) for sequence in sequences]


async def append(bus: Bus, topic: str, values: Sequence[bytes], *, partition: int = 0, first: int = 0) -> list[bytes]:
    """Append the values; returns their keys."""
    keys = make_keys(topic, range(first, first + len(values)))
    await bus.append(topic, partition, keys, values)
    return keys


async def read(reader: PartitionReader, count: int, *, frames: int = 1_000, size: int = 1 << 24) -> list[Records]:
    """Read groups until they hold so many records."""
    groups: list[Records] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while sum(map(len, groups)) < count:
            groups.append(
                await reader.next(frames=frames, size=size, seconds=SHORT_SECONDS, idle_seconds=SHORT_SECONDS)
            )
    return [group for group in groups if len(group)]


def values_of(groups: Sequence[Records]) -> list[bytes]:
    return [value for group in groups for value in group.values]


def offsets_of(groups: Sequence[Records]) -> list[int]:
    return [offset for group in groups for offset in group.offsets]


async def test_what_was_appended_is_read_in_order_and_byte_for_byte(bus: Bus, topic: str) -> None:
    values = [b"", b"\0\xff\n", b'{"type":"ping"}', "€".encode(), random.Random(1).randbytes(1 << 20)]
    keys = await append(bus, topic, values)
    async with bus.open_reader(topic, 0, 0) as reader:
        groups = await read(reader, 5)
    assert values_of(groups) == values
    assert b"".join(group.keys for group in groups) == b"".join(keys)
    assert offsets_of(groups) == [0, 1, 2, 3, 4]
    records = await bus.peek(topic, 0, 0, most=5)
    assert [records.key(index) for index in range(5)] == keys


async def test_a_record_with_a_foreign_key_has_no_connection(bus: Bus, topic: str) -> None:
    digest = sha256(b"a key of our length, as others use them").digest()
    foreign = [b"", b"a key of another length", digest, b"\xff" * KEY.size, *make_keys("another", [2])]
    values = [b"a", b"b", b"c", b"d", b"e", b"f"]
    await bus.append(topic, 0, [*foreign, *make_keys(topic, [3])], values)
    records = await bus.peek(topic, 0, 0, most=len(values))
    assert records.values == values
    connections = [connection for _, connection, _, _ in KEY.iter_unpack(records.keys)]
    assert connections == [*[FOREIGN_CONNECTION] * len(foreign), 7]
    assert all(received < 1 << 62 for _, _, _, received in KEY.iter_unpack(records.keys))


async def test_never_more_frames_than_asked_for(bus: Bus, topic: str) -> None:
    for first in range(0, 21, 7):
        await append(bus, topic, [b"%d" % number for number in range(first, first + 7)], first=first)
    async with bus.open_reader(topic, 0, 2) as reader:
        groups = await read(reader, 19, frames=5)
    assert offsets_of(groups) == list(range(2, 21))
    assert values_of(groups) == [b"%d" % number for number in range(2, 21)]
    assert max(map(len, groups)) == 5


async def test_a_group_ends_near_the_size_asked_for_but_has_at_least_one_record(bus: Bus, topic: str) -> None:
    values = [bytes(100_000), bytes(10), bytes(400_000), *(bytes(50_000) for _ in range(10))]
    await append(bus, topic, values)
    async with bus.open_reader(topic, 0, 0) as reader:
        groups = await read(reader, len(values), size=200_000)
    assert values_of(groups) == values
    assert all(len(group) == 1 or sum(map(len, group.values)) <= 400_000 for group in groups)
    assert len(groups) > 3


async def test_a_reader_at_the_end_gets_the_next_record(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"old"])
    async with bus.open_reader(topic, 0, 1) as reader:
        waiting = asyncio.create_task(
            reader.next(frames=1, size=1 << 20, seconds=SHORT_SECONDS, idle_seconds=WAIT_SECONDS), name="waiting"
        )
        await append(bus, topic, [b"new"], first=1)
        records = await waiting
    assert (list(records.offsets), records.values) == ([1], [b"new"])


async def test_a_wait_without_a_record_returns_nothing(bus: Bus, topic: str) -> None:
    async with bus.open_reader(topic, 1, 0) as reader:
        assert not len(await reader.next(frames=10, size=1 << 20, seconds=WAIT_SECONDS, idle_seconds=SHORT_SECONDS))
        await append(bus, topic, [b"then"], partition=1)
        assert values_of(await read(reader, 1)) == [b"then"]


async def test_a_group_that_is_not_full_is_returned_when_its_time_is_over(bus: Bus, topic: str) -> None:
    async with bus.open_reader(topic, 0, 0) as reader:
        waiting = asyncio.create_task(
            reader.next(frames=3, size=1 << 20, seconds=2.0, idle_seconds=WAIT_SECONDS), name="waiting"
        )
        await append(bus, topic, [b"a"])
        await append(bus, topic, [b"b"], first=1)
        records = await waiting
        assert records.values[0] == b"a"
        rest = await read(reader, 1) if len(records) == 1 else []
    assert [*records.values, *values_of(rest)] == [b"a", b"b"]


async def test_readers_are_independent(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b", b"c"])
    async with bus.open_reader(topic, 0, 0) as reader, bus.open_reader(topic, 0, 1) as other:
        first = await reader.next(frames=1, size=1 << 20, seconds=WAIT_SECONDS, idle_seconds=WAIT_SECONDS)
        assert values_of(await read(other, 2)) == [b"b", b"c"]
        assert [*first.values, *values_of(await read(reader, 2))] == [b"a", b"b", b"c"]


async def test_each_partition_has_its_own_offsets(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b"])
    await append(bus, topic, [b"c"], partition=1)
    assert await bus.ends(topic) == {0: Ends(0, 2), 1: Ends(0, 1)}
    assert (await bus.peek(topic, 1, 0, most=9)).values == [b"c"]


async def test_an_offset_beyond_the_end_is_an_error(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a"])
    async with bus.open_reader(topic, 0, 5) as reader:
        with pytest.raises(OffsetError):
            await read(reader, 1)


async def test_a_peek_returns_the_records_that_exist_now(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b"])
    await append(bus, topic, [b"c", b"d"], first=2)
    records = await bus.peek(topic, 0, 1, most=2)
    assert (list(records.offsets), records.values) == ([1, 2], [b"b", b"c"])
    assert (await bus.peek(topic, 0, 3, most=5)).values == [b"d"]
    assert not len(await bus.peek(topic, 0, 4, most=5))
    assert not len(await bus.peek(topic, 1, 0, most=5))


async def test_a_topic_is_created_once_and_its_partitions_only_grow(bus: Bus) -> None:
    topic = await create_topic(bus)
    await append(bus, topic, [b"a"])
    log_id = await bus.log_id(topic)
    assert log_id
    for partitions in (1, 3, 2):
        await bus.ensure(Topic(topic, partitions))
    assert await bus.ends(topic) == {0: Ends(0, 1), 1: Ends(0, 0), 2: Ends(0, 0)}
    assert await bus.log_id(topic) == log_id
    assert await bus.log_id(await create_topic(bus)) != log_id


async def test_topics_are_never_created_by_themselves(bus: Bus) -> None:
    await bus.ping()
    missing = f"constructed_{secrets.token_hex(6)}"
    assert await bus.log_id(missing) == ""
    with pytest.raises(StoreError):
        await bus.ends(missing)
    with pytest.raises(StoreError):
        await append(bus, missing, [b"a"])
    assert await bus.log_id(missing) == ""


async def test_concurrent_appends_keep_their_order(bus: Bus, topic: str) -> None:
    async def sender(connection: int) -> None:
        for first in range(0, 200, 20):
            group = range(first, first + 20)
            await bus.append(
                topic, 0, make_keys(topic, group, connection), [b"%d %d" % (connection, sequence) for sequence in group]
            )

    await asyncio.gather(*(sender(connection) for connection in (1, 2, 3)))
    async with bus.open_reader(topic, 0, 0) as reader:
        groups = await read(reader, 600)
    assert offsets_of(groups) == list(range(600))
    for connection in (1, 2, 3):
        own = [value for value in values_of(groups) if value.startswith(b"%d " % connection)]
        assert own == [b"%d %d" % (connection, sequence) for sequence in range(200)]


async def test_many_records_are_read_as_they_are_appended(bus: Bus, topic: str) -> None:
    async def append_all() -> None:
        for first in range(0, 20_000, 1_000):
            await append(bus, topic, [b"%d" % number for number in range(first, first + 1_000)], first=first)

    async with bus.open_reader(topic, 0, 0) as reader:
        sender = asyncio.create_task(append_all(), name="sender")
        groups = await read(reader, 20_000, frames=3_000, size=1 << 20)
        await sender
    assert offsets_of(groups) == list(range(20_000))
    assert values_of(groups) == [b"%d" % number for number in range(20_000)]


async def test_an_offset_may_be_committed_again(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b"])
    for offset in (1, 2, 2):
        await bus.commit(topic, 0, offset)
    assert (await bus.ends(topic))[0].end == 2
    assert (await bus.peek(topic, 0, 1, most=1)).values == [b"b"]
