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
    async with archive_world(tmp_path, minio if request.param == "MinIO" else None) as made:
        made.minio = minio if request.param == "MinIO" else None  # type: ignore[attr-defined]
        yield made


async def changed(world: Any, key: str, content: bytes) -> None:
    """Other bytes in the place of an object, as a disk or a person leaves them."""
    if world.minio is None:
        await asyncio.to_thread((world.folder / "bucket" / key).write_bytes, content)
    else:
        world.minio.client().put_object(BUCKET, world.prefix + key, BytesIO(content), len(content))


async def content(world: ArchiveWorld, key: str) -> bytes:
    return b"".join([piece async for piece in world.bucket.read(key)])


async def rest(world: ArchiveWorld) -> None:
    archiver = world.archiver()
    for pause in (world.policy.grace_seconds, 0.0, world.policy.rest_seconds):
        world.clock.advance(pause)
        await archiver.round()


@pytest.mark.parametrize("what", ["object", "manifest"])
async def test_what_was_damaged_after_the_proof_is_not_relied_on(world: ArchiveWorld, what: str) -> None:
    await world.archiver().round()
    one = await world.partition(NAME)
    assert one.stage == "verified"
    key = one.keys[0] if what == "object" else one.manifest
    before = await content(world, key)
    await changed(world, key, before[:100] + bytes([before[100] ^ 1]) + before[101:])
    await rest(world)
    assert (await world.stages())[NAME] == "held"
    assert (await world.hot())[NAME] == 1000


async def test_a_later_release_may_word_its_manifests_otherwise(world: ArchiveWorld) -> None:
    await world.archiver().round()
    world.dataset = replace(trades, title="Otherwise", about="in other words")
    await require_undamaged(world.context(), await world.partition(NAME))


async def test_no_bit_of_a_columns_name_makes_its_values_others(tmp_path: Path) -> None:
    """The engine fills in what a file has not: 0 where a number was."""
    async with archive_world(tmp_path) as world:
        await world.archiver().round()
        await rest(world)
        (key,) = (await world.partition(NAME)).keys
        path = tmp_path / "bucket" / key
        whole, refused = path.read_bytes(), 0
        asked = f"SELECT sum(volume) FROM {all_rows(trades, world.index.archived)}"
        truth = (await world.warehouse.rows(asked)).rows
        places = [one.start() for one in re.finditer(b"volume", whole)]
        for place in (at + ahead for at in places for ahead in range(len(b"volume"))):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                assert (await world.warehouse.rows(asked)).rows == truth
            except StoreError:
                refused += 1
        assert refused >= len(b"volume")


async def test_an_object_that_is_damaged_without_a_word_is_found_on_its_day(world: ArchiveWorld) -> None:
    await world.archiver().round()
    await rest(world)
    one, known = await world.partition(NAME), await world.archive_ledger.partitions()
    before = await content(world, one.keys[0])
    await changed(world, one.keys[0], before[:100] + bytes([before[100] ^ 1]) + before[101:])
    days = [date(2026, 4, 1) + timedelta(days=ahead) for ahead in range(SCRUB_DAYS)]
    found = [await audit(world.context(), known, day) for day in days]
    assert sum(one.read for one in found) == 2
    (defect,) = [defect for result in found for defect in result.defects]
    assert defect.startswith(f"trades {NAME}: object")
    made_up = await audit(world.context(), known, days[-1], SCRUB_DAYS)
    assert (made_up.read, made_up.defects) == (2, (defect,))


async def test_the_audit_wants_what_readers_take_whatever_the_ledger_says(world: ArchiveWorld) -> None:
    await world.archiver().round()
    await rest(world)
    one = await world.partition(NAME)
    await world.archive_ledger.save_partition(replace(one, stage="held"))
    assert (await audit(world.context(), await world.archive_ledger.partitions(), date(2026, 4, 1))).objects == 4


async def test_one_that_is_sent_again_after_an_upgrade_leaves_one_object(world: ArchiveWorld) -> None:
    """Killed when the object is there and the ledger does not say so; the next release has another wording."""
    archiver = world.archiver()
    await archiver._plan()
    one = await world.partition(NAME)
    while one.stage != "exported":
        one = await archiver._step(one)
        await world.archive_ledger.save_partition(one)
    assert (await archiver._step(one)).stage == "uploaded"
    world.dataset = replace(trades, about="in other words")
    await world.archiver().round()
    found = [one.key async for one in world.bucket.list("trades/archive_day=2026-03-01/")]
    assert len([key for key in found if key.endswith(".parquet")]) == 1


async def test_a_bucket_on_a_disk_that_is_too_full_keeps_nothing_more(tmp_path: Path) -> None:
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
    assert [one for one in (world.folder / "archive").rglob("*") if one.is_file()] == []
