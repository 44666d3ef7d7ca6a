"""Frames of a stream from one instance to another: at the same positions, decoded there, once, whatever ends in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest

from spotlightd.clients.bundle import BundleWriter, open_bundle
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.engine.process import Engine
from spotlightd.errors import FormatError, SettingsError
from spotlightd.flows.bundle import writer
from spotlightd.model.bundle import Manifest
from spotlightd.model.stream import frames_of
from spotlightd.settings.stores import WarehouseSettings

from .bundle_world import ignore_progress, statuses, stream_transfer
from .constructed_ticks import MIDNIGHT, constructed_ticks, frame, mended, numbered, ticks
from .stream_world import StreamWorld
from .world import CrashError, Fuse, crash_steps

BEFORE, AFTER = date(2026, 3, 1), date(2026, 3, 2)
NUMBERS = list(range(200))
PLACES = "SELECT number, epoch, partition, offset, frame_index FROM constructed_ticks ORDER BY number"


@pytest.fixture
async def world(tmp_path: Path, warehouse: ClickHouse) -> StreamWorld:
    world = StreamWorld(tmp_path, warehouse)
    await world.prepare()
    return world


@pytest.fixture
async def other(tmp_path: Path, engine: Engine) -> AsyncIterator[StreamWorld]:
    """Another instance, still empty."""
    database = f"flows_{uuid4().hex[:12]}"
    async with ClickHouse(engine.url, engine.user, engine.password, database, WarehouseSettings()) as opened:
        (tmp_path / "other").mkdir()
        world = StreamWorld(tmp_path / "other", opened)
        await world.prepare()
        yield world
        await opened.execute(f"DROP DATABASE {database} SYNC")


@pytest.fixture
async def file(world: StreamWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of two received days, one frame of which no decoder reads, in members of a few bytes."""
    monkeypatch.setattr(writer, "FRAMES_BYTES", 1_000)
    frames = numbered(100)
    await world.send([*frames, frame(8, 0, [], MIDNIGHT + 10**9)])
    bad = replace(frame(8, 1, [], MIDNIGHT + 2 * 10**9), value=b"\xff{")
    await world.send([bad])
    await world.drain()
    await closed(world)
    async with stream_transfer(world, ticks) as transfer:
        await transfer.export(constructed_ticks, tmp_path / "days.bundle.tar")
    return tmp_path / "days.bundle.tar"


async def closed(world: StreamWorld) -> None:
    async with world.stores() as stores:
        for day in (BEFORE, AFTER):
            await stores.parts.close(ticks, day)


async def test_rows_and_frames_have_the_same_positions_at_the_other_instance(
    world: StreamWorld, other: StreamWorld, file: Path
) -> None:
    async with stream_transfer(other, ticks) as transfer:
        assert statuses(await transfer.import_file(file)) == {"2026/03/01/1": "imported", "2026/03/02/1": "imported"}
        assert all(load.closed for load in await transfer.context.ledger.loads())
        lost = await transfer.context.ledger.history("lost_frames", 0, 10)
    assert await other.numbers() == NUMBERS
    for sql in (PLACES, f"SELECT * FROM {frames_of(ticks).name} ORDER BY epoch, partition, offset"):
        assert (await world.warehouse.rows(sql)).rows == (await other.warehouse.rows(sql)).rows
    assert [row[8] for row in lost] == ["not JSON"]


async def test_a_second_import_changes_nothing(other: StreamWorld, file: Path) -> None:
    async with stream_transfer(other, ticks) as transfer:
        await transfer.import_file(file)
        assert set(statuses(await transfer.import_file(file)).values()) == {"here"}
    assert await other.numbers() == NUMBERS
    assert await other.query_value(f"SELECT count() FROM {frames_of(ticks).name}") == 102


