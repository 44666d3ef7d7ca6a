"""Old partitions leave the warehouse: each row is read exactly once at every moment, whatever ends in between."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.bars import bars, minutely
from spotlightd.datasets.trades import trades
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.flow import run_job
from spotlightd.flows.archive.restore import restore
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.transform import TransformRunner
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.model.stream import covers, load_digest
from spotlightd.ports.ledger import Job
from spotlightd.ports.storage import Object
from spotlightd.sql.tiers import Span
from spotlightd.sql.visibility import all_rows
from tests.flows.world import CrashError, Fuse, Fused, crash_steps

from .archive_world import DAYS, FEED, ArchiveWorld, archive_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path) as archive:
        yield archive


async def test_a_partition_leaves_in_steps_and_every_row_is_read_once_all_the_time(world: ArchiveWorld) -> None:
    whole, archiver = await world.read(), world.archiver()
    assert whole.rows == 3000
    await archiver.round()
    assert await world.stages() == {"20260301-0": "verified", "20260302-0": "verified"}
    world.clock.seconds += world.policy.grace_seconds
    await archiver.round()
    assert await world.stages() == {"20260301-0": "switched", "20260302-0": "switched"}
    assert await world.read() == whole
    assert len(await world.hot()) == 3
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    assert await world.stages() == {"20260301-0": "dropped", "20260302-0": "dropped"}
    assert await world.hot() == {"20260319-0": 1000}
    assert await world.read() == whole


async def test_late_rows_get_their_own_generation(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    await archiver.round()
    await world.insert(DAYS[0], range(1000, 1010))
    assert (await world.hot())["20260301-1"] == 10
    for pause in (
        world.policy.grace_seconds,
        world.policy.rest_seconds,
        world.policy.grace_seconds,
        world.policy.rest_seconds,
    ):
        world.clock.seconds += pause
        await archiver.round()
    assert await world.hot() == {"20260319-0": 1000}
    assert (await world.read()).rows == 3010
    assert [archived.partition for archived in world.index.archived.of_dataset("trades")] == [
        "20260301-0",
        "20260301-1",
        "20260302-0",
    ]


CHANGES = (
    "execute",
    "seal",
    "put",
    "record",
    "save_partition",
    "save_check",
)  # what a store does that can be done by half


async def through(world: ArchiveWorld, fuse: Fuse | None = None) -> None:
    """All that is due leaves, each time by an archiver that was just started."""
    around = (lambda store: Fused(store, fuse, CHANGES)) if fuse else (lambda store: store)
    archiver = world.archiver(around)
    for pause in (0.0, world.policy.grace_seconds, 0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()


@pytest.mark.slow
async def test_a_crash_at_any_step_loses_and_doubles_nothing(world: ArchiveWorld) -> None:
    """Every call of a store in turn is the last one that is begun, and then the last one that is done. The archiver
    starts again, and the next ending is that of another partition.
    """
    expected = 3000
    await through(world)
    for steps in crash_steps():
        await world.insert(DAYS[0] - timedelta(days=steps), range(50))
        expected += 50
        try:
            await through(world, Fuse(steps))
        except CrashError:
            assert (await world.read()).rows == expected, f"after the end at step {steps}"
            await through(world)
            is_over = False
        else:
            is_over = True
        assert (await world.read()).rows == expected, f"ended at step {steps}"
        assert await world.hot() == {"20260319-0": 1000}
        if is_over:
            break
    assert steps > 20


async def archived(world: ArchiveWorld) -> Archiver:
    """The first two days, all the way."""
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds, 0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()
    assert await world.hot() == {"20260319-0": 1000}
    return archiver


async def test_a_drill_restores_a_partition_and_finds_it_the_same(world: ArchiveWorld) -> None:
    archiver = await archived(world)
    result = await archiver.checks.drill()
    assert result is not None
    assert result.is_same
    assert result.fingerprint.rows == 1000
    assert (await world.warehouse.rows("SHOW TABLES LIKE 'drill%'")).rows == ()


async def test_a_drill_comes_by_itself_after_its_time(world: ArchiveWorld) -> None:
    archiver = await archived(world)
    assert "drill" not in await world.archive_ledger.checks()
    world.clock.seconds += 86_400 * world.policy.drill_days
    await archiver.round()
    assert (await world.archive_ledger.checks())["drill"].detail.endswith("1,000 rows: same")


async def test_a_restored_partition_is_read_from_its_table_again(world: ArchiveWorld) -> None:
    whole, _ = await world.read(), await archived(world)
    await restored(world, "20260301-0")
    assert await world.hot() == {"20260301-0": 1000, "20260319-0": 1000}
    assert await world.read() == whole
    await world.archiver().round()
    assert (await world.stages())["20260301-0"] == "restored"


async def test_an_interrupted_restore_is_repeated_and_no_reader_saw_it(world: ArchiveWorld) -> None:
    whole, _ = await world.read(), await archived(world)
    await world.warehouse.execute(
        "INSERT INTO trades (symbol, received, archive_generation) VALUES ('half', '2026-03-01 00:00:00', 0)"
    )
    assert await world.read() == whole
    await restored(world, "20260301-0")
    assert await world.read() == whole


async def restored(world: ArchiveWorld, name: str) -> None:
    await world.archive_ledger.save_partition(await restore(world.context(), await world.partition(name)))


async def test_a_missing_object_is_noticed_and_stops_all_drops(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds):
        world.clock.seconds += pause
        await archiver.round()
    (world.folder / "bucket" / (await world.partition("20260302-0")).keys[0]).unlink()
    result = await archiver.checks.audit()
    assert len(result.defects) == 1
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    assert await world.stages() == {"20260301-0": "switched", "20260302-0": "switched"}
    assert "nothing is dropped" in (await world.partition("20260301-0")).detail
    assert len(await world.hot()) == 3


@pytest.mark.parametrize("damage", ["flipped byte", "cut off", "no manifest", "mangled end"])
async def test_a_copy_that_is_not_the_same_is_held_and_nothing_is_dropped(world: ArchiveWorld, damage: str) -> None:
    archiver = world.archiver(
        lambda port: Damaging(port, world.folder / "bucket", damage) if isinstance(port, FolderBucket) else port
    )
    for pause in (0.0, world.policy.grace_seconds, world.policy.rest_seconds):
        world.clock.seconds += pause
        with suppress(StoreError):
            await archiver.round()
    assert "dropped" not in (await world.stages()).values()
    assert "switched" not in (await world.stages()).values()
    assert len(await world.hot()) == 3
    assert (await world.read()).rows == 3000


class Damaging:
    """A bucket that confirms a file but stores something else."""

    def __init__(self, bucket: FolderBucket, root: Path, damage: str) -> None:
        self._bucket, self._root, self._damage = bucket, root, damage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        stored = await self._bucket.put(key, body, digest)
        path = self._root / key
        whole = path.read_bytes()
        path.chmod(0o600)
        if key.endswith(".json"):
            if self._damage == "no manifest":
                path.unlink()
        elif self._damage == "flipped byte":
            path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        elif self._damage == "cut off":
            path.write_bytes(whole[:-1000])
        elif self._damage == "mangled end":
            path.write_bytes(b"PAR1" + whole[4:-8] + whole[-8:][::-1])
        return stored


async def test_a_hot_row_that_changed_after_the_switch_is_noticed_before_the_drop(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds):
        world.clock.seconds += pause
        await archiver.round()
    await world.warehouse.execute("DELETE FROM trades WHERE received < '2026-03-02 00:00:00' AND offset = 7")
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    assert await world.stages() == {"20260301-0": "held", "20260302-0": "dropped"}
    assert "holds" in (await world.partition("20260301-0")).detail


async def test_a_lost_ledger_is_adopted_from_the_warehouse_and_the_bucket(world: ArchiveWorld) -> None:
    whole, archiver = await world.read(), world.archiver()
    for pause in (0.0, world.policy.grace_seconds):
        world.clock.seconds += pause
        await archiver.round()
    await world.ledger.run("DELETE FROM partitions")
    archiver = world.archiver()
    for pause in (0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()
    assert await world.stages() == {"20260301-0": "dropped", "20260302-0": "dropped"}
    assert await world.read() == whole


async def test_a_jump_of_the_clock_shortens_no_rest(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds):
        world.clock.seconds += pause
        await archiver.round()
    world.clock.start += timedelta(hours=2)
    await archiver.round()
    assert set((await world.stages()).values()) == {"switched"}
    world.clock.start -= timedelta(hours=4)
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    assert set((await world.stages()).values()) == {"dropped"}


async def test_a_reader_never_sees_a_row_twice_or_not_at_all(world: ArchiveWorld) -> None:
    whole, reads, going = await world.read(), list[Fingerprint](), True

    async def reading() -> None:
        while going:
            reads.append(await world.read())

    reader, archiver = asyncio.create_task(reading()), world.archiver()
    for pause in (0.0, world.policy.grace_seconds, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()
    going = False
    await reader
    assert len(reads) > 5
    assert set(reads) == {whole}


async def test_duckdb_reads_the_files_and_finds_the_same_rows(world: ArchiveWorld) -> None:
    """Another program reads the bucket, without any other file of the instance."""
    await archived(world)
    files = f"{world.folder}/bucket/trades/*/*/*.parquet"
    sql = 'SELECT symbol, count(*), sum(price), sum(volume), max(len(conditions)), min(received), max("offset") FROM {} GROUP BY symbol ORDER BY symbol'
    with duckdb.connect() as stranger:
        stranger.execute("SET TimeZone = 'UTC'")
        theirs = stranger.execute(sql.format(f"read_parquet('{files}', hive_partitioning = true)")).fetchall()
        days = stranger.execute(
            f"SELECT archive_day, archive_generation, count(*) FROM read_parquet('{files}', hive_partitioning = true) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    stored = await world.warehouse.rows(
        f"SELECT symbol, count(), sum(price), sum(volume), max(length(conditions)), min(received), max(offset) FROM {all_rows(trades, world.index.archived)}"
        " WHERE received < '2026-03-03 00:00:00' GROUP BY symbol ORDER BY symbol"
    )
    assert [tuple(row) for row in theirs] == list(stored.rows)
    assert [(str(day)[:10], number, many) for day, number, many in days] == [
        ("2026-03-01", 0, 1000),
        ("2026-03-02", 0, 1000),
    ]


async def test_a_column_that_is_added_later_has_its_default_in_archived_rows_too(world: ArchiveWorld) -> None:
    await archived(world)
    wider = replace(trades, columns=(*trades.columns, Column("settled", "UInt32", "constructed: a new column")))
    await world.warehouse.ensure(wider)
    index = WarehouseArchives(world.warehouse, (wider,), world.bucket.table)
    await index.refresh()
    answer = await world.warehouse.rows(
        f"SELECT settled, count() FROM {all_rows(wider, index.archived)} GROUP BY settled"
    )
    assert answer.rows == ((0, 3000),)


async def test_the_current_view_includes_archived_rows(world: ArchiveWorld) -> None:
    await world.warehouse.execute(
        "INSERT INTO loads (seq, dataset, load_id, source, document, published_at) VALUES"
        f" (1, 'trades', 1, 'constructed', '{'0' * 64}', now64(6))"
    )
    await archived(world)
    assert (await world.warehouse.rows("SELECT count() FROM trades_current")).rows == ((3000,),)


async def test_hot_days_are_read_without_the_bucket(world: ArchiveWorld) -> None:
    await archived(world)
    shutil.move(world.folder / "bucket", world.folder / "away")
    with pytest.raises(StoreError):
        await world.read()
    since = Span({"received": (datetime(2026, 3, 3, tzinfo=UTC), None)})
    sql = f"SELECT count() FROM {all_rows(trades, world.index.archived, since)}"
    assert (await world.warehouse.rows(sql)).rows == ((1000,),)


async def test_a_part_that_is_damaged_on_the_disk_is_never_archived(world: ArchiveWorld) -> None:
    """A byte of it is turned: the engine's own checksum detects it, and the partition stays as it is."""
    (path,) = (
        await world.warehouse.rows(
            "SELECT path FROM system.parts WHERE table = 'trades' AND active AND partition_id = '20260301-0'"
        )
    ).rows[0]
    data = Path(path) / "data.bin"
    if not data.is_file():
        data = Path(path) / "price.bin"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(content)
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds, world.policy.rest_seconds):
        world.clock.seconds += pause
        with suppress(StoreError):
            await archiver.round()
    stages = await world.stages()
    assert stages["20260301-0"] == "sealed"
    assert "checksum" in (await world.partition("20260301-0")).detail.lower()
    assert stages["20260302-0"] == "dropped"
    assert "20260301-0" in {
        name for (name,) in (await world.warehouse.rows("SELECT partition_id FROM system.parts WHERE active")).rows
    }


