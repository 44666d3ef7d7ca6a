"""Damage that comes after the proof: noticed before the original is dropped, and never read as other values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.datasets.trades import trades
from spotlightd.errors import StoreError
from spotlightd.flows.archive.audit import SCRUB_DAYS, audit
from spotlightd.flows.archive.verify import require_undamaged
from spotlightd.sql.visibility import all_rows
from tests.real.store import BUCKET
from tests.real.stores import Minio

from .archive_world import ArchiveWorld, archive_world

NAME = "20260301-0"


@pytest.fixture(params=["folder", "MinIO"])
async def world(request: pytest.FixtureRequest, tmp_path: Path, minio: Minio) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path, minio if request.param == "MinIO" else None) as archive:
        archive.minio = minio if request.param == "MinIO" else None  # type: ignore[attr-defined]
        yield archive


async def overwrite(world: Any, key: str, content: bytes) -> None:
    """Replace the bytes of an object, as a faulty disk or a person would."""
    if world.minio is None:
        await asyncio.to_thread((world.folder / "bucket" / key).write_bytes, content)
    else:
        world.minio.client().put_object(BUCKET, world.prefix + key, BytesIO(content), len(content))


async def read_object(world: ArchiveWorld, key: str) -> bytes:
    return b"".join([piece async for piece in world.bucket.read(key)])


async def finish(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    for pause in (world.policy.grace_seconds, 0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()


@pytest.mark.parametrize("what", ["object", "manifest"])
async def test_damage_after_the_verification_prevents_the_drop(world: ArchiveWorld, what: str) -> None:
    await world.archiver().round()
    partition = await world.partition(NAME)
    assert partition.stage == "verified"
    key = partition.keys[0] if what == "object" else partition.manifest
    before = await read_object(world, key)
    await overwrite(world, key, before[:100] + bytes([before[100] ^ 1]) + before[101:])
    await finish(world)
    assert (await world.stages())[NAME] == "held"
    assert (await world.hot())[NAME] == 1000


async def test_a_later_release_may_change_the_descriptions_in_manifests(world: ArchiveWorld) -> None:
    await world.archiver().round()
    world.dataset = replace(trades, title="Otherwise", about="in other words")
    await require_undamaged(world.context(), await world.partition(NAME))


async def test_a_flipped_bit_in_a_column_name_is_noticed(tmp_path: Path) -> None:
    """The engine fills a column that a file lacks with its default: 0 for a number."""
    async with archive_world(tmp_path) as world:
        await world.archiver().round()
        await finish(world)
        (key,) = (await world.partition(NAME)).keys
        path = tmp_path / "bucket" / key
        whole, refused = path.read_bytes(), 0
        sql = f"SELECT sum(volume) FROM {all_rows(trades, world.index.archived)}"
        truth = (await world.warehouse.rows(sql)).rows
        starts = [match.start() for match in re.finditer(b"volume", whole)]
        for place in (start + index for start in starts for index in range(len(b"volume"))):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                assert (await world.warehouse.rows(sql)).rows == truth
            except StoreError:
                refused += 1
        assert refused >= len(b"volume")


async def test_silent_damage_to_an_object_is_found_on_its_day(world: ArchiveWorld) -> None:
    await world.archiver().round()
    await finish(world)
    partition, known = await world.partition(NAME), await world.archive_ledger.partitions()
    before = await read_object(world, partition.keys[0])
    await overwrite(world, partition.keys[0], before[:100] + bytes([before[100] ^ 1]) + before[101:])
    days = [date(2026, 4, 1) + timedelta(days=number) for number in range(SCRUB_DAYS)]
    results = [await audit(world.context(), known, day) for day in days]
    assert sum(result.read for result in results) == 2
    (defect,) = [defect for result in results for defect in result.defects]
    assert defect.startswith(f"trades {NAME}: object")
    whole_period = await audit(world.context(), known, days[-1], SCRUB_DAYS)
    assert (whole_period.read, whole_period.defects) == (2, (defect,))


async def test_the_audit_expects_the_objects_of_readers_whatever_the_ledger_holds(world: ArchiveWorld) -> None:
    await world.archiver().round()
    await finish(world)
    partition = await world.partition(NAME)
    await world.archive_ledger.save_partition(replace(partition, stage="held"))
    assert (await audit(world.context(), await world.archive_ledger.partitions(), date(2026, 4, 1))).objects == 4


async def test_a_second_upload_after_an_upgrade_leaves_one_object(world: ArchiveWorld) -> None:
    """Killed after the upload and before the ledger knows; the next release describes the dataset differently."""
    archiver = world.archiver()
    await archiver._plan()
    partition = await world.partition(NAME)
    while partition.stage != "exported":
        partition = await archiver._step(partition)
        await world.archive_ledger.save_partition(partition)
    assert (await archiver._step(partition)).stage == "uploaded"
    world.dataset = replace(trades, about="in other words")
    await world.archiver().round()
    keys = [item.key async for item in world.bucket.list("trades/archive_day=2026-03-01/")]
    assert len([key for key in keys if key.endswith(".parquet")]) == 1


async def test_a_bucket_on_a_full_disk_accepts_nothing(tmp_path: Path) -> None:
    async with FolderBucket(tmp_path / "bucket", most_percent=0.001) as bucket:
        with pytest.raises(StoreError, match="% full: 3 more bytes would fill it"):
            await bucket.put("a", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        assert await bucket.head("a") is None


async def test_nothing_is_exported_to_a_disk_that_is_too_full(world: ArchiveWorld) -> None:
    def full(_size: int) -> None:
        raise StoreError("the disk is 96 % full")

    archiver = world.archiver()
    archiver.context = replace(archiver.context, require_space=full)
    with pytest.raises(StoreError, match="96 % full"):
        await archiver.round()
    assert set((await world.stages()).values()) == {"sealed"}
    assert [path for path in (world.folder / "archive").rglob("*") if path.is_file()] == []