@pytest.mark.slow
async def test_an_import_killed_at_any_step_is_completed_by_the_next(
    other: StreamWorld, file: Path, tmp_path: Path
) -> None:
    for step in crash_steps():
        for dataset in (*SYSTEM_DATASETS, constructed_ticks, frames_of(ticks)):
            await other.warehouse.execute(f"TRUNCATE TABLE {dataset.name}")
        folder = tmp_path / f"died-{step}"
        folder.mkdir()
        fresh = StreamWorld(folder, other.warehouse)
        try:
            async with stream_transfer(fresh, ticks, Fuse(step)) as transfer:
                await transfer.import_file(file)
        except (CrashError, BaseExceptionGroup):
            assert await fresh.numbers() in ([], NUMBERS[:100], NUMBERS)
        else:
            break
        async with stream_transfer(fresh, ticks) as transfer:
            await transfer.import_file(file)
        assert await fresh.numbers() == NUMBERS
        assert await fresh.query_value(f"SELECT count() FROM {frames_of(ticks).name}") == 102
        assert await fresh.query_value("SELECT count() FROM loads") == 2
    assert step > 20


async def test_an_open_day_is_left_out_and_reported(world: StreamWorld, tmp_path: Path) -> None:
    await world.send(numbered(10))
    await world.drain()
    async with stream_transfer(world, ticks) as transfer:
        with pytest.raises(SettingsError, match="when it is over"):
            await transfer.export(constructed_ticks, tmp_path / "x")
    async with world.stores() as stores:
        await stores.parts.close(ticks, BEFORE)
    async with stream_transfer(world, ticks) as transfer:
        manifest = await transfer.export(constructed_ticks, tmp_path / "x")
    assert [load.covers for load in manifest.loads] == ["2026/03/01/1"]


async def test_an_instance_that_receives_the_feed_itself_refuses(world: StreamWorld, file: Path) -> None:
    async with stream_transfer(world, ticks) as transfer:
        with pytest.raises(SettingsError, match="receives constructed itself"):
            await transfer.import_file(file)


async def test_what_is_received_after_an_import_is_neither_lost_nor_mixed_with_it(
    other: StreamWorld, file: Path
) -> None:
    async with stream_transfer(other, ticks) as transfer:
        await transfer.import_file(file)
    await other.send(numbered(30, connection=9, first=1000))
    await other.drain()
    await other.drain()
    assert await other.numbers() == [*NUMBERS, *range(2000, 2060)]
    epochs = f"SELECT uniqExact(epoch) FROM {frames_of(ticks).name}"
    assert await other.query_value(epochs) == 2
    assert (
        await other.query_value(
            "SELECT count() - uniqExact(epoch, partition, offset, frame_index) FROM constructed_ticks"
        )
        == 0
    )


async def test_frames_of_a_partition_that_is_not_here_do_not_hold_up_the_feed(
    world: StreamWorld, other: StreamWorld, tmp_path: Path
) -> None:
    wide = replace(ticks, partitions=2)
    await world.bus.ensure(wide.topic)
    await world.send(numbered(10, around=MIDNIGHT + 3600 * 10**9), partition=1)
    await world.drain(wide)
    await closed(world)
    async with stream_transfer(world, wide) as transfer:
        await transfer.export(constructed_ticks, tmp_path / "x")
    async with stream_transfer(other, ticks) as transfer:
        assert statuses(await transfer.import_file(tmp_path / "x")) == {"2026/03/02/1": "imported"}
    await other.send(numbered(5, connection=9, first=1000))
    await other.drain()
    assert await other.numbers() == [*range(20), *range(2000, 2010)]


async def test_another_decoder_version_is_kept_and_the_difference_reported(other: StreamWorld, file: Path) -> None:
    async with stream_transfer(other, mended) as transfer:
        outcomes = await transfer.import_file(file)
        assert {outcome.status for outcome in outcomes} == {"differs"}
        assert "read by version" in outcomes[0].detail
    assert await other.numbers() == [1_000_000 + number for number in NUMBERS]
    async with stream_transfer(other, ticks) as transfer:  # the decode is mended here meanwhile
        assert {outcome.status for outcome in await transfer.import_file(file)} == {"imported"}
    assert await other.numbers() == NUMBERS


