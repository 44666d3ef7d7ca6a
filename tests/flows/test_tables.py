"""A table that was renamed, dropped or emptied is neither made anew nor filled, until a person has looked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.system import SYSTEM_DATASETS, hidden_rows
from spotlightd.flows.batch.schedule import Collector, Wakeups
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.publications import PublicationCounter
from spotlightd.flows.upkeep.table_watch import TableWatch
from spotlightd.flows.upkeep.tables import TableDefect, TableFacts, compare_index
from spotlightd.model.offsets import Epoch, Position
from spotlightd.model.partition import Partition
from spotlightd.model.stream import Stream, frames_of
from spotlightd.sql.tiers import Archived, ArchivedPartitions, Archives
from tests.polling import until

from .constructed_ticks import numbered, ticks
from .stream_world import StreamWorld
from .world import World, constructed_counts, source

A = "2021-01-04,1\n2021-01-05,2\n"
B = "2022-01-04,7\n"
REMEDY = {"constructed_counts": "loads them again"}


@dataclass
class Watched:
    """A watch of the tables, and what it watches with."""

    facts: TableFacts
    gate: Gate
    watch: TableWatch

    async def find(self) -> dict[str, str]:
        return {defect.table: defect.kind for defect in await self.facts.find_defects()}

    def reason(self) -> str:
        return self.gate.table_reason((constructed_counts,))


def watch_of(
    warehouse: Any, ledger: SqliteLedger, *, streams: Sequence[Stream] = (), archives: Archives | None = None
) -> Watched:
    datasets = (constructed_counts, *(frames_of(stream) for stream in streams), *SYSTEM_DATASETS)
    facts = TableFacts(
        warehouse, PublicationCounter(warehouse), SqliteArchive(ledger), SqlitePositions(ledger), archives or Fixed(),
        datasets, streams, REMEDY,
    )  # fmt: skip
    gate = Gate()
    return Watched(facts, gate, TableWatch(facts, gate))


@dataclass(frozen=True)
class Fixed:
    """An index of the archive with these partitions."""

    archived: ArchivedPartitions = ArchivedPartitions()


@asynccontextmanager
async def published(world: World) -> AsyncIterator[Watched]:
    """Two documents with three rows are visible."""
    world.serve({"2021/a": A, "2022/a": B})
    await world.ingest()
    async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        yield watch_of(world.warehouse, ledger)


async def test_a_renamed_table_holds_its_flows_with_its_name_and_the_remedy(world: World) -> None:
    async with published(world) as watched:
        await world.warehouse.execute("RENAME TABLE constructed_counts TO elsewhere")
        with capture_logs() as events:
            await watched.watch.check()
            await watched.watch.check()
        assert "table constructed_counts is missing: 2 publications" in watched.reason()
        assert "rename it back (RENAME TABLE … TO constructed_counts)" in watched.reason()
        assert "`spotlightd rebuild constructed_counts`, which loads them again" in watched.reason()
        assert watched.gate.hold_reason("batch loads", (constructed_counts,)) == watched.reason()
        assert watched.gate.hold_reason("batch loads", SYSTEM_DATASETS) == ""
        assert [event["event"] for event in events] == ["table lost rows"]
        await world.warehouse.execute("RENAME TABLE elsewhere TO constructed_counts")
        await watched.watch.check()
        assert watched.reason() == ""
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7}


async def test_the_flow_names_what_is_wrong_on_the_board(world: World) -> None:
    async with published(world) as watched:
        await world.warehouse.execute("DROP TABLE constructed_counts SYNC")
        await watched.watch.check()
        board = Board()
        watched.watch._report(board.reporter("tables"))
        (status,) = board.read()
        assert status.state == "holding"
        assert "table constructed_counts is missing" in status.error


async def test_a_table_that_nobody_knows_rows_of_is_no_defect(world: World) -> None:
    await world.warehouse.execute("DROP TABLE constructed_counts SYNC")
    async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        assert await watch_of(world.warehouse, ledger).find() == {}


@pytest.mark.parametrize(
    ("loss", "kind", "holds"),
    [
        ("TRUNCATE TABLE constructed_counts SYNC", "empty", True),
        ("DELETE FROM constructed_counts WHERE 1", "empty", True),
        ("DELETE FROM constructed_counts WHERE count = 7", "short", False),
    ],
)
async def test_an_emptied_table_holds_and_one_that_lost_a_part_is_told(
    world: World, loss: str, kind: str, holds: bool
) -> None:
    async with published(world) as watched:
        assert await watched.find() == {}
        await world.warehouse.execute(loss)
        await watched.watch.check()
        assert [(defect.table, defect.kind) for defect in watched.watch.defects] == [("constructed_counts", kind)]
        assert bool(watched.reason()) == holds


async def test_rows_that_were_replaced_need_not_be_there(world: World) -> None:
    async with published(world) as watched:
        world.serve({"2021/a": "2021-01-04,5\n", "2022/a": B})
        await world.ingest()
        await world.warehouse.execute("DELETE FROM constructed_counts WHERE count IN (1, 2)")
        assert await watched.find() == {}


async def test_rows_that_are_in_the_archive_need_not_be_in_the_table(world: World) -> None:
    async with published(world) as watched:
        await world.warehouse.execute("TRUNCATE TABLE constructed_counts SYNC")
        partition = Archived(constructed_counts, "2021-0", ("constructed_counts/a.parquet",), 3, {})
        index = Fixed(ArchivedPartitions({"constructed_counts": (partition,)}))
        watched.facts = replace(watched.facts, archives=index)
        assert await watched.find() == {}
        await world.warehouse.execute("DROP TABLE constructed_counts SYNC")
        assert await watched.find() == {"constructed_counts": "missing"}


async def test_a_loss_that_was_accepted_is_no_defect_and_later_rows_are_expected(world: World) -> None:
    async with published(world) as watched:
        await world.warehouse.execute("TRUNCATE TABLE constructed_counts SYNC")
        await watched.facts.archive_ledger.accept_loss("constructed_counts", 2)
        assert await watched.find() == {}
        world.serve({"2023/a": "2023-01-04,3\n"})
        await world.ingest()
        assert await watched.find() == {}
        await world.warehouse.execute("TRUNCATE TABLE constructed_counts SYNC")
        assert await watched.find() == {"constructed_counts": "empty"}


async def test_documents_whose_rows_are_lost_are_loaded_again_from_the_stored_bytes(world: World) -> None:
    async with published(world):
        pass
    await world.warehouse.execute("TRUNCATE TABLE constructed_counts SYNC")
    async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        assert await ledger.forget_outcomes("constructed") == 2
    world.publishers.requests.clear()
    outcomes = [result.outcome for result in await world.ingest(again=False)]
    assert outcomes == ["published", "published"]
    assert len(world.publishers.requests) == 1, "only the index is asked for"
    assert await world.read_counts() == {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7}
    assert [result.outcome for result in await world.ingest()] == ["unchanged", "unchanged"]


async def test_without_an_index_nothing_is_written_at_all(world: World) -> None:
    async with published(world) as watched:
        await world.warehouse.execute("RENAME TABLE archives TO elsewhere")
        await watched.watch.check()
        assert "table archives is missing" in watched.reason()
        assert watched.gate.table_reason(SYSTEM_DATASETS) == watched.reason()
        await world.warehouse.execute("RENAME TABLE constructed_counts TO lost")
        await world.warehouse.execute("RENAME TABLE elsewhere TO archives")
        await watched.watch.check()
        assert watched.watch.missing == {"constructed_counts"}


async def test_a_table_that_is_missing_while_an_index_is_missing_too_is_not_made(world: World) -> None:
    async with published(world) as watched:
        await world.warehouse.execute("RENAME TABLE constructed_counts TO lost")
        await watched.watch.check()
        await world.warehouse.execute("RENAME TABLE archives TO elsewhere")
        await watched.watch.check()
        tables = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'constructed_counts'"
        assert (await world.warehouse.rows(tables)).rows == ((0,),)


async def test_tables_that_are_older_than_the_ledger_hold_everything(world: World) -> None:
    async with published(world) as watched:
        await world.warehouse.execute("DELETE FROM loads WHERE seq = 2")
        async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
            stale, past = await compare_index(ledger, SqliteArchive(ledger), world.warehouse)
        assert isinstance(stale, TableDefect)
        assert "ends at publication 1, and the ledger knows 2" in stale.detail
        assert past == ""
        watched.watch.start_from(stale, past)
        with capture_logs() as events:
            await watched.watch.check()
        assert watched.reason() == stale.detail
        assert "state went back" in [event["event"] for event in events]


async def test_a_ledger_that_is_older_than_the_tables_is_told(world: World) -> None:
    async with published(world) as watched, SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        await ledger.run("DELETE FROM loads WHERE seq = 2")
        stale, past = await compare_index(ledger, SqliteArchive(ledger), world.warehouse)
        assert stale is None
        assert past == "the ledger ended at publication 1 and the tables at 2: the ledger was older"
        with capture_logs() as events:
            watched.watch.start_from(stale, past)
        assert events[0]["event"] == "state went back"
        await watched.watch.check()
        board = Board()
        watched.watch._report(board.reporter("tables"))
        assert past in board.read()[0].message


@pytest.fixture
def stream_world(tmp_path: Path, warehouse: ClickHouse) -> StreamWorld:
    return StreamWorld(tmp_path, warehouse)


async def test_an_index_of_the_archive_that_is_older_than_the_ledger_is_noticed(world: World) -> None:
    async with published(world), SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        await SqliteArchive(ledger).save_partition(Partition("constructed_counts", 2021, 0, "dropped"))
        stale, _ = await compare_index(ledger, SqliteArchive(ledger), world.warehouse)
        assert stale is not None
        assert "constructed_counts 2021-0 is in the bucket" in stale.detail


async def drained(streams: StreamWorld) -> None:
    await streams.prepare()
    await streams.send(numbered(30))
    await streams.drain()


async def test_the_frame_that_was_moved_last_must_be_in_its_table(stream_world: StreamWorld) -> None:
    await drained(stream_world)
    table = frames_of(ticks).name
    async with SqliteLedger(stream_world.folder / "ledger.sqlite") as ledger:
        watched = watch_of(stream_world.warehouse, ledger, streams=(ticks,))
        assert await watched.find() == {}
        await stream_world.warehouse.execute(f"DELETE FROM {table} WHERE offset >= 20")
        assert await watched.find() == {table: "stale"}
        await stream_world.warehouse.execute(f"TRUNCATE TABLE {table} SYNC")
        assert await watched.find() == {table: "empty"}
        await stream_world.warehouse.execute(f"DROP TABLE {table} SYNC")
        assert await watched.find() == {table: "missing"}


async def test_a_frame_on_an_archived_day_is_not_looked_for_in_the_table(stream_world: StreamWorld) -> None:
    await drained(stream_world)
    dataset = frames_of(ticks)
    await stream_world.warehouse.execute(f"TRUNCATE TABLE {dataset.name} SYNC")
    ever = {"received": (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))}
    partition = Archived(dataset, "20260301-0", ("a.parquet",), 30, ever)
    index = Fixed(ArchivedPartitions({dataset.name: (partition,)}))
    async with SqliteLedger(stream_world.folder / "ledger.sqlite") as ledger:
        watched = watch_of(stream_world.warehouse, ledger, streams=(ticks,), archives=index)
        assert await watched.find() == {}


@pytest.mark.parametrize(("loss", "kind"), [("WHERE 1", "empty"), ("WHERE offset > 5", "short")])
async def test_a_table_of_a_stream_that_shrinks_while_the_daemon_runs_is_told(
    stream_world: StreamWorld, loss: str, kind: str
) -> None:
    """`loads` does not know how many rows a stream has brought."""
    await drained(stream_world)
    async with SqliteLedger(stream_world.folder / "ledger.sqlite") as ledger:
        watched = watch_of(stream_world.warehouse, ledger, streams=(ticks,))
        await watched.watch.check()
        assert not watched.watch.defects
        await stream_world.warehouse.execute(f"DELETE FROM {ticks.dataset.name} {loss}")
        for _ in range(2):
            await watched.watch.check()
            assert {defect.table: defect.kind for defect in watched.watch.defects} == {ticks.dataset.name: kind}


@pytest.mark.parametrize(("in_archive", "hot"), [(0, 60), (100, 30)])
async def test_a_table_of_a_stream_that_was_emptied_holds_its_flows_also_after_a_start(
    stream_world: StreamWorld, in_archive: int, hot: int
) -> None:
    """However many rows are in the archive, and although new rows come in at once."""
    await drained(stream_world)
    partition = Archived(ticks.dataset, "20260301-0", ("a.parquet",), in_archive, {})
    index = Fixed(ArchivedPartitions({ticks.dataset.name: (partition,)} if in_archive else {}))
    table = ticks.dataset.name
    async with SqliteLedger(stream_world.folder / "ledger.sqlite") as ledger:
        running = watch_of(stream_world.warehouse, ledger, streams=(ticks,), archives=index)
        await running.watch.check()
        assert not running.watch.defects
        await stream_world.warehouse.execute(f"TRUNCATE TABLE {table} SYNC")
        started = watch_of(stream_world.warehouse, ledger, streams=(ticks,), archives=index)
        for watched in (running, started):
            await watched.watch.check()
            (defect,) = watched.watch.defects
            assert (defect.table, defect.kind) == (table, "empty")
            assert f"table {table} is empty: it had {hot} rows, and has 0" in watched.gate.table_reason(
                (ticks.dataset,)
            )
        await SqliteArchive(ledger).accept_loss(table, 1)
        accepted = watch_of(stream_world.warehouse, ledger, streams=(ticks,), archives=index)
        await accepted.watch.check()
        assert not accepted.watch.defects


async def test_a_table_of_a_stream_that_fills_again_after_it_was_emptied_is_still_held(
    stream_world: StreamWorld,
) -> None:
    await drained(stream_world)
    async with SqliteLedger(stream_world.folder / "ledger.sqlite") as ledger:
        await SqliteArchive(ledger).save_row_count(ticks.dataset.name, 60_000)
        watched = watch_of(stream_world.warehouse, ledger, streams=(ticks,))
        await watched.watch.check()
        assert "it had 60,000 rows, and has 60" in watched.gate.table_reason((ticks.dataset,))


async def test_rows_of_a_stream_that_left_for_the_archive_are_not_expected_in_its_table(
    stream_world: StreamWorld,
) -> None:
    await drained(stream_world)
    table = ticks.dataset.name
    async with SqliteLedger(stream_world.folder / "ledger.sqlite") as ledger:
        await watch_of(stream_world.warehouse, ledger, streams=(ticks,)).watch.check()
        assert await SqliteArchive(ledger).row_counts() == {table: 60, frames_of(ticks).name: 30}
        await stream_world.warehouse.execute(f"TRUNCATE TABLE {table} SYNC")
        partition = Archived(ticks.dataset, "20260301-0", ("a.parquet",), 60, {})
        index = Fixed(ArchivedPartitions({table: (partition,)}))
        watched = watch_of(stream_world.warehouse, ledger, streams=(ticks,), archives=index)
        await watched.watch.check()
        assert not watched.watch.defects


async def test_frames_that_were_given_up_are_not_expected(stream_world: StreamWorld) -> None:
    await drained(stream_world)
    table = frames_of(ticks).name
    await stream_world.warehouse.execute(f"TRUNCATE TABLE {table} SYNC")
    async with SqliteLedger(stream_world.folder / "ledger.sqlite") as ledger:
        positions = SqlitePositions(ledger)
        known, epoch = await positions.positions(ticks.name), await positions.epoch(ticks.name)
        assert isinstance(epoch, Epoch)
        await positions.begin_epoch(epoch, [Position(1, number, known[number].offset) for number in known])
        assert await watch_of(stream_world.warehouse, ledger, streams=(ticks,)).find() == {}
        assert (await positions.positions(ticks.name))[0].offset == known[0].offset


async def test_a_drain_waits_while_its_table_is_held_and_goes_on_when_it_is_back(stream_world: StreamWorld) -> None:
    await stream_world.prepare()
    async with stream_world.stores() as stores:
        stores.gate.hold_tables({ticks.dataset.name: "the table is gone"})
        async with stores.run_drain(ticks) as flow:
            await stream_world.send(numbered(10))
            await until(lambda: "the table is gone" in stores.board.read()[0].error)
            assert flow.states() == ()
            stores.gate.hold_tables({})
            await until(lambda: stream_world.is_drained(flow))
    assert len(await stream_world.numbers()) == 20


async def test_a_source_that_waits_for_its_next_check_says_that_its_table_is_gone(world: World) -> None:
    async with world.stores() as context:
        context.gate.hold_tables({"constructed_counts": "the table is gone"})
        board = Board()
        collector = Collector(source(), world.publishers, context, Wakeups())
        task = asyncio.create_task(collector(board.reporter("collect")))
        await until(lambda: board.read()[0].state == "holding")
        task.cancel()
        await asyncio.wait([task])
        assert board.read()[0].error == "the table is gone"
    assert world.publishers.requests == []


@pytest.mark.parametrize(
    ("loss", "kind", "fact"),
    [
        ("DROP TABLE hidden_rows SYNC", "missing", "it had 3 rows, and has 0"),
        ("TRUNCATE TABLE hidden_rows SYNC", "empty", "it had 3 rows, and has 0"),
        ("DELETE FROM hidden_rows WHERE line = 1", "short", "it had 3 rows, and has 2"),
    ],
)
async def test_a_loss_of_notes_of_hidden_rows_is_told_and_holds_what_would_be_read_twice(
    world: World, loss: str, kind: str, fact: str
) -> None:
    repeating = replace(constructed_counts, repeats_within=3)
    async with published(world) as before:
        rows = [("constructed_counts", 1, 0, line, 2, datetime(2026, 3, 1, tzinfo=UTC)) for line in (1, 2, 3)]
        await world.warehouse.insert(hidden_rows, rows)
        await before.watch.check()
        assert not before.watch.defects
        facts = replace(
            before.facts, datasets=(repeating, *SYSTEM_DATASETS), remedies={"hidden_rows": "notes them again"}
        )
        watch = TableWatch(facts, before.gate)
        await world.warehouse.execute(loss)
        await watch.check()
        (defect,) = watch.defects
        assert (defect.table, defect.kind) == ("hidden_rows", kind)
        assert fact in defect.detail
        assert "`spotlightd rebuild hidden_rows`, which notes them again" in defect.detail
        assert (before.gate.table_reason((repeating,)) == defect.detail) is (kind != "short")
        await facts.archive_ledger.accept_loss("hidden_rows", 1)
        await watch.check_again()
        assert not watch.defects
