"""A world for tests of the archiver: engine, ledger and bucket are real, the clocks are not."""

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
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bucket import BucketAccess, EngineReach
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.partition import Partition
from spotlightd.model.stream import Stream
from spotlightd.ports.parser import Verifier
from spotlightd.settings import stores
from spotlightd.sql.fingerprint import fingerprint_columns
from spotlightd.sql.visibility import all_rows
from tests.clients.bucket_world import SHORT_TIMEOUTS
from tests.clients.bucket_world import make_settings as bucket_settings
from tests.engine.world import client_of, engine_on
from tests.flows.bundle_world import InlineVerifier
from tests.manual_clock import ManualClock
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
    symbol, conditions = ("AAPL", "MSFT", "BINANCE:BTCUSDT")[number % 3], ["1", "12"][: number % 3]
    head = (symbol, "", received, received, received, 100 + number / 8, float(number % 7), "", "", conditions, "trade")
    return (*head, False, FEED.name, load, 1, 0, number, 0)


@dataclass
class ArchiveWorld:
    warehouse: ClickHouse
    ledger: SqliteLedger
    bucket: Any
    folder: Path
    policy: stores.ArchiveSettings = POLICY
    clock: ManualClock = field(default_factory=lambda: ManualClock(TODAY))
    prefix: str = ""
    dataset: Dataset = trades

    def __post_init__(self) -> None:
        self.index = WarehouseArchives(self.warehouse, (trades, *SYSTEM_DATASETS), self.bucket.table)
        self.archive_ledger = SqliteArchive(self.ledger)
        self.verifier: Verifier = InlineVerifier()

    async def add_column(self, column: Column) -> None:
        """The state after an update to a release with one more column."""
        self.dataset = replace(trades, columns=(*trades.columns, column))
        await self.warehouse.ensure(self.dataset)
        self.index = WarehouseArchives(self.warehouse, (self.dataset, *SYSTEM_DATASETS), self.bucket.table)
        await self.index.refresh()

    def context(self, around: Any = lambda port: port) -> ArchiveContext:
        return ArchiveContext(
            datasets={dataset.name: dataset for dataset in (self.dataset, *SYSTEM_DATASETS)}, feeds={FEED.name: replace(FEED, datasets=(self.dataset,))}, transforms=(), warehouse=around(self.warehouse),
            bucket=around(self.bucket), index=around(self.index), archive_ledger=around(self.archive_ledger), ledger=self.ledger,
            positions=SqlitePositions(self.ledger), verifier=around(self.verifier),
            folder=self.folder / "archive", policy=self.policy,
        )  # fmt: skip

    def archiver(self, around: Any = lambda port: port) -> Archiver:
        """A new archiver, as after a start of the daemon."""
        return Archiver(self.context(around), clock=self.clock.to_clock())

    async def insert(self, day: date, numbers: Sequence[int]) -> None:
        await self.warehouse.insert(trades, [tick(day, number) for number in numbers])

    async def read(self) -> Fingerprint:
        """The fingerprint of all trades, hot and archived, as a reader sees them."""
        sql = f"SELECT {fingerprint_columns(trades.stored, trades.time)} FROM {all_rows(trades, self.index.archived)}"
        return Fingerprint(*(await self.warehouse.rows(sql)).rows[0])

    async def hot(self) -> dict[str, int]:
        """Rows of the table itself, by partition."""
        answer = await self.warehouse.rows("SELECT _partition_id, count() FROM trades GROUP BY 1 ORDER BY 1")
        return dict(answer.rows)

    async def stages(self) -> dict[str, str]:
        return {partition.id: partition.stage for partition in await self.archive_ledger.partitions()}

    async def partition(self, name: str) -> Partition:
        return next(partition for partition in await self.archive_ledger.partitions() if partition.id == name)


@asynccontextmanager
async def archive_world(
    folder: Path, minio: Minio | None = None, *, url: str = "", access: BucketAccess | None = None
) -> AsyncIterator[ArchiveWorld]:
    """An engine, a ledger and a bucket in a folder, or in MinIO: there at `url`, when something stands in between."""
    async with AsyncExitStack() as stack:
        bucket: FolderBucket | S3Bucket = FolderBucket(folder / "bucket")
        reach = EngineReach(folder=str(folder / "bucket"))
        if minio:
            access = access or BucketAccess(minio.access_key, minio.secret_key, f"tests/{token_hex(6)}/")
            at = url or minio.url
            bucket = S3Bucket(bucket_settings(at, **SHORT_TIMEOUTS), access)
            port = int(at.rpartition(":")[2])
            reach = EngineReach("", port, f"{at}/{BUCKET}/{access.prefix}", access.access_key, access.secret_key)
        await stack.enter_async_context(bucket)
        engine = await stack.enter_async_context(engine_on(folder / "state", bucket=reach))
        warehouse = await stack.enter_async_context(client_of(engine))
        ledger = await stack.enter_async_context(SqliteLedger(folder / "ledger.sqlite"))
        for dataset in (*SYSTEM_DATASETS, trades):
            await warehouse.ensure(dataset)
        world = ArchiveWorld(warehouse, ledger, bucket, folder, prefix=access.prefix if access else "")
        for day in DAYS:
            await world.insert(day, range(1000))
        yield world