async def test_frames_of_two_instances_at_the_same_positions_are_not_mixed(
    world: StreamWorld, other: StreamWorld, file: Path, tmp_path: Path, engine: Engine
) -> None:
    del world
    async with stream_transfer(other, ticks) as transfer:
        await transfer.import_file(file)
    for around, message in ((MIDNIGHT, "refused"), (MIDNIGHT + 5 * 86_400 * 10**9, "at the positions")):
        database = f"flows_{uuid4().hex[:12]}"
        async with ClickHouse(engine.url, engine.user, engine.password, database, WarehouseSettings()) as opened:
            folder = tmp_path / message.replace(" ", "-")
            folder.mkdir()
            third = StreamWorld(folder, opened)
            await third.prepare()
            await third.send(numbered(20, connection=3, around=around + 3600 * 10**9))
            await third.drain()
            async with third.stores() as stores:
                for day in await stores.parts.list_open_days(ticks):
                    await stores.parts.close(ticks, day)
            async with stream_transfer(third, ticks) as transfer:
                await transfer.export(constructed_ticks, folder / "x")
            await opened.execute(f"DROP DATABASE {database} SYNC")
        async with stream_transfer(other, ticks) as transfer:
            if message == "refused":
                assert {outcome.status for outcome in await transfer.import_file(folder / "x")} == {message}
            else:
                with pytest.raises(FormatError, match=message):
                    await transfer.import_file(folder / "x")
    assert await other.numbers() == NUMBERS
    assert await other.query_value(f"SELECT count() FROM {frames_of(ticks).name}") == 102


async def test_rows_that_the_frames_do_not_bear_out_are_not_published(
    other: StreamWorld, file: Path, tmp_path: Path
) -> None:
    def falsify(manifest: Manifest) -> Manifest:
        first, *others = manifest.loads
        (name, mark), *_ = first.rows.items()
        return replace(manifest, loads=(replace(first, rows={name: replace(mark, total=mark.total ^ 1)}), *others))

    path = await forge(file, tmp_path / "forged", lambda _, body: body, falsify)
    async with stream_transfer(other, ticks) as transfer:
        assert statuses(await transfer.import_file(path)) == {"2026/03/01/1": "refused", "2026/03/02/1": "imported"}
    assert await other.numbers() == NUMBERS[100:]
    assert await other.query_value(f"SELECT min(received) >= '2026-03-02' FROM {frames_of(ticks).name}")


async def forge(
    file: Path, path: Path, change: object, alter: Callable[[Manifest], Manifest] = lambda manifest: manifest
) -> Path:
    """The bundle with other frames, and a manifest that fits them: a forgery."""
    assert callable(change)
    async with open_bundle(file, ignore_progress) as bundle, BundleWriter(path) as writer:
        for member in bundle.manifest.members:
            body = b"".join([piece async for piece in bundle.read(member.name)])
            changed: bytes = change(member.name, body)
            await writer.add(member.name, len(changed), _once(changed))
        await writer.finish(alter(bundle.manifest))
    return path


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, body: body[:-1] if "frames/" in name else body, "bundle"),
        (lambda name, body: body.replace(b"ticks", b"tocks") if "frames/" in name else body, "do not match"),
        (lambda name, body: b"\xff" * len(body) if "frames/" in name else body, "bundle"),
        (lambda name, body: body + body if "/000000" in name else body, "bundle"),
    ],
)
async def test_frames_that_do_not_match_the_manifest_are_deleted_again(
    other: StreamWorld, file: Path, tmp_path: Path, change: object, message: str
) -> None:
    path = await forge(file, tmp_path / "forged", change)
    async with stream_transfer(other, ticks) as transfer:
        with pytest.raises(FormatError, match=message):
            await transfer.import_file(path)
    assert await other.numbers() == []
    assert await other.query_value(f"SELECT count() FROM {frames_of(ticks).name}") == 0
