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

from .archive_world import ManualClock

FRAMES = frames_of(ticks)
TABLES = (constructed_ticks, FRAMES)
POLICY = ArchiveSettings(hot_days={one.name: 1 for one in TABLES}, grace_seconds=1.0, rest_seconds=600.0)
OLD, NEW = date(2026, 3, 2), date(2026, 3, 7)


@dataclass
class Instance:
    """A whole instance: an engine with a bucket, and streams."""

    folder: Path
    bucket: FolderBucket
    streams: StreamWorld

    def __post_init__(self) -> None:
        self.clock = ManualClock(at=datetime(2026, 3, 8, tzinfo=UTC))
        self.index = WarehouseArchives(self.streams.warehouse, TABLES, self.bucket.table)

    async def archived(self) -> None:
        """All that is old enough leaves the warehouse."""
        async with self.streams.stores() as stores:
            context = ArchiveContext(
                datasets={one.name: one for one in TABLES}, feeds={ticks.name: ticks}, transforms=(),
                warehouse=self.streams.warehouse, bucket=self.bucket, index=self.index, archive_ledger=SqliteArchive(stores.ledger),
                ledger=stores.ledger, positions=SqlitePositions(stores.ledger), verifier=InlineVerifier(),
                folder=self.folder / "archive", policy=POLICY,
            )  # fmt: skip
            work = Archiver(context, clock=self.clock.to_clock())
            for _ in range(3):
                await work.round()
                self.clock.advance(1000.0)
            assert {one.stage for one in await context.archive_ledger.partitions()} == {"dropped"}

    def desk(self) -> Any:
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
        yield Instance(folder, bucket, streams)


@pytest.mark.slow
async def test_archived_frames_and_rows_reach_the_other_instance_and_may_leave_there_too(tmp_path: Path) -> None:
    file = tmp_path / "x.bundle.tar"
    async with instance(tmp_path / "one") as one, instance(tmp_path / "other") as other:
        day = 86_400 * 10**9
        await one.streams.send(numbered(50, around=MIDNIGHT + day // 2))
        await one.streams.send(numbered(50, connection=8, first=50, around=MIDNIGHT + 5 * day + day // 2))
        await one.streams.drained()
        async with one.streams.stores() as stores:
            for closing in (OLD, NEW):
                await stores.parts.close(ticks, closing)
        await one.archived()
        assert {name: len(some) for name, some in one.index.archived.partitions.items()} == {a.name: 1 for a in TABLES}
        async with one.desk() as transfer:
            made = await transfer.export(constructed_ticks, file)
        assert [sum(mark.rows for mark in load.rows.values()) for load in made.loads] == [100, 100]
        async with other.desk() as transfer:
            assert set(statuses(await transfer.import_file(file)).values()) == {"imported"}
        assert await other.streams.numbers() == list(range(200))
        await other.archived()
        assert await other.streams.numbers() == list(range(100, 200))  # of the table alone
        async with other.desk() as transfer:
            assert set(statuses(await transfer.import_file(file)).values()) == {"here"}
            again = await transfer.export(constructed_ticks, tmp_path / "again.bundle.tar")
        assert again.loads == made.loads
