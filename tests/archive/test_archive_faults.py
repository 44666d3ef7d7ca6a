"""The archive on a real MinIO that is frozen, emptied, damaged or closed to us: nothing is dropped, and it goes on after."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from spotlightd.datasets.trades import trades
from spotlightd.errors import StoreError
from spotlightd.model.bucket import BucketAccess
from spotlightd.sql.tiers import Span
from spotlightd.sql.visibility import all_rows
from tests.clients.bucket_world import least_rights
from tests.clients.bucket_world import make_settings as bucket_settings
from tests.real.store import BUCKET
from tests.real.stores import Minio
from tests.streams.proxy import proxying

from .archive_world import ArchiveWorld, archive_world

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
DONE = {"20260301-0": "dropped", "20260302-0": "dropped"}


@pytest.fixture
async def world(tmp_path: Path, minio: Minio) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path, minio) as archive:
        yield archive


async def through(world: ArchiveWorld) -> None:
    """All that is due leaves; what failed before is tried again after its pause."""
    archiver = world.archiver()
    for pause in (7200.0, world.policy.grace_seconds, 0.0, world.policy.rest_seconds):
        world.clock.seconds += pause
        await archiver.round()


async def test_partitions_reach_the_last_stage_and_every_row_is_read_once(world: ArchiveWorld) -> None:
    whole = await world.read()
    await through(world)
    assert await world.stages() == DONE
    assert await world.hot() == {"20260319-0": 1000}
    assert await world.read() == whole
    drilled = await world.archiver().checks.drill()
    assert drilled is not None
    assert drilled.is_same


async def test_a_store_that_stops_answering_delays_everything_until_it_answers(
    world: ArchiveWorld, minio: Minio
) -> None:
    whole = await world.read()
    minio.freeze()
    try:
        with pytest.raises(StoreError, match="does not answer"):
            await world.archiver().round()
        assert set((await world.stages()).values()) == {"sealed"}  # nothing piles up on our disk meanwhile
        assert len(await world.hot()) == 3
        waits = [partition.not_before for partition in await world.archive_ledger.partitions()]
        assert all(until and (until - world.clock.at).total_seconds() >= 60 for until in waits)
    finally:
        minio.thaw()
    await through(world)
    assert await world.stages() == DONE
    assert await world.read() == whole


@pytest.mark.parametrize("stage", ["sealed", "verified"])
async def test_503_then_a_black_hole_then_fine(tmp_path: Path, minio: Minio, stage: str) -> None:
    """Fault 36: nothing is dropped, no thread piles up, all is done after."""
    async with proxying(minio.port) as proxy, archive_world(tmp_path, minio, url=f"http://{proxy.address}") as world:
        whole, pause = await world.read(), world.policy.grace_seconds
        if stage == "verified":
            await world.archiver().round()
        proxy.answer = BUSY
        proxy.reset()
        before = threading.active_count()
        for _ in range(3):
            world.clock.seconds += pause
            with pytest.raises(StoreError):
                await world.archiver().round()
            assert set((await world.stages()).values()) == {stage}
            proxy.answer, proxy.stalled = b"", True
        assert threading.active_count() <= before + bucket_settings(minio.url).threads
        assert len(await world.hot()) == 3
        proxy.healthy()
        proxy.reset()
        await through(world)
        assert await world.stages() == DONE
        assert await world.read() == whole


async def test_while_the_store_is_away_archived_rows_are_an_error_and_hot_ones_are_read(
    world: ArchiveWorld, minio: Minio
) -> None:
    await through(world)
    hot = all_rows(trades, world.index.archived, Span({"received": (world.clock.at.replace(day=15), None)}))
    minio.freeze()
    try:
        with pytest.raises(StoreError):
            await world.read()
        assert (await world.warehouse.rows(f"SELECT count() FROM {hot}")).rows == ((1000,),)
    finally:
        minio.thaw()
    assert (await world.read()).rows == 3000


@pytest.mark.parametrize("damage", ["gone", "empty", "cut off"])
@pytest.mark.parametrize("where", ["MinIO", "folder"])
async def test_an_archived_file_that_is_damaged_is_an_error_and_never_a_shorter_answer(
    tmp_path: Path, minio: Minio, where: str, damage: str
) -> None:
    async with archive_world(tmp_path, minio if where == "MinIO" else None) as world:
        await through(world)
        (key,) = (await world.partition("20260301-0")).keys
        content = {"gone": None, "empty": b"", "cut off": b"PAR1 and no more"}[damage]
        if where == "folder":
            (tmp_path / "bucket" / key).unlink()
            if content is not None:
                (tmp_path / "bucket" / key).write_bytes(content)
        else:
            minio.client().remove_object(bucket_name=BUCKET, object_name=world.prefix + key)
            if content is not None:
                minio.client().put_object(BUCKET, world.prefix + key, BytesIO(content), len(content))
        for what in ("count()", "sum(volume)", "max(received)"):
            with pytest.raises(StoreError):
                await world.warehouse.rows(f"SELECT {what} FROM {all_rows(trades, world.index.archived)}")


async def test_keys_that_are_revoked_hold_everything(tmp_path: Path, minio: Minio) -> None:
    access = BucketAccess(*minio.create_user(least_rights("closed/")), "closed/")
    async with archive_world(tmp_path, minio, access=access) as world:
        await world.archiver().round()
        minio.admin().user_disable(access.access_key)
        world.clock.seconds += world.policy.grace_seconds
        with pytest.raises(StoreError):
            await world.archiver().round()
        assert set((await world.stages()).values()) == {"verified"}
        assert len(await world.hot()) == 3
        minio.admin().user_enable(access.access_key)
        await through(world)
        assert await world.stages() == DONE


@pytest.mark.parametrize("damage", ["flipped byte", "cut off", "gone", "no manifest"])
async def test_an_object_that_is_not_what_was_sent_is_held(world: ArchiveWorld, minio: Minio, damage: str) -> None:
    archiver = world.archiver()
    await archiver.round()
    partition = await world.partition("20260301-0")
    client, prefix = minio.client(), world.prefix
    key = f"{prefix}{partition.manifest if damage == 'no manifest' else partition.keys[0]}"
    content = client.get_object(bucket_name=BUCKET, object_name=key).read()
    client.remove_object(bucket_name=BUCKET, object_name=key)
    changed = {"flipped byte": content[:99] + bytes([content[99] ^ 1]) + content[100:], "cut off": content[:-500]}
    if damage in changed:
        client.put_object(BUCKET, key, BytesIO(changed[damage]), len(changed[damage]))
    await world.archive_ledger.save_partition(replace(partition, stage="uploaded"))
    for pause in (7200.0, world.policy.grace_seconds, world.policy.rest_seconds):
        world.clock.seconds += pause
        with suppress(StoreError):
            await archiver.round()
    assert (await world.stages())["20260301-0"] in {"held", "uploaded"}
    assert (await world.hot())["20260301-0"] == 1000
    assert (await world.read()).rows == 3000
