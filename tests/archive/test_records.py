"""Copies of the ledger's records whose old months have left: each record is there once, whatever happened in between."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import MIRRORED, SYSTEM_DATASETS, gaps, runs
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.flow import run_job
from spotlightd.flows.loads.mirror import mirror_records, rebuild_mirror, restore_records
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Run
from spotlightd.ports.ledger import Job
from spotlightd.sql.visibility import all_rows
from tests.flows.world import CrashError, Fuse, Fused, crash_steps

from .archive_world import ArchiveWorld, archive_world

LONG_AGO = datetime(2024, 11, 10, tzinfo=UTC)
LATELY = datetime(2026, 3, 1, tzinfo=UTC)
ALL = list(range(1, 13))
MONTHS = (LONG_AGO, LONG_AGO + timedelta(days=31), LATELY)


def run(at: datetime, number: int = 0) -> tuple[Any, ...]:
    """As the ledger has one, without its id."""
    return (at, "constructed", "https://example.org", f"{number}", "unchanged", "", 0, 0, 0, 0.5, "")


def gap(since: datetime, until: datetime) -> tuple[Any, ...]:
    return (until, "constructed", "AAPL", since, until, "disconnected", "", "")


def lost(at: datetime, number: int) -> tuple[Any, ...]:
    return (at, "constructed", "d", 1, 0, number, "{}", "constructed")


def reject(at: datetime, number: int) -> tuple[Any, ...]:
    return (at, "constructed", "a" * 64, "1", 0, number, "?", "constructed")


async def insert_records(ledger: SqliteLedger, table: str, some: Sequence[tuple[Any, ...]], first: int = 1) -> None:
    """Into the ledger, as of that time."""
    await ledger.restore(table, [(number, *row) for number, row in enumerate(some, first)])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ArchiveWorld]:
    """Records of three months, two of them old: in turn, so that neighbours lie in different months."""
    async with archive_world(tmp_path) as world:
        ats = [MONTHS[number % 3] + timedelta(seconds=number) for number in range(12)]
        await insert_records(world.ledger, "runs", [run(at, number) for number, at in enumerate(ats)])
        await insert_records(world.ledger, "gaps", [gap(at - timedelta(days=9), at) for at in ats])
        await insert_records(world.ledger, "lost_frames", [lost(at, number) for number, at in enumerate(ats)])
        await insert_records(world.ledger, "rejects", [reject(at, number) for number, at in enumerate(ats)])
        await mirror_records(world.ledger, world.warehouse, world.index)
        yield world


async def left(world: ArchiveWorld) -> None:
    """All that is due is dropped."""
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds, 0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()


async def ids(world: ArchiveWorld, dataset: Dataset) -> list[int]:
    """Of all records that a reader finds, hot and archived."""
    answer = await world.warehouse.rows(f"SELECT id FROM {all_rows(dataset, world.index.archived)} ORDER BY id")
    return [number for (number,) in answer.rows]


async def parts(world: ArchiveWorld, table: str) -> dict[str, int]:
    answer = await world.warehouse.rows(f"SELECT _partition_id, count() FROM {table} GROUP BY 1 ORDER BY 1")
    return dict(answer.rows)


async def test_old_months_leave_and_every_record_is_read_once(world: ArchiveWorld) -> None:
    await left(world)
    for dataset in (dataset for dataset in MIRRORED if dataset.split_by):
        assert await parts(world, dataset.name) == {"202603-0": 4}
        assert await ids(world, dataset) == ALL
        assert [archived.newest_id for archived in world.index.archived.of_dataset(dataset.name)] == [10, 11]
    assert (await world.warehouse.rows("SELECT count() FROM runs_all")).rows == ((12,),)


async def test_the_mirror_continues_after_all_hot_records_have_left(world: ArchiveWorld) -> None:
    world.clock.start += datetime(2028, 1, 1, tzinfo=UTC) - world.clock.at
    await left(world)
    assert await parts(world, "gaps") == {}
    assert await mirror_records(world.ledger, world.warehouse, world.index) == 0
    await insert_records(world.ledger, "gaps", [gap(world.clock.at, world.clock.at)], 13)
    assert await mirror_records(world.ledger, world.warehouse, world.index) == 1
    assert await ids(world, gaps) == [*ALL, 13]


async def test_records_are_mirrored_while_the_bucket_is_away(world: ArchiveWorld) -> None:
    await left(world)
    shutil.move(world.folder / "bucket", world.folder / "away")
    await world.ledger.record(Run(LATELY, "constructed", "", "", "discovered"))
    assert await mirror_records(world.ledger, world.warehouse, world.index) == 1


async def test_a_late_record_of_an_archived_month_is_archived_in_its_own_partition(world: ArchiveWorld) -> None:
    await left(world)
    await insert_records(world.ledger, "runs", [run(LONG_AGO)], 13)
    await mirror_records(world.ledger, world.warehouse, world.index)
    assert await parts(world, "runs") == {"202411-1": 1, "202603-0": 4}
    assert await ids(world, runs) == [*ALL, 13]
    await left(world)
    assert await parts(world, "runs") == {"202603-0": 4}
    assert await ids(world, runs) == [*ALL, 13]


async def test_an_interrupted_mirror_continues_without_a_hole(world: ArchiveWorld) -> None:
    """Wherever it ends, also between two months of one batch."""
    expected, steps = 12, 0
    while True:
        steps += 1
        some = [run(MONTHS[number % 3]) for number in range(4)]
        await insert_records(world.ledger, "runs", some, expected + 1)
        expected += len(some)
        try:
            await mirror_records(world.ledger, Fused(world.warehouse, Fuse(steps), ("insert",)), world.index)
            break
        except CrashError:
            await mirror_records(world.ledger, world.warehouse, world.index)
            assert await ids(world, runs) == list(range(1, expected + 1)), f"ended at step {steps}"
    assert steps > 8


class Inserts:
    """A warehouse that notes the months of each insert."""

    def __init__(self, warehouse: Any) -> None:
        self._warehouse, self.months = warehouse, list[set[int]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    async def insert(self, dataset: Dataset, some: Sequence[Sequence[Any]], *, token: str = "") -> None:
        self.months.append({row[1].month for row in some})
        await self._warehouse.insert(dataset, some, token=token)


async def test_no_insert_spans_two_months_because_half_of_it_could_stay_away(world: ArchiveWorld) -> None:
    await insert_records(world.ledger, "runs", [run(MONTHS[number // 3 % 3]) for number in range(12)], 13)
    noted = Inserts(world.warehouse)
    await mirror_records(world.ledger, noted, world.index)
    assert noted.months == [{11}, {12}, {3}, {11}]


@pytest.mark.parametrize("far", [0, 1, 2, 4], ids=["all hot", "proven", "switched", "dropped"])
async def test_a_rebuild_doubles_nothing_and_the_archiver_goes_on(world: ArchiveWorld, far: int) -> None:
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds, 0.0, world.policy.rest_seconds)[:far]:
        world.clock.seconds += pause
        await archiver.round()
    again = await rebuild_mirror(world.ledger, world.warehouse, world.index, await world.archive_ledger.partitions())
    assert again == 4 * (4 if far else 12)
    for dataset in (dataset for dataset in MIRRORED if dataset.split_by):
        assert await ids(world, dataset) == ALL
    await left(world)
    assert set((await world.stages()).values()) == {"dropped"}
    assert await ids(world, runs) == ALL
    assert await mirror_records(world.ledger, world.warehouse, world.index) == 0


async def test_a_rebuild_brings_back_what_was_damaged_and_keeps_what_came_late(world: ArchiveWorld) -> None:
    await left(world)
    await insert_records(world.ledger, "runs", [run(LONG_AGO)], 13)
    await mirror_records(world.ledger, world.warehouse, world.index)
    await world.warehouse.execute("DELETE FROM runs WHERE at > '2026-01-01' AND id != 12")
    await rebuild_mirror(world.ledger, world.warehouse, world.index, await world.archive_ledger.partitions())
    assert await ids(world, runs) == [*ALL, 13]
    assert await parts(world, "runs") == {"202411-1": 1, "202603-0": 4}


@pytest.mark.slow
async def test_an_interrupted_rebuild_leaves_the_old_copy_or_the_new_one(world: ArchiveWorld) -> None:
    await left(world)
    known = await world.archive_ledger.partitions()
    for steps in crash_steps():
        around: Any = Fused(world.warehouse, Fuse(steps), ("execute", "insert"))
        try:
            await rebuild_mirror(world.ledger, around, world.index, known)
        except CrashError:
            is_over = False
            assert await mirror_records(world.ledger, world.warehouse, world.index) == 0
            for dataset in SYSTEM_DATASETS:  # as at a start
                await world.warehouse.ensure(dataset, world.index.archived)
            assert (await world.warehouse.rows("SHOW TABLES LIKE 'anew%'")).rows == ()
        else:
            is_over = True
        assert await ids(world, runs) == ALL, f"ended at step {steps}"
        assert await ids(world, gaps) == ALL, f"ended at step {steps}"
        if is_over:
            break
    assert steps > 30


async def test_a_lost_ledger_gets_its_records_back_from_table_and_archive(world: ArchiveWorld, tmp_path: Path) -> None:
    await left(world)
    before = {dataset.name: await world.ledger.history(dataset.name, 0, 100) for dataset in MIRRORED}
    async with SqliteLedger(tmp_path / "another.sqlite") as ledger:
        await recover(ledger, world.warehouse, Publications(ledger, world.warehouse), SYSTEM_DATASETS, world.index)
        assert {dataset.name: await ledger.history(dataset.name, 0, 100) for dataset in MIRRORED} == before
        await ledger.record(Run(LATELY, "constructed", "", "", "discovered"))
        assert await mirror_records(ledger, world.warehouse, world.index) == 1
    assert await ids(world, runs) == [*ALL, 13]


async def test_a_lost_ledger_waits_for_a_bucket_that_it_needs(world: ArchiveWorld, tmp_path: Path) -> None:
    await left(world)
    shutil.move(world.folder / "bucket", world.folder / "away")
    async with SqliteLedger(tmp_path / "another.sqlite") as ledger:
        with pytest.raises(StoreError):
            await restore_records(ledger, world.warehouse, world.index)
        shutil.move(world.folder / "away", world.folder / "bucket")
        assert await restore_records(ledger, world.warehouse, world.index) == 48


async def test_a_month_is_not_restored_into_a_reserved_table_name(world: ArchiveWorld) -> None:
    await left(world)
    with pytest.raises(SettingsError, match="names that begin with anew_ or drill_ are reserved"):
        await run_job(world.archiver(), Job("restore", "runs", partition="202411-0", into="anew_runs"))


async def test_a_restored_month_is_read_once_and_the_copy_goes_on(world: ArchiveWorld) -> None:
    await left(world)
    await run_job(world.archiver(), Job("restore", "runs", partition="202411-0"))
    await world.index.refresh()
    assert await parts(world, "runs") == {"202411-0": 4, "202603-0": 4}
    assert await ids(world, runs) == ALL
    assert await mirror_records(world.ledger, world.warehouse, world.index) == 0
