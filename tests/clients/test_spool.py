"""The spool takes frames at once, makes them durable soon, keeps them until they are freed, and sheds by priority."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd import StoreError
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.clients.locallog.spool import LogSpool, shares
from spotlightd.model.bus import KEY, Frame, Topic, mark
from spotlightd.settings.sources import StreamsSettings
from tests.faults.disk import MIB, Disk, small_disk

PATIENCE = 20.0
TOPICS = [Topic("dear", partitions=2), Topic("cheap")]
PRIORITIES = {"dear": 200, "cheap": 10}
DEFAULTS = StreamsSettings()
NEVER = replace(DEFAULTS, fsync_seconds=3_600.0, fsync_bytes=1 << 30)


@dataclass(frozen=True, slots=True)
class Place:
    log: LocalLog
    spool: LogSpool

    async def stored(self, topic: str, partition: int = 0) -> list[bytes]:
        ends = (await self.log.ends(topic))[partition]
        return list((await self.log.peek(topic, partition, ends.start, most=1 << 30)).values)


@asynccontextmanager
async def opened(path: Path, settings: StreamsSettings = DEFAULTS, *, is_bus: bool = False) -> AsyncIterator[Place]:
    async with LocalLog(path) as log, LogSpool(log, settings, TOPICS, PRIORITIES, is_bus=is_bus) as spool:
        yield Place(log, spool)


def frame(sequence: int, value: bytes = b"{}", *, connection: int = 2) -> Frame:
    return Frame(connection, sequence, time.time_ns(), value)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_frames_are_durable_soon_in_order_with_their_keys(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as place:
        frames = [frame(n, b"%d" % n, connection=connection) for n in range(100) for connection in (2, 3)]
        assert all(place.spool.put("dear", one) for one in frames)
        await until(lambda: sum(part.end for part in place.log.parts("dear")) == 200)
        for partition in (0, 1):
            own = [one for one in frames if one.connection % 2 == partition]
            found = await place.log.peek("dear", partition, 0, most=1_000)
            assert found.values == [one.value for one in own]
            assert list(KEY.iter_unpack(found.keys)) == [
                (mark("dear"), one.connection, one.sequence, one.received) for one in own
            ]


async def test_many_bytes_do_not_wait_for_the_clock(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool", replace(NEVER, fsync_bytes=1_000)) as place:
        place.spool.put("dear", frame(0, bytes(500)))
        place.spool.put("dear", frame(1, bytes(500)))
        await until(lambda: place.log.parts("dear")[0].end == 2)


async def test_flushed_returns_when_all_that_was_taken_is_in_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool", NEVER) as place:
        for sequence in range(10):
            place.spool.put("dear", frame(sequence, b"%d" % sequence))
        assert await place.stored("dear") == []
        await place.spool.flushed()
        assert await place.stored("dear") == [b"%d" % n for n in range(10)]
        await place.spool.flushed()


async def test_what_was_taken_is_in_the_file_after_a_stop(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool", NEVER) as place:
        place.spool.put("cheap", frame(0, b"last"))
    assert not place.spool.put("cheap", frame(1))
    async with opened(tmp_path / "spool", NEVER) as place:
        assert await place.stored("cheap") == [b"last"]
        assert place.spool.depth("cheap")[0] == 1


# -- freeing -----------------------------------------------------------------------------------------------------------


async def groups(place: Place, *sent: list[Frame]) -> None:
    """Each list becomes a group of its own."""
    for each in sent:
        assert all(place.spool.put("cheap", one) for one in each)
        await place.spool.flushed()


async def test_a_group_is_freed_when_each_of_its_frames_is_durable(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool", NEVER) as place:
        await groups(
            place,
            [frame(0), frame(1), frame(0, connection=5)],
            [frame(1, connection=5), frame(2, connection=5)],
            [frame(2)],
        )
        frames, size = place.spool.depth("cheap")
        assert (frames, size > 0) == (6, True)
        await place.spool.free("cheap", {2: 1})
        assert place.spool.depth("cheap")[0] == 6
        await place.spool.free("cheap", {5: 1})  # what was told of connection 2 is remembered
        assert place.spool.depth("cheap")[0] == 3
        assert (await place.log.ends("cheap"))[0].start == 3
        await place.spool.free("cheap", {5: 2, 99: 7})
        assert place.spool.depth("cheap")[0] == 1
        await place.spool.free("cheap", {2: 2})
        assert place.spool.depth("cheap") == (0, 0)


async def test_frames_are_freed_after_a_restart_too(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool", NEVER) as place:
        await groups(place, [frame(0)], [frame(1)], [frame(2)])
        await place.spool.free("cheap", {2: 0})
    async with opened(tmp_path / "spool", NEVER) as place:
        assert place.spool.depth("cheap")[0] == 2
        await place.spool.free("cheap", {2: 1})
        assert place.spool.depth("cheap")[0] == 1
        assert await place.stored("cheap") == [b"{}"]


async def test_where_the_log_is_the_bus_freed_frames_stay_and_need_no_room(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path / "spool", NEVER, is_bus=True) as place:
            if not await place.stored("cheap"):
                await groups(place, [frame(0, b"a")], [frame(1, b"b")])
                await place.spool.free("cheap", {2: 0})
            assert place.spool.depth("cheap")[0] == 1
            assert await place.stored("cheap") == [b"a", b"b"]


async def test_where_the_log_is_the_bus_what_the_drain_has_passed_needs_no_room(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool", NEVER, is_bus=True) as place:
        await groups(place, [frame(0), frame(1)], [frame(2), frame(3)])
        await place.log.committed("cheap", 0, 3)
        assert place.spool.depth("cheap")[0] == 2
        await place.log.committed("cheap", 0, 4)
        assert place.spool.depth("cheap") == (0, 0)
        assert len(await place.stored("cheap")) == 4


ACTS = st.one_of(
    st.tuples(st.just("put"), st.integers(2, 4), st.integers(1, 3)),
    st.tuples(st.just("flush"), st.just(0), st.just(0)),
    st.tuples(st.just("free"), st.integers(2, 4), st.integers(-1, 12)),
    st.tuples(st.just("reopen"), st.just(0), st.just(0)),
)


@given(acts=st.lists(ACTS, max_size=30))
@hypothesis.settings(max_examples=25, deadline=None)
def test_what_is_kept_is_what_follows_the_first_group_that_is_not_durable(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int, int]]
) -> None:
    asyncio.run(_like_a_model(tmp_path_factory.mktemp("spool") / "spool", acts))


async def _like_a_model(path: Path, acts: list[tuple[str, int, int]]) -> None:
    kept: list[list[Frame]] = []  # groups on the disk
    waiting: list[Frame] = []
    sent: dict[int, int] = {}
    durable: dict[int, int] = {}
    stack = AsyncExitStack()
    place = await stack.enter_async_context(opened(path, NEVER))
    for act, connection, number in acts:
        if act == "put":
            waiting += [frame(sent.get(connection, 0) + n, connection=connection) for n in range(number)]
            sent[connection] = sent.get(connection, 0) + number
            assert all(place.spool.put("cheap", one) for one in waiting[-number:])
        elif act == "flush":
            await place.spool.flushed()
        elif act == "free":
            durable[connection] = max(number, durable.get(connection, -1))
            await place.spool.free("cheap", {connection: number})
        else:
            await stack.aclose()
            place = await stack.enter_async_context(opened(path, NEVER))
            durable = {}  # only what was freed is remembered
        if act in {"flush", "reopen"} and waiting:
            kept, waiting = [*kept, waiting], []
        while act == "free" and kept and all(one.sequence <= durable.get(one.connection, -1) for one in kept[0]):
            del kept[0]
        assert place.spool.depth("cheap")[0] == sum(map(len, kept)) + len(waiting)
        assert len(await place.stored("cheap")) == sum(map(len, kept))
    await stack.aclose()


# -- room --------------------------------------------------------------------------------------------------------------


def test_the_lowest_priority_is_refused_first() -> None:
    assert shares({"one": 5}) == {"one": 1.0}
    assert shares({"a": 5, "b": 5}) == {"a": 1.0, "b": 1.0}
    assert shares({"a": 1, "b": 2, "c": 3, "d": 3}) == pytest.approx({"a": 0.8, "b": 0.9, "c": 1.0, "d": 1.0})


def fill(place: Place, topic: str) -> int:
    """How many frames found room."""
    sequence = 0
    while place.spool.put(topic, frame(sequence, bytes(1_000))):
        sequence += 1
    return sequence


async def test_a_full_spool_sheds_by_priority_and_takes_again_what_has_room(tmp_path: Path) -> None:
    settings = replace(NEVER, spool_bytes=1 << 20)
    async with opened(tmp_path / "spool", settings) as place:
        cheap = fill(place, "cheap")
        dear = fill(place, "dear")
        assert 0.7 < cheap / (cheap + dear) < 0.85
        assert not place.spool.put("cheap", frame(cheap))
        assert place.spool.depth("cheap")[1] + place.spool.depth("dear")[1] <= 1 << 20
        await place.spool.flushed()  # nothing of what was taken is lost, and zeros take little room on the disk
        assert len(await place.stored("cheap")) == cheap
        assert place.spool.put("cheap", frame(cheap))


async def test_room_is_what_is_not_freed_also_after_a_restart(tmp_path: Path) -> None:
    settings = replace(NEVER, spool_bytes=200_000)
    noise = random.Random(8)
    taken = 0
    for _ in range(2):
        async with opened(tmp_path / "spool", settings) as place:
            while place.spool.put("dear", frame(taken, noise.randbytes(1_000))):
                taken += 1
                await place.spool.flushed()
            assert 150 < taken < 200
    async with opened(tmp_path / "spool", settings) as place:
        await place.spool.free("dear", {2: taken - 1})
        assert place.spool.put("dear", frame(taken, noise.randbytes(1_000)))


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    at = tmp_path / "disk"
    at.mkdir()
    with small_disk(at, 16 * MIB) as mounted:
        yield mounted


async def test_a_full_disk_loses_nothing_that_was_taken_and_refuses_in_the_end(disk: Disk) -> None:
    settings = replace(StreamsSettings(), spool_bytes=8 * MIB)
    noise = random.Random(9)
    sent: list[bytes] = []
    async with opened(disk.root / "spool", settings) as place:
        place.spool.put("dear", frame(0, b"before"))
        await place.spool.flushed()
        disk.fill()
        while place.spool.put("dear", frame(len(sent) + 1, value := noise.randbytes(20_000))):
            sent.append(value)
        with pytest.raises(StoreError, match="cannot be made durable"):
            await place.spool.flushed()
        assert "refused" in place.spool.trouble
        assert not place.spool.put("dear", frame(999, noise.randbytes(20_000)))
        disk.clear()
        await until(lambda: not place.spool.trouble)
        await place.spool.flushed()
        assert await place.stored("dear") == [b"before", *sent]


async def test_a_writer_that_ended_by_a_mistake_takes_nothing_more_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mistaken(_: object) -> None:
        raise ZeroDivisionError

    async with LocalLog(tmp_path / "spool") as log:
        spool = await LogSpool(log, NEVER, TOPICS, PRIORITIES, is_bus=False).__aenter__()
        monkeypatch.setattr(log, "write", mistaken)
        assert spool.put("dear", frame(0))
        for _ in range(2):
            with pytest.raises(StoreError, match="ZeroDivisionError"):
                await spool.flushed()
        assert not spool.put("dear", frame(1))
        with pytest.raises(StoreError):
            await spool.__aexit__(None, None, None)


async def test_a_stop_says_what_could_not_be_made_durable(disk: Disk) -> None:
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(LocalLog(disk.root / "spool"))
        spool = await LogSpool(log, NEVER, TOPICS, PRIORITIES, is_bus=False).__aenter__()
        disk.fill()
        for sequence in range(200):
            spool.put("dear", frame(sequence, random.Random(sequence).randbytes(40_000)))
        with pytest.raises(StoreError, match="cannot be made durable"):
            await spool.__aexit__(None, None, None)
        disk.clear()
