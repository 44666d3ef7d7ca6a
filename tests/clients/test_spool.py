"""The spool accepts frames without waiting, makes them durable soon, keeps them while needed, and sheds by priority."""

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
from spotlightd.clients.locallog.spool import LogSpool, capacity_shares
from spotlightd.model.bus import KEY, Frame, Topic, source_mark
from spotlightd.settings.sources import StreamsSettings
from tests.faults.disk import MIB, Disk, small_disk

WAIT_SECONDS = 20.0
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
async def open_spool(path: Path, settings: StreamsSettings = DEFAULTS, *, is_bus: bool = False) -> AsyncIterator[Place]:
    async with LocalLog(path) as log, LogSpool(log, settings, TOPICS, PRIORITIES, is_bus=is_bus) as spool:
        yield Place(log, spool)


def make_frame(sequence: int, value: bytes = b"{}", *, connection: int = 2) -> Frame:
    return Frame(connection, sequence, time.time_ns(), value)


async def wait_until(is_done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_frames_are_durable_soon_in_order_with_their_keys(tmp_path: Path) -> None:
    async with open_spool(tmp_path / "spool") as place:
        frames = [make_frame(n, b"%d" % n, connection=connection) for n in range(100) for connection in (2, 3)]
        assert all(place.spool.put("dear", frame) for frame in frames)
        await wait_until(lambda: sum(state.end for state in place.log.partitions("dear")) == 200)
        for partition in (0, 1):
            own = [frame for frame in frames if frame.connection % 2 == partition]
            records = await place.log.peek("dear", partition, 0, most=1_000)
            assert records.values == [frame.value for frame in own]
            assert list(KEY.iter_unpack(records.keys)) == [
                (source_mark("dear"), frame.connection, frame.sequence, frame.received) for frame in own
            ]


async def test_many_bytes_are_written_before_the_timer_ends(tmp_path: Path) -> None:
    async with open_spool(tmp_path / "spool", replace(NEVER, fsync_bytes=1_000)) as place:
        place.spool.put("dear", make_frame(0, bytes(500)))
        place.spool.put("dear", make_frame(1, bytes(500)))
        await wait_until(lambda: place.log.partitions("dear")[0].end == 2)


async def test_a_flush_returns_when_all_accepted_frames_are_in_the_file(tmp_path: Path) -> None:
    async with open_spool(tmp_path / "spool", NEVER) as place:
        for sequence in range(10):
            place.spool.put("dear", make_frame(sequence, b"%d" % sequence))
        assert await place.stored("dear") == []
        await place.spool.flush()
        assert await place.stored("dear") == [b"%d" % n for n in range(10)]
        await place.spool.flush()


async def test_accepted_frames_are_in_the_file_after_a_stop(tmp_path: Path) -> None:
    async with open_spool(tmp_path / "spool", NEVER) as place:
        place.spool.put("cheap", make_frame(0, b"last"))
    assert not place.spool.put("cheap", make_frame(1))
    async with open_spool(tmp_path / "spool", NEVER) as place:
        assert await place.stored("cheap") == [b"last"]
        assert place.spool.depth("cheap")[0] == 1


# -- durable frames -----------------------------------------------------------------------------------------------------------


async def append_groups(place: Place, *groups: list[Frame]) -> None:
    """Append each list as a group of its own."""
    for group in groups:
        assert all(place.spool.put("cheap", frame) for frame in group)
        await place.spool.flush()


async def test_a_group_is_deleted_when_each_of_its_frames_is_durable(tmp_path: Path) -> None:
    async with open_spool(tmp_path / "spool", NEVER) as place:
        await append_groups(
            place,
            [make_frame(0), make_frame(1), make_frame(0, connection=5)],
            [make_frame(1, connection=5), make_frame(2, connection=5)],
            [make_frame(2)],
        )
        frames, size = place.spool.depth("cheap")
        assert (frames, size > 0) == (6, True)
        await place.spool.mark_durable("cheap", {2: 1})
        assert place.spool.depth("cheap")[0] == 6
        await place.spool.mark_durable("cheap", {5: 1})  # the sequence of connection 2 is remembered
        assert place.spool.depth("cheap")[0] == 3
        assert (await place.log.ends("cheap"))[0].start == 3
        await place.spool.mark_durable("cheap", {5: 2, 99: 7})
        assert place.spool.depth("cheap")[0] == 1
        await place.spool.mark_durable("cheap", {2: 2})
        assert place.spool.depth("cheap") == (0, 0)


async def test_frames_are_deleted_after_a_restart_too(tmp_path: Path) -> None:
    async with open_spool(tmp_path / "spool", NEVER) as place:
        await append_groups(place, [make_frame(0)], [make_frame(1)], [make_frame(2)])
        await place.spool.mark_durable("cheap", {2: 0})
    async with open_spool(tmp_path / "spool", NEVER) as place:
        assert place.spool.depth("cheap")[0] == 2
        await place.spool.mark_durable("cheap", {2: 1})
        assert place.spool.depth("cheap")[0] == 1
        assert await place.stored("cheap") == [b"{}"]


async def test_where_the_log_is_the_bus_durable_frames_stay_and_need_no_room(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_spool(tmp_path / "spool", NEVER, is_bus=True) as place:
            if not await place.stored("cheap"):
                await append_groups(place, [make_frame(0, b"a")], [make_frame(1, b"b")])
                await place.spool.mark_durable("cheap", {2: 0})
            assert place.spool.depth("cheap")[0] == 1
            assert await place.stored("cheap") == [b"a", b"b"]


async def test_where_the_log_is_the_bus_committed_frames_need_no_room(tmp_path: Path) -> None:
    async with open_spool(tmp_path / "spool", NEVER, is_bus=True) as place:
        await append_groups(place, [make_frame(0), make_frame(1)], [make_frame(2), make_frame(3)])
        await place.log.commit("cheap", 0, 3)
        assert place.spool.depth("cheap")[0] == 2
        await place.log.commit("cheap", 0, 4)
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
def test_the_file_holds_all_groups_from_the_first_that_is_not_durable(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int, int]]
) -> None:
    asyncio.run(_compare_with_model(tmp_path_factory.mktemp("spool") / "spool", acts))


