"""The drain stores and decodes every frame of a bus once, whatever is stopped, repeated, lost or created again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.errors import StoreError
from spotlightd.model.bus import Ends, Frame
from spotlightd.ports.progress import ignore_progress, to_checkpoint
from tests.polling import until

from .constructed_ticks import MIDNIGHT, SECOND, frame, mended, numbered, ticks
from .stream_world import DelayedWarehouse, MemoryBus, Stores, StreamWorld
from .world import CrashError, Fuse, back_up, crash_steps

DAY = 24 * 3600 * SECOND


@pytest.fixture
async def streams(tmp_path: Path, warehouse: ClickHouse) -> StreamWorld:
    world = StreamWorld(tmp_path, warehouse)
    await world.prepare()
    return world


async def test_each_frame_is_stored_and_decoded_once_and_a_restart_adds_nothing(streams: StreamWorld) -> None:
    await streams.send(numbered(100))
    await streams.drain()
    assert await streams.numbers() == list(range(200))
    await streams.drain()
    assert await streams.numbers() == list(range(200))
    assert await streams.query_value("SELECT count() FROM constructed_frames") == 100
    assert streams.spool.durable == {7: 99}


async def test_frames_are_cut_where_the_received_day_changes(streams: StreamWorld) -> None:
    await streams.send(numbered(30))
    await streams.drain()
    sql = (
        "SELECT groupArray(covers) FROM (SELECT covers FROM loads WHERE dataset = 'constructed_ticks' ORDER BY covers)"
    )
    assert await streams.query_value(sql) == ["2026/03/01/1", "2026/03/02/1"]
    assert await streams.query_value("SELECT uniqExact(load_id, toDate(received)) FROM constructed_ticks") == 2


async def test_the_pointer_leads_to_the_frame(streams: StreamWorld) -> None:
    await streams.send([frame(9, 0, [5, 6, 6], MIDNIGHT)])
    await streams.drain()
    sql = (
        "SELECT number, frame_index, frame FROM constructed_ticks AS t INNER JOIN constructed_frames AS f"
        " USING (epoch, partition, offset) ORDER BY frame_index"
    )
    rows = (await streams.warehouse.rows(sql)).rows
    assert rows == tuple((n, nth, '{"type": "ticks", "n": [5, 6, 6]}') for nth, n in enumerate((5, 6, 6)))


async def test_a_frame_sent_again_is_stored_and_not_decoded_again(streams: StreamWorld) -> None:
    frames = numbered(60)
    await streams.send(frames)
    await streams.drain()
    await streams.send(frames[40:])
    await streams.send(numbered(10, first=60))
    await streams.drain()
    assert await streams.numbers() == list(range(140))
    assert await streams.query_value("SELECT sum(repeat) FROM constructed_frames") == 20
    assert await streams.query_value("SELECT count() FROM constructed_frames") == 90


async def test_a_frame_that_comes_after_later_ones_is_no_repeat(streams: StreamWorld) -> None:
    frames = numbered(20)
    await streams.send([*frames[:5], *frames[10:]])
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        await streams.send(frames[5:10])
        await streams.send(frames[:10])
        await until(lambda: streams.is_drained(flow))
    assert await streams.numbers() == list(range(40))
    assert await streams.query_value("SELECT sum(repeat) FROM constructed_frames") == 10


async def test_frames_that_are_not_understood_are_rejected_and_the_others_go_on(streams: StreamWorld) -> None:
    good = numbered(50)
    bad = [
        Frame(8, at, MIDNIGHT, value)
        for at, value in enumerate((b'{"type": "ticks", "n', b"\xff\xfe", b'{"type": "?"}', b""))
    ]
    ping = Frame(8, 4, MIDNIGHT, b'{"type": "ping"}')
    await streams.send([*good[:25], *bad, ping, *good[25:]])
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        rows = await stores.ledger.run("SELECT offset, text, reason FROM lost_frames ORDER BY offset")
    assert await streams.numbers() == list(range(100))
    assert [row["offset"] for row in rows] == [25, 26, 27, 28]
    assert [row["reason"] for row in rows] == ["not JSON", "not JSON", "no such type", "not JSON"]
    assert rows[2]["text"] == '{"type": "?"}'


async def test_two_partitions_are_drained_each_in_order(streams: StreamWorld) -> None:
    two = type(ticks)(**{name: getattr(ticks, name) for name in ticks.__slots__} | {"partitions": 2})
    await streams.prepare(two)
    await streams.send(numbered(30), 0)
    await streams.send(numbered(30, connection=8, first=0), 1)
    await streams.drain(two)
    assert await streams.numbers() == sorted([*range(60), *range(60)])


async def crash_everywhere(streams: StreamWorld, step: int) -> bool:
    """Crash at that step, and at the same step of the recovery. Returns whether the step was reached."""
    fuse = Fuse(crash_step=step)
    try:
        await streams.drain(fuse=fuse)
    except CrashError:
        return True
    return False


@pytest.mark.slow
async def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(streams: StreamWorld) -> None:
    sent = 0
    for step in itertools.takewhile(lambda step: step < 200, crash_steps()):
        await streams.send(numbered(4, first=sent, per=2))  # each of them across midnight
        sent += 4
        reached = await crash_everywhere(streams, step)
        if not reached:
            break
        await crash_everywhere(streams, step // 2 + 1)  # and in the recovery from it
    else:
        pytest.fail("the steps of one batch do not come to an end")
    assert step > 20
    await streams.drain()
    assert await streams.numbers() == list(range(sent * 2))
    assert await streams.query_value("SELECT count() FROM constructed_frames WHERE repeat = 0") == sent


class BusyBus(MemoryBus):
    """There is always one more frame on the bus."""

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        return {at: Ends(ends.start, ends.end + 1) for at, ends in (await super().ends(topic)).items()}


async def test_a_day_that_is_over_is_closed_while_the_feed_goes_on(tmp_path: Path, warehouse: ClickHouse) -> None:
    streams = StreamWorld(tmp_path, warehouse, bus=BusyBus())
    await streams.prepare()
    await streams.send(numbered(10))
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        assert len(await stores.parts.list_open_days(ticks)) == 2
        await streams.send(numbered(1, first=10, around=MIDNIGHT + DAY // 2))
        async with asyncio.timeout(60):
            while (days := await stores.parts.list_open_days(ticks)) != [date(2026, 3, 2)]:
                assert date(2026, 3, 2) in days
                await asyncio.sleep(0.05)


async def test_a_log_created_again_under_the_running_drain_is_read_from_its_beginning(streams: StreamWorld) -> None:
    await streams.send(numbered(30))
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        streams.bus.lose(ticks.name)
        await streams.send(numbered(80, connection=11, first=0))
        await until(lambda: all(state.epoch == 2 for state in flow.states()) and streams.is_drained(flow))
        assert [cause for cause, _ in await stores.gaps()] == ["log lost"]
    assert await streams.numbers() == sorted([*range(60), *range(160)])
    assert await streams.query_value("SELECT max(epoch) FROM constructed_frames") == 2


async def test_a_log_of_the_same_id_with_other_records_is_another_log(streams: StreamWorld) -> None:
    await streams.send(numbered(30))
    await streams.drain()
    streams.bus.logs[ticks.name][0].pairs.clear()
    await streams.send(numbered(50, connection=11, first=0))
    await streams.drain()
    assert await streams.numbers() == sorted([*range(60), *range(100)])
    assert await streams.query_value("SELECT max(epoch) FROM constructed_frames") == 2


async def test_records_deleted_before_they_were_read_are_a_gap(streams: StreamWorld) -> None:
    await streams.send(numbered(30))
    await streams.drain()
    await streams.send(numbered(30, first=30))
    log = streams.bus.logs[ticks.name][0]
    del log.pairs[:40]
    log.start += 40
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        (cause, detail), *_ = await stores.gaps()
    assert (cause, detail) == ("log lost", "offsets 30 to 39 of partition 0 were deleted before they were read")
    assert await streams.numbers() == [*range(60), *range(80, 120)]


async def test_a_lost_ledger_is_restored_from_the_tables(streams: StreamWorld) -> None:
    await streams.send(numbered(30))
    await streams.drain()
    for path in streams.folder.glob("ledger.sqlite*"):
        path.unlink()
    await streams.warehouse.execute("DELETE FROM constructed_ticks WHERE offset >= 25")  # the last batch was torn
    await streams.send(numbered(30, first=30))
    await streams.drain()
    assert await streams.numbers() == list(range(120))
    assert await streams.query_value("SELECT max(epoch) FROM constructed_frames") == 1


async def test_a_permanent_error_holds_and_goes_on_after_the_repair(streams: StreamWorld) -> None:
    await streams.send(numbered(10))
    await streams.drain()
    await streams.warehouse.execute("RENAME TABLE constructed_ticks TO gone")
    await streams.send(numbered(10, first=10))
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: stores.board.read()[0].state == "holding")
        assert flow.states()[0].offset == 10
        await streams.warehouse.execute("RENAME TABLE gone TO constructed_ticks")
        await until(lambda: streams.is_drained(flow))
    assert await streams.numbers() == list(range(40))


async def test_a_bus_that_fails_holds_and_loses_nothing(streams: StreamWorld) -> None:
    await streams.send(numbered(10))
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        streams.bus.error = StoreError("the broker is gone")
        await until(lambda: stores.board.read()[0].state == "holding")
        streams.bus.error = None
        await streams.send(numbered(10, first=10))
        await until(lambda: streams.is_drained(flow))
    assert await streams.numbers() == list(range(40))


async def test_a_decode_that_changed_between_crash_and_recovery_is_noticed(streams: StreamWorld) -> None:
    await streams.send(numbered(10, around=MIDNIGHT + DAY // 2))
    open_intents = 0
    for step in range(5, 60):
        if await crash_everywhere(streams, step):
            async with streams.stores() as stores:
                open_intents = len(await stores.positions.intents(ticks.name))
        if open_intents:
            break
    assert open_intents == 1
    await streams.drain(mended)
    numbers = await streams.numbers()
    assert numbers in ([*range(20)], [number + 1_000_000 for number in range(20)])


async def test_a_replay_switches_readers_by_one_row_and_as_of_shows_what_was_before(streams: StreamWorld) -> None:
    await streams.send(numbered(20, around=MIDNIGHT + DAY // 2))
    await streams.drain()
    before = await streams.query_value("SELECT max(seq) FROM loads")

    async with streams.stores() as stores:
        done = await stores.replay(mended).replay_days(
            date(2026, 3, 2), date(2026, 3, 2), to_checkpoint(ignore_progress)
        )
    assert [(load.day, load.part, load.rows) for load in done] == [(date(2026, 3, 2), 1, 40)]
    assert await streams.numbers() == [number + 1_000_000 for number in range(40)]
    assert await streams.numbers(before) == list(range(40))
    await streams.send(numbered(5, first=20, around=MIDNIGHT + DAY // 2))
    await streams.drain(mended)
    assert await streams.numbers() == [number + 1_000_000 for number in range(50)]


async def test_a_replay_beside_a_running_drain_neither_loses_nor_mixes(streams: StreamWorld) -> None:
    await streams.send(numbered(40, around=MIDNIGHT + DAY // 2))
    async with streams.stores() as stores, stores.run_drain(mended) as flow:
        await until(lambda: streams.is_drained(flow))
        sent = 40
        for _ in range(3):
            replay = asyncio.create_task(
                stores.replay(mended).replay_days(date(2026, 3, 2), date(2026, 3, 2), to_checkpoint(ignore_progress))
            )
            while not replay.done():
                await streams.send(numbered(3, first=sent, around=MIDNIGHT + DAY // 2))
                sent += 3
                numbers = await streams.numbers()
                assert numbers == [number + 1_000_000 for number in range(len(numbers))]
            await replay
        await until(lambda: streams.is_drained(flow))
    assert await streams.numbers() == [number + 1_000_000 for number in range(sent * 2)]


async def test_a_lost_ledger_and_a_changed_decode_delete_no_frames(streams: StreamWorld) -> None:
    await streams.send(numbered(20, around=MIDNIGHT + DAY // 2))
    await streams.drain()
    await streams.send(numbered(20, first=20, around=MIDNIGHT + DAY // 2))
    await streams.drain(mended)
    for path in streams.folder.glob("ledger.sqlite*"):
        path.unlink()
    await streams.send(numbered(5, first=40, around=MIDNIGHT + DAY // 2))
    await streams.drain(mended)
    assert await streams.query_value("SELECT count() FROM constructed_frames") == 45
    numbers = [number % 1_000_000 for number in await streams.numbers()]
    assert sorted(numbers) == list(range(90))


async def test_a_ledger_restored_from_a_backup_doubles_nothing(streams: StreamWorld) -> None:
    await streams.send(numbered(20, around=MIDNIGHT + DAY // 2))
    await streams.drain()
    backup = (streams.folder / "ledger.sqlite").read_bytes()
    await streams.send(numbered(20, first=20, around=MIDNIGHT + DAY // 2))
    await streams.drain()
    for path in streams.folder.glob("ledger.sqlite*"):
        path.unlink()
    (streams.folder / "ledger.sqlite").write_bytes(backup)
    await streams.send(numbered(5, first=40, around=MIDNIGHT + DAY // 2))
    await streams.drain()
    assert await streams.numbers() == list(range(90))
    assert await streams.query_value("SELECT count() FROM constructed_frames") == 45


async def test_a_hole_that_a_drain_saw_is_a_gap_after_its_restart_too(streams: StreamWorld) -> None:
    frames = numbered(30, around=MIDNIGHT + DAY // 2)
    await streams.send([*frames[:10], *frames[20:]])
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
    await streams.send(numbered(5, first=30, around=MIDNIGHT + DAY // 2))
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        async with asyncio.timeout(20):
            while not await stores.gaps():  # noqa: ASYNC110  (it stands in a file)
                await asyncio.sleep(0.05)
        (cause, detail), *more = await stores.gaps()
    assert (cause, more) == ("log lost", [])
    assert detail.startswith("frames 10 to 19 of connection")


async def test_a_drain_that_begins_at_midnight_sees_no_hole(streams: StreamWorld) -> None:
    frames = numbered(20)
    await streams.send(frames[:10])
    await streams.drain()
    await streams.send(frames[10:])
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        rounds = len(streams.bus.commits)
        await until(lambda: len(streams.bus.commits) >= rounds + 2)  # a hole would be a gap within a round of tidying
        assert await stores.gaps() == []
    assert await streams.numbers() == list(range(40))


async def test_interrupted_frames_whose_log_is_lost_are_stored_and_decoded_again(streams: StreamWorld) -> None:
    await streams.send(numbered(10, around=MIDNIGHT + DAY // 2))
    for step in range(5, 60):
        if await crash_everywhere(streams, step) and await streams.query_value(
            "SELECT count() FROM constructed_frames"
        ):
            break
    assert await streams.query_value("SELECT count() FROM constructed_frames") == 10
    streams.bus.lose(ticks.name)
    await streams.drain(mended)
    assert [number % 1_000_000 for number in await streams.numbers()] == list(range(20))


async def test_no_move_of_a_drain_that_failed_runs_beside_the_recovery(streams: StreamWorld) -> None:
    """The bus fails for the reader, and a moment later for the tidying task, while frames are being moved."""
    await streams.send(numbered(20))
    delayed = streams.delayed = DelayedWarehouse(streams.warehouse)
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: delayed.waiting)
        streams.bus.error = StoreError("the broker is gone")
        await until(lambda: stores.board.read()[0].state == "holding")
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("move ")] == []
        streams.bus.error = None
        await until(lambda: streams.is_drained(flow))
        delayed.release.set()
    assert await streams.numbers() == list(range(40))
    await streams.drain()
    assert await streams.numbers() == list(range(40))


async def test_frames_behind_a_hole_are_not_free_before_they_are_in_their_table(streams: StreamWorld) -> None:
    frames = numbered(30)
    await streams.send([*frames[:10], *frames[20:]])
    delayed = streams.delayed = DelayedWarehouse(streams.warehouse)
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: delayed.waiting)
        gap = asyncio.create_task(_gap_of(stores))
        await asyncio.wait_for(gap, 20)
        assert streams.spool.durable == {}
        delayed.release.set()
        await until(lambda: streams.is_drained(flow) and streams.spool.durable == {7: 29})


async def _gap_of(stores: Stores) -> None:
    while not await stores.gaps():  # noqa: ASYNC110  (the ledger has no notification)
        await asyncio.sleep(0.05)


async def test_a_ledger_restored_from_a_backup_made_while_frames_were_moved(streams: StreamWorld) -> None:
    ledger, backup = streams.folder / "ledger.sqlite", streams.folder / "backup.sqlite"
    await streams.send(numbered(20))
    await streams.drain()
    await streams.send(numbered(20, first=20))
    delayed = streams.delayed = DelayedWarehouse(streams.warehouse)
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: delayed.waiting)
        back_up(ledger, backup)
        delayed.release.set()
        await until(lambda: streams.is_drained(flow))
    for file in streams.folder.glob("ledger.sqlite*"):
        file.unlink()
    backup.rename(ledger)
    async with streams.stores() as stores:
        assert await stores.positions.intents(ticks.name)
    await streams.send(numbered(5, first=40))
    await streams.drain()
    assert await streams.numbers() == list(range(90))
