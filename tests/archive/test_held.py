"""What a person can do about a partition that is held, and that no reader is ever sent to a copy that is not proven."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import HeldError
from spotlightd.flows.archive.flow import run_job
from spotlightd.ports.ledger import Job
from tests.flows.world import CrashError, Fuse, Fused

from .archive_world import ArchiveWorld, archive_world

FIRST, SECOND = "20260301-0", "20260302-0"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path) as archive:
        yield archive


async def held(world: ArchiveWorld) -> Archiver:
    """Both partitions were switched, and then the bucket was emptied."""
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds):
        world.clock.seconds += pause
        await archiver.round()
    shutil.move(world.folder / "bucket", world.folder / "away")
    (world.folder / "bucket").mkdir()
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    assert await world.stages() == {FIRST: "held", SECOND: "held"}
    with pytest.raises(StoreError):
        await world.read()
    return archiver


def put_back(world: ArchiveWorld) -> None:
    shutil.rmtree(world.folder / "bucket")
    shutil.move(world.folder / "away", world.folder / "bucket")


def flip(path: Path) -> None:
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])


async def test_a_held_partition_names_the_remedies(world: ArchiveWorld) -> None:
    await held(world)
    detail = (await world.partition(FIRST)).detail
    assert "is not in the bucket any more" in detail
    assert f"spotlightd archive retry trades --partition {FIRST}" in detail
    assert f"spotlightd restore trades --partition {FIRST}" in detail


async def test_a_restore_sends_readers_back_to_rows_that_never_left(world: ArchiveWorld) -> None:
    whole, archiver = await world.read(), await held(world)
    for name in (FIRST, SECOND):
        await run_job(archiver, Job("restore", "trades", partition=name))
    assert await world.read() == whole
    assert await world.stages() == {FIRST: "restored", SECOND: "restored"}
    events = "SELECT event, count() FROM archives GROUP BY event ORDER BY event"
    assert (await world.warehouse.rows(events)).rows == (("switched", 2), ("withdrawn", 2))
    assert {partition.since for partition in await world.archive_ledger.partitions()} == {world.clock.at}
    await world.archiver().round()
    assert await world.read() == whole


async def test_a_restore_uses_the_verified_copy_when_the_warehouse_lost_its_rows(world: ArchiveWorld) -> None:
    whole, archiver = await world.read(), await held(world)
    await world.warehouse.execute(f"ALTER TABLE trades DROP PARTITION ID '{FIRST}'")
    with pytest.raises(HeldError, match=r"no rows of it any more; object .* is not in the bucket"):
        await run_job(archiver, Job("restore", "trades", partition=FIRST))
    assert (await world.stages())[FIRST] == "held"
    put_back(world)
    await run_job(archiver, Job("restore", "trades", partition=FIRST))
    assert (await world.hot())[FIRST] == 1000
    assert await world.read() == whole


async def test_a_restore_never_sends_readers_to_rows_other_than_the_sealed_ones(world: ArchiveWorld) -> None:
    whole, archiver = await world.read(), await held(world)
    await world.warehouse.execute("DELETE FROM trades WHERE received < '2026-03-02 00:00:00' AND offset = 7")
    put_back(world)
    with pytest.raises(HeldError, match=r"warehouse holds .* sealed were .*the copy in the bucket is as sealed"):
        await run_job(archiver, Job("restore", "trades", partition=FIRST))
    assert await world.read() == whole
    assert (await world.hot())[FIRST] == 999
    assert (await world.stages())[FIRST] == "held"


async def test_an_interrupted_restore_of_a_held_partition_is_completed_by_the_next(world: ArchiveWorld) -> None:
    whole, _ = await world.read(), await held(world)
    await world.warehouse.execute(f"ALTER TABLE trades DROP PARTITION ID '{FIRST}'")
    put_back(world)
    ends, ended = 0, True
    before = await world.partition(FIRST)
    while ended:
        ends += 1
        fuse = Fuse(ends)
        archiver = world.archiver(lambda port, fuse=fuse: Fused(port, fuse, ("execute", "record", "save_partition")))
        try:
            await run_job(archiver, Job("restore", "trades", partition=FIRST))
            ended = False
        except CrashError:
            assert await world.read() == whole, f"after the end at step {ends}"
            await world.archiver().round()
            if (await world.stages())[FIRST] != "restored":
                await run_job(world.archiver(), Job("restore", "trades", partition=FIRST))
        assert await world.read() == whole
        assert (await world.hot())[FIRST] == 1000
        if ended:
            await world.index.record(before, "switched")
            await world.warehouse.execute(f"ALTER TABLE trades DROP PARTITION ID '{FIRST}'")
            await world.archive_ledger.save_partition(before)
    assert ends > 4


async def test_a_partition_held_after_the_switch_continues_when_both_copies_are_as_sealed(world: ArchiveWorld) -> None:
    whole, archiver = await world.read(), await held(world)
    with pytest.raises(HeldError, match="is not in the bucket any more"):
        await run_job(archiver, Job("retry", "trades", partition=FIRST))
    put_back(world)
    for name in (FIRST, SECOND):
        assert "switched" in await run_job(archiver, Job("retry", "trades", partition=name))
    await archiver.round()
    assert await world.stages() == {FIRST: "switched", SECOND: "switched"}, "it rests anew"
    world.clock.seconds += world.policy.rest_seconds
    await archiver.round()
    assert await world.stages() == {FIRST: "dropped", SECOND: "dropped"}
    assert await world.read() == whole


async def test_a_copy_with_a_flipped_byte_stays_held(world: ArchiveWorld) -> None:
    archiver = await held(world)
    put_back(world)
    flip(world.folder / "bucket" / (await world.partition(FIRST)).keys[0])
    with pytest.raises((HeldError, StoreError)):
        await run_job(archiver, Job("retry", "trades", partition=FIRST))
    assert (await world.stages())[FIRST] == "held"
    assert (await world.hot())[FIRST] == 1000


async def test_a_partition_held_before_the_switch_is_exported_again(world: ArchiveWorld) -> None:
    whole, archiver = await world.read(), world.archiver()
    await archiver.round()
    (key,) = (await world.partition(FIRST)).keys
    (world.folder / "bucket" / key).unlink()
    world.clock.seconds += world.policy.grace_seconds
    await archiver.round()
    assert await world.stages() == {FIRST: "held", SECOND: "switched"}
    with pytest.raises(SettingsError, match="was not switched"):
        await run_job(archiver, Job("restore", "trades", partition=FIRST))
    assert "sealed" in await run_job(archiver, Job("retry", "trades", partition=FIRST))
    for pause in (0.0, world.policy.grace_seconds, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()
    assert await world.stages() == {FIRST: "dropped", SECOND: "dropped"}
    assert (await world.partition(FIRST)).keys == (key,), "the same rows make the same file"
    assert await world.read() == whole


async def test_a_partition_that_is_not_held_cannot_be_retried(world: ArchiveWorld) -> None:
    archiver = await held(world)
    await run_job(archiver, Job("restore", "trades", partition=FIRST))
    with pytest.raises(SettingsError, match="is restored: it stays in the warehouse"):
        await run_job(archiver, Job("retry", "trades", partition=FIRST))
    with pytest.raises(SettingsError, match="no archived partition"):
        await run_job(archiver, Job("retry", "trades", partition="19990101-0"))
