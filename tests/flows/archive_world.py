"""Partitions of trades on their way into a bucket: the archiver with everything real but its clocks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from spotlightd.clients import ddl
from spotlightd.clients.archives import SqliteArchive, WarehouseArchives
from spotlightd.clients.ledger import SqliteLedger
from spotlightd.clients.positions import SqlitePositions
from spotlightd.clients.warehouse import ClickHouse
from spotlightd.flows.archive.flow import Archiving
from spotlightd.flows.archive.means import Means
from spotlightd.model import settings
from spotlightd.model.archive import Fingerprint, Verifier
from spotlightd.model.dataset import Column
from spotlightd.model.errors import StoreError
from spotlightd.model.fingerprint import selected
from spotlightd.model.market import trades
from spotlightd.model.partition import Partition
from spotlightd.model.pin import rows
from spotlightd.model.ports import Object
from spotlightd.model.stream import Stream
from spotlightd.parse.fingerprint import fingerprint

TODAY = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAYS = (date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 19))
POLICY = settings.Archive(hot_days={"trades": 10}, grace_seconds=3600.0, rest_seconds=600.0)
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
    policy: settings.Archive = POLICY
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.index = WarehouseArchives(self.warehouse, (trades,), self.bucket.table)
        self.kept = SqliteArchive(self.ledger)
        self.verifier: Verifier = HereVerifier()

    def means(self, around: Any = lambda port: port) -> Means:
        return Means(
            datasets={"trades": trades}, feeds={FEED.name: FEED}, transforms=(), warehouse=around(self.warehouse),
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


class FileBucket:
    """Objects as files, where the engine may read them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        content = body if isinstance(body, bytes) else body.read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        path = self.root / key
        if path.exists() and path.read_bytes() != content:
            raise StoreError("another object is there")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Object(key, len(content), digest)

    async def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        try:
            yield (self.root / key).read_bytes()[first:][:length]
        except FileNotFoundError:
            raise StoreError(f"no object {key}") from None

    async def head(self, key: str) -> Object | None:
        path = self.root / key
        return Object(key, path.stat().st_size) if path.exists() else None

    async def list(self, prefix: str) -> AsyncIterator[Object]:
        for path in sorted(self.root.rglob("*")):
            key = str(path.relative_to(self.root))
            if path.is_file() and key.startswith(prefix):
                yield Object(key, path.stat().st_size)

    def table(self, keys: Sequence[str], structure: str) -> str:
        columns = ddl.quoted(structure)
        each = (f"SELECT * FROM file('{self.root}/{key}', 'Parquet', {columns})" for key in keys)
        return f"({' UNION ALL '.join(each)})"