async def _compare_with_model(path: Path, acts: list[tuple[str, int, int]]) -> None:
    stored: list[list[Frame]] = []  # groups on the disk
    waiting: list[Frame] = []
    sent: dict[int, int] = {}
    durable: dict[int, int] = {}
    stack = AsyncExitStack()
    place = await stack.enter_async_context(open_spool(path, NEVER))
    for act, connection, number in acts:
        if act == "put":
            waiting += [make_frame(sent.get(connection, 0) + n, connection=connection) for n in range(number)]
            sent[connection] = sent.get(connection, 0) + number
            assert all(place.spool.put("cheap", frame) for frame in waiting[-number:])
        elif act == "flush":
            await place.spool.flush()
        elif act == "free":
            durable[connection] = max(number, durable.get(connection, -1))
            await place.spool.mark_durable("cheap", {connection: number})
        else:
            await stack.aclose()
            place = await stack.enter_async_context(open_spool(path, NEVER))
            durable = {}  # only what was deleted is remembered
        if act in {"flush", "reopen"} and waiting:
            stored, waiting = [*stored, waiting], []
        while (
            act == "free" and stored and all(frame.sequence <= durable.get(frame.connection, -1) for frame in stored[0])
        ):
            del stored[0]
        assert place.spool.depth("cheap")[0] == sum(map(len, stored)) + len(waiting)
        assert len(await place.stored("cheap")) == sum(map(len, stored))
    await stack.aclose()


# -- room --------------------------------------------------------------------------------------------------------------


def test_the_lowest_priority_is_refused_first() -> None:
    assert capacity_shares({"one": 5}) == {"one": 1.0}
    assert capacity_shares({"a": 5, "b": 5}) == {"a": 1.0, "b": 1.0}
    assert capacity_shares({"a": 1, "b": 2, "c": 3, "d": 3}) == pytest.approx({"a": 0.8, "b": 0.9, "c": 1.0, "d": 1.0})


