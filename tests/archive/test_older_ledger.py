"""Fault 38: a bus that still holds what was drained, archived and dropped, and a ledger that knows nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bucket import EngineReach
from spotlightd.model.stream import frames_of
from spotlightd.settings import stores
from spotlightd.sql.fingerprint import fingerprint_columns
from spotlightd.sql.visibility import NOW, all_rows, visible_condition
from tests.engine.world import client_of, engine_on
from tests.flows.bundle_world import InlineVerifier
from tests.flows.constructed_ticks import constructed_ticks, numbered, ticks
from tests.flows.stream_world import StreamWorld
from tests.manual_clock import ManualClock

POLICY = stores.ArchiveSettings(hot_days={"constructed_ticks": 10}, grace_seconds=0.0, rest_seconds=0.0)
DAY_SECONDS = 86_400.0


@dataclass
class Box:
    """A drain and an archiver over the same stores."""

    streams: StreamWorld
    bucket: FolderBucket
    index: WarehouseArchives

    async def archived(self) -> dict[str, str]:
        """All that is due leaves, in one life of the archiver; what became of each partition."""
        async with SqliteLedger(self.streams.folder / "ledger.sqlite") as ledger:
            archive_ledger, clock = SqliteArchive(ledger), ManualClock(datetime(2026, 3, 20, tzinfo=UTC))
            context = ArchiveContext(
                datasets={item.name: item for item in (constructed_ticks, frames_of(ticks))}, feeds={ticks.name: ticks},
                transforms=(), warehouse=self.streams.warehouse, bucket=self.bucket, index=self.index, archive_ledger=archive_ledger, ledger=ledger,
                positions=SqlitePositions(ledger), verifier=InlineVerifier(), folder=self.streams.folder / "archive",
                policy=POLICY,
            )  # fmt: skip
            archiver = Archiver(context, clock=clock.to_clock())
            for pause in (DAY_SECONDS, 1.0, 1.0, 0.0):  # the first rule of a state that has rows waits for a day
                await archiver.round()
                clock.seconds += pause
            return {partition.id: partition.stage for partition in await archive_ledger.partitions()}

    async def visible(self) -> Fingerprint:
        """Of the rows that a reader finds now, hot and archived."""
        seq = await self.streams.query_value("SELECT max(seq) FROM loads")
        table = all_rows(constructed_ticks, self.index.archived)
        sql = f"SELECT {fingerprint_columns(constructed_ticks.columns, 'received')} FROM {table} WHERE {visible_condition(constructed_ticks)}"
        return Fingerprint(*(await self.streams.warehouse.rows(sql, {"seq": seq or NOW.seq})).rows[0])


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with AsyncExitStack() as stack:
        bucket = await stack.enter_async_context(FolderBucket(tmp_path / "bucket"))
        engine = await stack.enter_async_context(
            engine_on(tmp_path / "state", bucket=EngineReach(folder=str(tmp_path / "bucket")))
        )
        warehouse = await stack.enter_async_context(client_of(engine))
        index = WarehouseArchives(warehouse, (constructed_ticks, frames_of(ticks)), bucket.table)
        streams = StreamWorld(tmp_path, warehouse, archives=index)
        await streams.prepare()
        yield Box(streams, bucket, index)


@pytest.mark.parametrize("ledger", ["older", "lost"])
async def test_what_was_dropped_does_not_come_back_from_the_bus(box: Box, ledger: str) -> None:
    streams, file = box.streams, box.streams.folder / "ledger.sqlite"
    await streams.send(numbered(10))
    await streams.drain()
    backup = file.read_bytes()
    await streams.send(numbered(20, first=10))
    await streams.drain()
    before = await box.visible()
    assert before.rows == 60
    assert await box.archived() == {"20260301-0": "dropped", "20260302-0": "dropped"}
    for left in streams.folder.glob("ledger.sqlite*"):
        left.unlink()
    if ledger == "older":
        file.write_bytes(backup)
    await streams.drain()
    assert await streams.query_value("SELECT count() FROM constructed_ticks") == 0
    assert await streams.query_value("SELECT count() FROM constructed_frames") == 30
    assert await box.visible() == before
    await streams.send(numbered(5, first=30))
    await streams.drain()
    assert (await box.visible()).rows == 70
    late = "SELECT arraySort(groupUniqArray(_partition_id)) FROM constructed_ticks"
    assert await streams.query_value(late) == ["20260301-1", "20260302-1"]
    assert set((await box.archived()).values()) == {"dropped"}
    assert (await box.visible()).rows == 70
