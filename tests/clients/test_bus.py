"""What every bus promises: the same tests for each implementation of the port `Bus`.

They ask only for what the port has, and make topics of their own, so that one bus may serve them all.
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
from spotlightd.model.bus import KEY, STRANGER, Ends, Frame, Records, Topic, mark, packed
from spotlightd.ports.bus import Bus, Reading
from spotlightd.settings import sources

PATIENCE = 20.0
SOON = 0.05


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
    return await made(bus, partitions=2)


async def made(bus: Bus, *, partitions: int = 1) -> str:
    name = f"constructed_{secrets.token_hex(6)}"
    await bus.ensure(Topic(name, partitions))
    return name


def keys_of(topic: str, sequences: Sequence[int], connection: int = 7) -> list[bytes]:
    now = time_ns()
    return [packed(mark(topic), Frame(connection, one, now + one, b"")) for one in sequences]


async def append(bus: Bus, topic: str, values: Sequence[bytes], *, partition: int = 0, first: int = 0) -> list[bytes]:
    """Answers their keys."""
    keys = keys_of(topic, range(first, first + len(values)))
    await bus.append(topic, partition, keys, values)
    return keys


async def read(reading: Reading, count: int, *, frames: int = 1_000, size: int = 1 << 24) -> list[Records]:
    """Groups, until they hold so many records."""
    groups: list[Records] = []
    async with asyncio.timeout(PATIENCE):
        while sum(map(len, groups)) < count:
            groups.append(await reading.next(frames=frames, size=size, seconds=SOON, idle_seconds=SOON))
    return [one for one in groups if len(one)]


def values_of(groups: Sequence[Records]) -> list[bytes]:
    return [value for one in groups for value in one.values]


def offsets_of(groups: Sequence[Records]) -> list[int]:
    return [offset for one in groups for offset in one.offsets]


async def test_what_was_appended_is_read_in_order_and_byte_for_byte(bus: Bus, topic: str) -> None:
    values = [b"", b"\0\xff\n", b'{"type":"ping"}', "€".encode(), random.Random(1).randbytes(1 << 20)]
    keys = await append(bus, topic, values)
    async with bus.reading(topic, 0, 0) as reading:
        groups = await read(reading, 5)
    assert values_of(groups) == values
    assert b"".join(one.keys for one in groups) == b"".join(keys)
    assert offsets_of(groups) == [0, 1, 2, 3, 4]
    whole = await bus.peek(topic, 0, 0, most=5)
    assert [whole.key(at) for at in range(5)] == keys


async def test_a_record_of_a_strangers_key_is_kept_without_a_connection(bus: Bus, topic: str) -> None:
    digest = sha256(b"a key of our length, as others use them").digest()
    strange = [b"", b"a key of another length", digest, b"\xff" * KEY.size, *keys_of("another", [2])]
    values = [b"a", b"b", b"c", b"d", b"e", b"f"]
    await bus.append(topic, 0, [*strange, *keys_of(topic, [3])], values)
    found = await bus.peek(topic, 0, 0, most=len(values))
    assert found.values == values
    connections = [connection for _, connection, _, _ in KEY.iter_unpack(found.keys)]
    assert connections == [*[STRANGER] * len(strange), 7]
    assert all(received < 1 << 62 for _, _, _, received in KEY.iter_unpack(found.keys))


async def test_never_more_frames_than_asked_for(bus: Bus, topic: str) -> None:
    for first in range(0, 21, 7):
        await append(bus, topic, [b"%d" % one for one in range(first, first + 7)], first=first)
    async with bus.reading(topic, 0, 2) as reading:
        groups = await read(reading, 19, frames=5)
    assert offsets_of(groups) == list(range(2, 21))
    assert values_of(groups) == [b"%d" % one for one in range(2, 21)]
    assert max(map(len, groups)) == 5


async def test_a_group_ends_near_the_size_asked_for_but_has_at_least_one_record(bus: Bus, topic: str) -> None:
    values = [bytes(100_000), bytes(10), bytes(400_000), *(bytes(50_000) for _ in range(10))]
    await append(bus, topic, values)
    async with bus.reading(topic, 0, 0) as reading:
        groups = await read(reading, len(values), size=200_000)
    assert values_of(groups) == values
    assert all(len(one) == 1 or sum(map(len, one.values)) <= 400_000 for one in groups)
    assert len(groups) > 3


async def test_who_waits_at_the_end_gets_what_comes(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"old"])
    async with bus.reading(topic, 0, 1) as reading:
        waiting = asyncio.create_task(
            reading.next(frames=1, size=1 << 20, seconds=SOON, idle_seconds=PATIENCE), name="waiting"
        )
        await append(bus, topic, [b"new"], first=1)
        found = await waiting
    assert (list(found.offsets), found.values) == ([1], [b"new"])


async def test_nothing_comes_of_a_wait_in_which_nothing_came(bus: Bus, topic: str) -> None:
    async with bus.reading(topic, 1, 0) as reading:
        assert not len(await reading.next(frames=10, size=1 << 20, seconds=PATIENCE, idle_seconds=SOON))
        await append(bus, topic, [b"then"], partition=1)
        assert values_of(await read(reading, 1)) == [b"then"]


async def test_a_group_that_is_not_full_is_handed_on_when_its_time_is_over(bus: Bus, topic: str) -> None:
    async with bus.reading(topic, 0, 0) as reading:
        waiting = asyncio.create_task(
            reading.next(frames=3, size=1 << 20, seconds=2.0, idle_seconds=PATIENCE), name="waiting"
        )
        await append(bus, topic, [b"a"])
        await append(bus, topic, [b"b"], first=1)
        found = await waiting
        assert found.values[0] == b"a"
        rest = await read(reading, 1) if len(found) == 1 else []
    assert [*found.values, *values_of(rest)] == [b"a", b"b"]


async def test_readings_do_not_know_of_one_another(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b", b"c"])
    async with bus.reading(topic, 0, 0) as one, bus.reading(topic, 0, 1) as other:
        first = await one.next(frames=1, size=1 << 20, seconds=PATIENCE, idle_seconds=PATIENCE)
        assert values_of(await read(other, 2)) == [b"b", b"c"]
        assert [*first.values, *values_of(await read(one, 2))] == [b"a", b"b", b"c"]


async def test_partitions_count_for_themselves(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b"])
    await append(bus, topic, [b"c"], partition=1)
    assert await bus.ends(topic) == {0: Ends(0, 2), 1: Ends(0, 1)}
    assert (await bus.peek(topic, 1, 0, most=9)).values == [b"c"]


async def test_an_offset_beyond_the_end_is_an_error(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a"])
    async with bus.reading(topic, 0, 5) as reading:
        with pytest.raises(OffsetError):
            await read(reading, 1)


async def test_who_looks_sees_what_is_there_now(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b"])
    await append(bus, topic, [b"c", b"d"], first=2)
    found = await bus.peek(topic, 0, 1, most=2)
    assert (list(found.offsets), found.values) == ([1, 2], [b"b", b"c"])
    assert (await bus.peek(topic, 0, 3, most=5)).values == [b"d"]
    assert not len(await bus.peek(topic, 0, 4, most=5))
    assert not len(await bus.peek(topic, 1, 0, most=5))


async def test_a_topic_is_made_once_and_only_grows(bus: Bus) -> None:
    topic = await made(bus)
    await append(bus, topic, [b"a"])
    log_id = await bus.log_id(topic)
    assert log_id
    for partitions in (1, 3, 2):
        await bus.ensure(Topic(topic, partitions))
    assert await bus.ends(topic) == {0: Ends(0, 1), 1: Ends(0, 0), 2: Ends(0, 0)}
    assert await bus.log_id(topic) == log_id
    assert await bus.log_id(await made(bus)) != log_id


async def test_topics_never_make_themselves(bus: Bus) -> None:
    await bus.ping()
    nowhere = f"constructed_{secrets.token_hex(6)}"
    assert await bus.log_id(nowhere) == ""
    with pytest.raises(StoreError):
        await bus.ends(nowhere)
    with pytest.raises(StoreError):
        await append(bus, nowhere, [b"a"])
    assert await bus.log_id(nowhere) == ""


async def test_who_appends_at_once_stays_in_order(bus: Bus, topic: str) -> None:
    async def sender(connection: int) -> None:
        for first in range(0, 200, 20):
            group = range(first, first + 20)
            await bus.append(
                topic, 0, keys_of(topic, group, connection), [b"%d %d" % (connection, one) for one in group]
            )

    await asyncio.gather(*(sender(connection) for connection in (1, 2, 3)))
    async with bus.reading(topic, 0, 0) as reading:
        groups = await read(reading, 600)
    assert offsets_of(groups) == list(range(600))
    for connection in (1, 2, 3):
        own = [value for value in values_of(groups) if value.startswith(b"%d " % connection)]
        assert own == [b"%d %d" % (connection, one) for one in range(200)]


async def test_many_records_are_read_as_they_are_appended(bus: Bus, topic: str) -> None:
    async def all_of_them() -> None:
        for first in range(0, 20_000, 1_000):
            await append(bus, topic, [b"%d" % one for one in range(first, first + 1_000)], first=first)

    async with bus.reading(topic, 0, 0) as reading:
        sender = asyncio.create_task(all_of_them(), name="sender")
        groups = await read(reading, 20_000, frames=3_000, size=1 << 20)
        await sender
    assert offsets_of(groups) == list(range(20_000))
    assert values_of(groups) == [b"%d" % one for one in range(20_000)]


async def test_how_far_the_drain_is_may_be_told(bus: Bus, topic: str) -> None:
    await append(bus, topic, [b"a", b"b"])
    for offset in (1, 2, 2):
        await bus.committed(topic, 0, offset)
    assert (await bus.ends(topic))[0].end == 2
    assert (await bus.peek(topic, 0, 1, most=1)).values == [b"b"]