def fill(place: Place, topic: str) -> int:
    """Put frames until the spool is full; returns how many were accepted."""
    sequence = 0
    while place.spool.put(topic, make_frame(sequence, bytes(1_000))):
        sequence += 1
    return sequence


async def test_a_full_spool_sheds_by_priority_and_accepts_again_when_there_is_room(tmp_path: Path) -> None:
    settings = replace(NEVER, spool_bytes=1 << 20)
    async with open_spool(tmp_path / "spool", settings) as place:
        cheap = fill(place, "cheap")
        dear = fill(place, "dear")
        assert 0.7 < cheap / (cheap + dear) < 0.85
        assert not place.spool.put("cheap", make_frame(cheap))
        assert place.spool.depth("cheap")[1] + place.spool.depth("dear")[1] <= 1 << 20
        await place.spool.flush()  # no accepted frame is lost, and zeros take little room on the disk
        assert len(await place.stored("cheap")) == cheap
        assert place.spool.put("cheap", make_frame(cheap))


async def test_frames_that_are_not_durable_take_room_also_after_a_restart(tmp_path: Path) -> None:
    settings = replace(NEVER, spool_bytes=200_000)
    noise = random.Random(8)
    accepted = 0
    for _ in range(2):
        async with open_spool(tmp_path / "spool", settings) as place:
            while place.spool.put("dear", make_frame(accepted, noise.randbytes(1_000))):
                accepted += 1
                await place.spool.flush()
            assert 150 < accepted < 200
    async with open_spool(tmp_path / "spool", settings) as place:
        await place.spool.mark_durable("dear", {2: accepted - 1})
        assert place.spool.put("dear", make_frame(accepted, noise.randbytes(1_000)))


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, 16 * MIB) as mounted:
        yield mounted


async def test_a_full_disk_loses_no_accepted_frame_and_refuses_in_the_end(disk: Disk) -> None:
    settings = replace(StreamsSettings(), spool_bytes=8 * MIB)
    noise = random.Random(9)
    sent: list[bytes] = []
    async with open_spool(disk.root / "spool", settings) as place:
        place.spool.put("dear", make_frame(0, b"before"))
        await place.spool.flush()
        disk.fill()
        while place.spool.put("dear", make_frame(len(sent) + 1, value := noise.randbytes(20_000))):
            sent.append(value)
        with pytest.raises(StoreError, match="cannot be made durable"):
            await place.spool.flush()
        assert "refused" in place.spool.error
        assert not place.spool.put("dear", make_frame(999, noise.randbytes(20_000)))
        disk.clear()
        await wait_until(lambda: not place.spool.error)
        await place.spool.flush()
        assert await place.stored("dear") == [b"before", *sent]


async def test_after_an_unexpected_end_of_the_writer_no_frame_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise ZeroDivisionError

    async with LocalLog(tmp_path / "spool") as log:
        spool = await LogSpool(log, NEVER, TOPICS, PRIORITIES, is_bus=False).__aenter__()
        monkeypatch.setattr(log, "write", fail)
        assert spool.put("dear", make_frame(0))
        for _ in range(2):
            with pytest.raises(StoreError, match="ZeroDivisionError"):
                await spool.flush()
        assert not spool.put("dear", make_frame(1))
        with pytest.raises(StoreError):
            await spool.__aexit__(None, None, None)


async def test_a_stop_reports_frames_that_could_not_be_made_durable(disk: Disk) -> None:
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(LocalLog(disk.root / "spool"))
        spool = await LogSpool(log, NEVER, TOPICS, PRIORITIES, is_bus=False).__aenter__()
        disk.fill()
        for sequence in range(200):
            spool.put("dear", make_frame(sequence, random.Random(sequence).randbytes(40_000)))
        with pytest.raises(StoreError, match="cannot be made durable"):
            await spool.__aexit__(None, None, None)
        disk.clear()
