"""Partitions of trades on their way into a bucket: the archiver with everything real but its clocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.datasets.trades import trades
from spotlightd.flows.archive.archiver import Archiving
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bucket import Access, Reach
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.partition import Partition
from spotlightd.model.stream import Stream
from spotlightd.ports.parser import Verifier
from spotlightd.settings import stores
from spotlightd.sql.fingerprint import selected
from spotlightd.sql.visibility import rows
from spotlightd.workers.parquet import fingerprint
from tests.clients.bucket_world import IMPATIENT
from tests.clients.bucket_world import settings as bucket_settings
from tests.engine.world import client_of, engine_on
from tests.real.store import BUCKET
from tests.real.stores import Minio

TODAY = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAYS = (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 19))
POLICY = stores.ArchiveSettings(hot_days={"trades": 10}, late_seconds=0.0, grace_seconds=3600.0, rest_seconds=600.0)
FEED = Stream(
    name="constructed_feed", title="constructed", home="https://example.org", datasets=(trades,),
    address=lambda _: "wss://example.org", hello=lambda _: iter(()), hosts=("example.org",), decode="SELECT 1",
)  # fmt: skip


def tick(day: date, number: int, load: int = 1) -> tuple[Any, ...]:
    received = datetime.combine(day, time(), UTC) + timedelta(seconds=number)
    symbol, says = ("AAPL", "MSFT", "BINANCE:BTCUSDT")[number % 3], ["1", "12"][: number % 3]
    head = (symbol, "", received, received, received, 100 + number / 8, float(number % 7), "", "", says, "trade")
    return (*head, False, FEED.name, load, 1, 0, number, 0)


@dataclass
class Clock:
    """A clock that is set by hand, and a time that only goes on."""

    at: datetime = TODAY
    passed: float = 0.0

    def on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.passed += seconds


@dataclass
class ArchiveWorld:
    warehouse: ClickHouse
    ledger: SqliteLedger
    bucket: Any
    folder: Path
    policy: stores.ArchiveSettings = POLICY
    clock: Clock = field(default_factory=Clock)
    prefix: str = ""
    dataset: Dataset = trades

    def __post_init__(self) -> None:
        self.index = WarehouseArchives(self.warehouse, (trades, *SYSTEM_DATASETS), self.bucket.table)
        self.kept = SqliteArchive(self.ledger)
        self.verifier: Verifier = HereVerifier()

    async def widen(self, column: Column) -> None:
        """As a release that declares one more column finds it."""
        self.dataset = replace(trades, columns=(*trades.columns, column))
        await self.warehouse.ensure(self.dataset)
        self.index = WarehouseArchives(self.warehouse, (self.dataset, *SYSTEM_DATASETS), self.bucket.table)
        await self.index.refresh()

    def means(self, around: Any = lambda port: port) -> ArchiveContext:
        return ArchiveContext(
            datasets={one.name: one for one in (self.dataset, *SYSTEM_DATASETS)}, feeds={FEED.name: replace(FEED, datasets=(self.dataset,))}, transforms=(), warehouse=around(self.warehouse),
            bucket=around(self.bucket), index=around(self.index), kept=around(self.kept), ledger=self.ledger,
            positions=SqlitePositions(self.ledger), verifier=around(self.verifier),
            folder=self.folder / "archive", policy=self.policy,
        )  # fmt: skip

    def archiving(self, around: Any = lambda port: port) -> Archiving:
        """As after a start of the daemon."""
        return Archiving(self.means(around), now=lambda: self.clock.at, seconds=lambda: self.clock.passed)

    async def bring(self, day: date, numbers: Sequence[int]) -> None:
        await self.warehouse.insert(trades, [tick(day, number) for number in numbers])

    async def read(self) -> Fingerprint:
        """All trades, hot and archived, as any reader finds them now."""
        sql = f"SELECT {selected(trades.stored, trades.time)} FROM {rows(trades, self.index.cold)}"
        return Fingerprint(*(await self.warehouse.rows(sql)).rows[0])

    async def hot(self) -> dict[str, int]:
        """Rows of the table itself, by partition."""
        found = await self.warehouse.rows("SELECT _partition_id, count() FROM trades GROUP BY 1 ORDER BY 1")
        return dict(found.rows)

    async def stages(self) -> dict[str, str]:
        return {one.id: one.stage for one in await self.kept.partitions()}

    async def partition(self, name: str) -> Partition:
        return next(one for one in await self.kept.partitions() if one.id == name)


class HereVerifier:
    """What the child does, without a child: a test that ends the archiver a hundred times has no time for processes."""

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        return fingerprint(path, columns, time, 1)


@asynccontextmanager
async def archive_world(
    folder: Path, minio: Minio | None = None, *, url: str = "", access: Access | None = None
) -> AsyncIterator[ArchiveWorld]:
    """An engine, a ledger and a bucket in a folder, or in MinIO: there at `url`, when something stands in between."""
    async with AsyncExitStack() as stack:
        bucket: FolderBucket | S3Bucket = FolderBucket(folder / "bucket")
        reach = Reach(folder=str(folder / "bucket"))
        if minio:
            access = access or Access(minio.access_key, minio.secret_key, f"tests/{token_hex(6)}/")
            at = url or minio.url
            bucket = S3Bucket(bucket_settings(at, **IMPATIENT), access)
            port = int(at.rpartition(":")[2])
            reach = Reach("", port, f"{at}/{BUCKET}/{access.prefix}", access.access_key, access.secret_key)
        await stack.enter_async_context(bucket)
        engine = await stack.enter_async_context(engine_on(folder / "state", bucket=reach))
        warehouse = await stack.enter_async_context(client_of(engine))
        ledger = await stack.enter_async_context(SqliteLedger(folder / "ledger.sqlite"))
        for dataset in (*SYSTEM_DATASETS, trades):
            await warehouse.ensure(dataset)
        world = ArchiveWorld(warehouse, ledger, bucket, folder, prefix=access.prefix if access else "")
        for day in DAYS:
            await world.bring(day, range(1000))
        yield world
