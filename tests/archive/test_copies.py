"""After a state went back in time, readers who have only the bucket count no row twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from structlog.testing import capture_logs

from spotlightd.datasets.trades import trades
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.flow import run_job
from spotlightd.ports.ledger import Job
from spotlightd.web.pages.archive import summarize

from .archive_world import DAYS, ArchiveWorld, archive_world, tick

INGESTED = [column.name for column in trades.stored].index("ingested")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path) as archive:
        yield archive


async def archived(world: ArchiveWorld) -> Archiver:
    """All that is old has left the table."""
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()
    return archiver


async def go_back(world: ArchiveWorld, numbers: Sequence[int] = range(1000)) -> None:
    """A backup from before the archive is restored: what the bus still had was received again, and decoded later."""
    for table in ("trades", "archives"):
        await world.warehouse.execute(f"TRUNCATE TABLE {table} SYNC")
    await world.warehouse.seal(trades, {})
    for table in ("partitions", "archive_checks"):
        await world.ledger.run(f"DELETE FROM {table}")
    await world.index.refresh()
    for day in DAYS:
        await world.warehouse.insert(trades, [decoded_later(day, number) for number in numbers])


def decoded_later(day: date, number: int) -> tuple[object, ...]:
    row = list(tick(day, number))
    row[INGESTED] += timedelta(hours=5)
    return tuple(row)


def count_outside(world: ArchiveWorld) -> int:
    """The rows that the query of docs/archive.md counts."""
    files = f"{world.folder}/bucket/trades/*/*/*.parquet"
    with duckdb.connect() as stranger:
        rows = stranger.execute(f"SELECT count(*) FROM read_parquet('{files}', hive_partitioning = true)").fetchone()
    return int(rows[0]) if rows else 0


async def test_rows_that_were_decoded_again_are_recognised_and_stored_once(world: ArchiveWorld) -> None:
    await archived(world)
    before = await world.read()
    key = (await world.partition("20260301-0")).keys
    await go_back(world)
    with capture_logs() as events:
        await archived(world)
    assert await world.stages() == {"20260301-0": "dropped", "20260302-0": "dropped"}
    assert (await world.partition("20260301-0")).keys == key
    assert [event["event"] for event in events].count("copy recognised") == 2
    assert count_outside(world) == 2000
    assert (await world.read()).rows == before.rows


async def test_a_recognised_partition_can_be_restored_from_either_place(world: ArchiveWorld) -> None:
    await archived(world)
    await go_back(world)
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds):
        world.clock.seconds += pause
        await archiver.round()
    await run_job(archiver, Job("restore", "trades", partition="20260301-0"))
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    await run_job(archiver, Job("restore", "trades", partition="20260302-0"))
    assert set((await world.stages()).values()) == {"restored"}
    assert (await world.read()).rows == 3000


async def test_another_copy_of_a_partition_lies_where_no_recommended_path_leads(world: ArchiveWorld) -> None:
    await archived(world)
    await go_back(world, range(990))
    with capture_logs() as events:
        archiver = await archived(world)
    assert await world.stages() == {"20260301-0": "dropped", "20260302-0": "dropped"}
    assert (await world.partition("20260301-0")).keys[0].startswith("uncounted/trades/archive_day=2026-03-01/")
    assert [event["event"] for event in events].count("copy not counted") == 2
    assert count_outside(world) == 2000
    assert (await world.read()).rows == 2970
    assert (await archiver.checks.audit()).defects == ()


async def test_objects_that_the_state_does_not_know_are_told_at_the_start(world: ArchiveWorld) -> None:
    await archived(world)
    assert (await world.archive_ledger.checks())["objects"].passed
    await go_back(world)
    archiver = world.archiver()
    with capture_logs() as events:
        await archiver.round()
    check = (await world.archive_ledger.checks())["objects"]
    assert not check.passed
    assert "the bucket holds 2 objects that this state does not know" in check.detail
    assert [event["detail"] for event in events if event["event"] == "state went back"] == [check.detail]
    assert check.detail in summarize(archiver.state())


async def test_unknown_objects_block_no_drop(world: ArchiveWorld) -> None:
    await archived(world)
    await go_back(world)
    await archived(world)
    assert not (await world.archive_ledger.checks())["objects"].passed
    assert set((await world.stages()).values()) == {"dropped"}


async def test_a_copy_that_cannot_be_read_is_no_copy(world: ArchiveWorld) -> None:
    await archived(world)
    path = world.folder / "bucket" / (await world.partition("20260301-0")).keys[0]
    path.chmod(0o600)
    path.write_bytes(b"PAR1 constructed damage PAR1")
    await go_back(world)
    await world.archiver().round()
    assert (await world.partition("20260301-0")).keys[0].startswith("uncounted/")