async def test_a_restore_that_was_nearly_done_drops_nothing_when_it_is_repeated(world: ArchiveWorld) -> None:
    """Readers look at the table again, and the ledger does not know it yet."""
    whole, _ = await world.read(), await archived(world)
    before = await world.partition("20260301-0")
    await restored(world, "20260301-0")
    await world.archive_ledger.save_partition(before)
    shutil.move(world.folder / "bucket", world.folder / "away")
    await restored(world, "20260301-0")
    assert (await world.hot())["20260301-0"] == 1000
    shutil.move(world.folder / "away", world.folder / "bucket")
    assert await world.read() == whole


async def test_a_lost_ledger_knows_what_was_restored_too(world: ArchiveWorld) -> None:
    await archived(world)
    await restored(world, "20260301-0")
    await world.ledger.run("DELETE FROM partitions")
    await world.archiver().round()
    assert await world.stages() == {"20260301-0": "restored", "20260302-0": "switched"}


async def test_a_column_added_during_archiving_blocks_nothing(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    await archiver.round()
    await world.add_column(Column("settled", "UInt32", "constructed: a new column"))
    archiver = world.archiver()
    for pause in (world.policy.grace_seconds, 0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()
    assert set((await world.stages()).values()) == {"dropped"}
    result = await archiver.checks.drill()
    assert result is not None
    assert result.is_same
    await restored(world, "20260301-0")
    assert (await world.hot())["20260301-0"] == 1000


async def test_an_unfinished_load_blocks_the_seal(world: ArchiveWorld) -> None:
    await world.archiver().note_rules()
    begun = await world.ledger.begin_load(FEED, "0" * 64, "2026/03/01/1")
    archiver = world.archiver()
    await archiver.round()
    assert set((await world.stages()).values()) == {"planned"}
    assert "is unfinished" in (await world.partition("20260301-0")).detail
    await world.ledger.mark_dead(begun.load_id)
    await world.ledger.mark_swept([begun.load_id])
    await archiver.round()
    assert set((await world.stages()).values()) == {"verified"}


async def test_a_partition_whose_rows_are_all_deleted_is_not_planned(world: ArchiveWorld) -> None:
    await world.warehouse.execute("DELETE FROM trades WHERE received < '2026-03-02 00:00:00'")
    await world.archiver().round()
    assert await world.stages() == {"20260302-0": "verified"}


async def test_a_disabled_archive_changes_no_stage(world: ArchiveWorld) -> None:
    await world.archiver().round()
    world.policy = replace(world.policy, enabled=False)
    world.clock.seconds += world.policy.grace_seconds
    await world.archiver().round()
    assert set((await world.stages()).values()) == {"verified"}


async def test_a_check_that_cannot_run_is_reported_and_blocks_only_drops(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds):
        world.clock.seconds += pause
        await archiver.round()
    await world.insert(DAYS[0] + timedelta(days=3), range(10))
    shutil.move(world.folder / "bucket", world.folder / "away")
    world.clock.seconds += 86_400
    with pytest.raises(StoreError):
        await archiver.round()
    assert not (await world.archive_ledger.checks())["audit"].passed
    assert (await world.stages())["20260304-0"] == "sealed"
    shutil.move(world.folder / "away", world.folder / "bucket")
    for _ in range(2):
        world.clock.seconds += 7200
        await archiver.round()
    assert (await world.archive_ledger.checks())["audit"].passed
    assert (await world.stages())["20260301-0"] == "dropped"


async def test_a_nearly_full_disk_drops_verified_partitions_at_once_and_starts_nothing_else(
    world: ArchiveWorld,
) -> None:
    archiver = world.archiver()
    await archiver.round()
    await world.insert(DAYS[0] + timedelta(days=3), range(10))
    await archiver.free_disk()
    assert await world.stages() == {"20260301-0": "switched", "20260302-0": "switched"}
    world.clock.seconds += world.policy.rest_seconds
    await archiver.free_disk()
    assert await world.stages() == {"20260301-0": "dropped", "20260302-0": "dropped"}


async def test_a_partition_of_an_undeclared_dataset_waits_with_a_reason(world: ArchiveWorld) -> None:
    await world.archiver().round()
    without = Archiver(replace(world.context(), datasets={}, feeds={}), clock=world.clock.to_clock())
    world.clock.seconds += world.policy.grace_seconds
    await without.round()
    assert {partition.detail for partition in await world.archive_ledger.partitions()} == {
        "no source declares its dataset any more: it waits until one does"
    }
    await world.archiver().round()
    assert {(partition.stage, partition.detail) for partition in await world.archive_ledger.partitions()} == {
        ("switched", "")
    }


async def test_a_full_disk_delays_the_export_and_leaves_no_file(world: ArchiveWorld) -> None:
    def refuse(_: int) -> None:
        raise StoreError("constructed: No space left on device")

    room = world.folder / "archive" / "outgoing"
    archiver = Archiver(replace(world.context(), require_space=refuse), clock=world.clock.to_clock())
    with pytest.raises(StoreError, match="No space left on device"):
        await archiver.round()
    assert list(room.iterdir()) == []
    assert set((await world.stages()).values()) == {"sealed"}
    world.clock.seconds += 7200
    await world.archiver().round()
    assert set((await world.stages()).values()) == {"verified"}


@pytest.mark.parametrize(
    "job",
    [
        Job("restore", "trades"), Job("restore", "nothing", partition="20260301-0"),
        Job("restore", "trades", partition="19990101-0"), Job("retry", "trades"), Job("backfill", "trades"),
    ],
    ids=str,
)  # fmt: skip
async def test_a_job_that_the_archiver_cannot_run_is_refused(world: ArchiveWorld, job: Job) -> None:
    with pytest.raises(SettingsError):
        await run_job(world.archiver(), job)


async def test_rebuilt_bars_include_archived_trades(world: ArchiveWorld) -> None:
    await world.archiver().note_rules()
    begun = await world.ledger.begin_load(FEED, load_digest(FEED.name, DAYS[0], 1), covers(DAYS[0], 1))
    assert begun.load_id == 1
    publications = Publications(world.ledger, world.warehouse)
    await publications.publish(await world.ledger.mark_loaded(begun.load_id, {}, ()))
    await world.ledger.close_load(begun.load_id)
    await archived(world)
    await world.warehouse.ensure(bars)
    positions = SqlitePositions(world.ledger)
    runner = TransformRunner(minutely, world.ledger, world.warehouse, publications, positions, archives=world.index)
    assert await runner.run_round() == 1
    assert (await world.warehouse.rows("SELECT sum(trades) FROM bars")).rows == ((1000,),)
