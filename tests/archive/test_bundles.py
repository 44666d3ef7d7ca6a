"""A stream's rows and frames that left the warehouse are bundled and imported like those that did not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.model.bucket import EngineReach
from spotlightd.model.stream import frames_of
from spotlightd.settings.stores import ArchiveSettings
from tests.engine.world import client_of, engine_on
from tests.flows.bundle_world import InlineVerifier, statuses, stream_transfer
from tests.flows.constructed_ticks import MIDNIGHT, constructed_ticks, numbered, ticks
from tests.flows.stream_world import StreamWorld
from tests.manual_clock import ManualClock

FRAMES = frames_of(ticks)
TABLES = (constructed_ticks, FRAMES)
POLICY = ArchiveSettings(hot_days={table.name: 1 for table in TABLES}, grace_seconds=1.0, rest_seconds=600.0)
OLD, NEW = date(2026, 3, 2), date(2026, 3, 7)


@dataclass
class Instance:
    """A whole instance: an engine with a bucket, and streams."""

    folder: Path
    bucket: FolderBucket
    streams: StreamWorld

    def __post_init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 3, 8, tzinfo=UTC))
        self.index = WarehouseArchives(self.streams.warehouse, TABLES, self.bucket.table)

    @asynccontextmanager
    async def archiver(self) -> AsyncIterator[Archiver]:
        async with self.streams.stores() as stores:
            context = ArchiveContext(
                datasets={table.name: table for table in TABLES}, feeds={ticks.name: ticks}, transforms=(),
                warehouse=self.streams.warehouse, bucket=self.bucket, index=self.index, archive_ledger=SqliteArchive(stores.ledger),
                ledger=stores.ledger, positions=SqlitePositions(stores.ledger), verifier=InlineVerifier(),
                folder=self.folder / "archive", policy=POLICY,
            )  # fmt: skip
            yield Archiver(context, clock=self.clock.to_clock())

    async def archive_all(self) -> None:
        """Archive everything that is old enough."""
        async with self.archiver() as archiver:
            for _ in range(3):
                await archiver.round()
                self.clock.seconds += 1000.0
        async with self.streams.stores() as stores:
            partitions = await SqliteArchive(stores.ledger).partitions()
        assert {partition.stage for partition in partitions} == {"dropped"}

    def transfer(self) -> Any:
        return stream_transfer(self.streams, ticks, archives=self.index)


@asynccontextmanager
async def instance(folder: Path) -> AsyncIterator[Instance]:
    folder.mkdir()
    reach = EngineReach(folder=str(folder / "bucket"))
    async with (
        FolderBucket(folder / "bucket") as bucket,
        engine_on(folder / "state", bucket=reach) as engine,
        client_of(engine) as warehouse,
    ):
        streams = StreamWorld(folder, warehouse)
        await streams.prepare()
        made = Instance(folder, bucket, streams)
        async with made.archiver() as archiver:
            await archiver.note_rules()
        yield made


@pytest.mark.slow
async def test_archived_frames_and_rows_can_be_bundled_and_archived_again_there(tmp_path: Path) -> None:
    file = tmp_path / "x.bundle.tar"
    async with instance(tmp_path / "one") as first, instance(tmp_path / "other") as other:
        day = 86_400 * 10**9
        await first.streams.send(numbered(50, around=MIDNIGHT + day // 2))
        await first.streams.send(numbered(50, connection=8, first=50, around=MIDNIGHT + 5 * day + day // 2))
        await first.streams.drain()
        async with first.streams.stores() as stores:
            for closing in (OLD, NEW):
                await stores.parts.close(ticks, closing)
        await first.archive_all()
        assert {name: len(partitions) for name, partitions in first.index.archived.partitions.items()} == {
            table.name: 1 for table in TABLES
        }
        async with first.transfer() as transfer:
            manifest = await transfer.export(constructed_ticks, file)
        assert [sum(mark.rows for mark in load.rows.values()) for load in manifest.loads] == [100, 100]
        async with other.transfer() as transfer:
            assert set(statuses(await transfer.import_file(file)).values()) == {"imported"}
        assert await other.streams.numbers() == list(range(200))
        await other.archive_all()
        assert await other.streams.numbers() == list(range(100, 200))  # of the table alone
        async with other.transfer() as transfer:
            assert set(statuses(await transfer.import_file(file)).values()) == {"here"}
            again = await transfer.export(constructed_ticks, tmp_path / "again.bundle.tar")
        assert again.loads == manifest.loads
