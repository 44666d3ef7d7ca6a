"""What it costs to archive a day of `trades` in a real MinIO, and to read it from there.

export     only write the day (--rows, constructed by SQL, merged into one part), sorted by the whole key, to a Parquet file
archived   the archiver's own steps, one after the other, from planned to verified: seal, fingerprint, export, digest, upload,
           manifest, download, verification in the child. Its memory, and that of the child, are sampled every 5 ms
reads      all trades of the rarest and of the busiest symbol, hot and then archived: the best of --reads, in ms, and for the
           archived ones the bytes that the engine fetched of the file
sizes      the file, compared with gzipped CSV and with pandas' `to_parquet` by default (if pandas is installed)

`of_export` is the ratio to the export inside a round, then the median of --rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from _frames import ROOT
from verify import COLUMNS, INSERT_DAY, ORDER

from spotlightd import log
from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.datasets.trades import trades
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.model.archive import export_select
from spotlightd.model.bucket import BucketAccess, EngineReach
from spotlightd.model.partition import Partition
from spotlightd.settings import sources, stores
from spotlightd.sql.visibility import all_rows
from spotlightd.workers.verifier import ChildVerifier

sys.path.insert(0, str(ROOT))

from tests.real.store import BUCKET
from tests.real.stores import Minio

DAY = datetime(2025, 10, 3, tzinfo=UTC)
SAMPLE_SECONDS = 0.005
POLICY = stores.ArchiveSettings(hot_days={"trades": 1}, grace_seconds=0.0)
READ = "SELECT count(), sum(price), max(offset) FROM {rows} WHERE symbol = {{symbol:String}}"
FETCHED = "SELECT value FROM system.events WHERE event = 'ReadBufferFromS3Bytes'"


class Scene:
    """An engine, a MinIO, and the archiver between them."""

    def __init__(self, folder: Path, warehouse: ClickHouse, bucket: S3Bucket, ledger: SqliteLedger) -> None:
        self.folder, self.warehouse = folder, warehouse
        self.index = WarehouseArchives(warehouse, (trades,), bucket.table)
        self.archive_ledger = SqliteArchive(ledger)
        context = ArchiveContext(
            datasets={"trades": trades}, feeds={}, transforms=(), warehouse=warehouse, bucket=bucket, index=self.index,
            archive_ledger=self.archive_ledger, ledger=ledger, positions=SqlitePositions(ledger), verifier=ChildVerifier(sources.VerifierSettings()),
            folder=folder / "archive", policy=POLICY,
        )  # fmt: skip
        self.archiver = Archiver(context)

    async def export(self) -> Path:
        path = self.folder / "day.parquet"
        with path.open("wb") as file:
            async with self.warehouse.stream(export_select(COLUMNS, "trades", ORDER), "Parquet") as chunks:
                async for chunk in chunks:
                    file.write(chunk)
        return path

    async def archive(self) -> Partition:
        """Archive the day, from planned to verified. Each round needs other rows: the bucket keeps the objects of earlier ones."""
        await self.archiver.round()
        (partition,) = await self.archive_ledger.partitions()
        if partition.stage not in ("verified", "switched"):
            raise SystemExit(f"the partition is {partition.stage}: {partition.detail}")
        return partition

    async def read(self, symbol: str, times: int) -> float:
        """The fastest of several reads, in milliseconds."""
        sql = READ.format(rows=all_rows(trades, self.index.archived))
        seconds = [await measure_seconds(self.warehouse.rows(sql, {"symbol": symbol})) for _ in range(times)]
        return round(1000 * min(seconds), 1)


async def measure_seconds(work: Awaitable[Any]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


@contextmanager
def watch_memory(peaks: dict[str, int]) -> Iterator[None]:
    """The greatest resident memory of this process and of the children that start during the block."""
    process = psutil.Process()
    known = {child.pid for child in process.children()}

    async def sample() -> None:
        while True:
            peaks["daemon"] = max(peaks.get("daemon", 0), process.memory_info().rss)
            for child in process.children():
                if child.pid not in known:
                    try:
                        peaks["verifier"] = max(peaks.get("verifier", 0), child.memory_info().rss)
                    except psutil.NoSuchProcess:
                        continue
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()


async def sizes(scene: Scene, path: Path) -> dict[str, Any]:
    csv_file = scene.folder / "day.csv.gz"
    sql = f"SELECT {', '.join(column.name for column in COLUMNS)} FROM trades ORDER BY {', '.join(ORDER)}"
    with gzip.open(csv_file, "wb", compresslevel=6) as output:
        async with scene.warehouse.stream(sql, "CSVWithNames") as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(output.write, chunk)
    sizes = {file.name: (await asyncio.to_thread(file.stat)).st_size for file in (path, csv_file)}
    try:
        import pandas as pd  # noqa: PLC0415

        default_file = scene.folder / "pandas.parquet"
        await asyncio.to_thread(lambda: pd.read_parquet(path).to_parquet(default_file))
        sizes["pandas to_parquet"] = (await asyncio.to_thread(default_file.stat)).st_size
    except ImportError:
        sizes["pandas to_parquet"] = 0
    return sizes


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Minio(folder / "minio"))
        access = BucketAccess(store.access_key, store.secret_key, "bench/")
        reach = EngineReach("", store.port, f"{store.url}/{BUCKET}/bench/", access.access_key, access.secret_key)
        bucket_settings = stores.BucketSettings(kind="s3", url=store.url, name=BUCKET)
        bucket = await stack.enter_async_context(S3Bucket(bucket_settings, access))
        lock = stack.enter_context(state_lock(folder / "state"))
        engine = await stack.enter_async_context(
            Engine(lock, stores.EngineSettings(threads=2), bucket=reach, on_event=lambda *_, **__: None)
        )
        warehouse = await stack.enter_async_context(
            ClickHouse(engine.url, engine.user, engine.password, "spotlightd", stores.WarehouseSettings())
        )
        ledger = await stack.enter_async_context(SqliteLedger(folder / "ledger.sqlite"))
        for dataset in (*SYSTEM_DATASETS, trades):
            await warehouse.ensure(dataset)
        scene = Scene(folder, warehouse, bucket, ledger)
        return await _rounds(scene, arguments, ledger)


async def _rounds(scene: Scene, arguments: argparse.Namespace, ledger: SqliteLedger) -> dict[str, Any]:
    names, warehouse = ", ".join(column.name for column in COLUMNS), scene.warehouse
    peaks, ratios, results = dict[str, int](), list[float](), dict[str, Any]()
    for number in range(arguments.rounds):
        await warehouse.execute("TRUNCATE TABLE trades")
        await ledger.run("DELETE FROM partitions")
        await warehouse.execute("TRUNCATE TABLE archives")
        await scene.index.refresh()
        sql = INSERT_DAY.format(names=names, rows=arguments.rows).replace("numbers(", f"numbers({number}, ")
        await warehouse.execute(sql)
        await warehouse.execute("OPTIMIZE TABLE trades FINAL")
        by_size = (await warehouse.rows("SELECT symbol FROM trades GROUP BY symbol ORDER BY count()")).rows
        rare, busy = by_size[0][0], by_size[-1][0]
        export = await measure_seconds(scene.export())
        hot = {"rare": await scene.read(rare, arguments.reads), "busy": await scene.read(busy, arguments.reads)}
        with watch_memory(peaks):
            seconds = await measure_seconds(scene.archive())
        ratios.append(export / seconds)
        print(
            f"  export {export:.2f} s, archived {seconds:.2f} s, of export {export / seconds:.2f}",
            file=sys.stderr,
            flush=True,
        )
        await scene.archiver.round()  # switched
        before = (await warehouse.rows(FETCHED)).rows
        rare_read = await scene.read(rare, 1)
        after = (await warehouse.rows(FETCHED)).rows
        cold = {
            "rare": min(rare_read, await scene.read(rare, arguments.reads)),
            "busy": await scene.read(busy, arguments.reads),
        }
        fetched = int(after[0][0]) - (int(before[0][0]) if before else 0) if after else 0
        results = {
            "rounds_of_export": [round(ratio, 2) for ratio in ratios],
            "hot_ms": hot,
            "archived_ms": cold,
            "fetched_for_rare": fetched,
        }
    path = scene.folder / "day.parquet"
    return {
        "rows": arguments.rows, "of_export": round(statistics.median(ratios), 2), **results,
        "peak_mb": {name: round(size / 1e6) for name, size in peaks.items()}, "bytes": await sizes(scene, path),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reads", type=int, default=5)
    arguments = parser.parse_args()
    log.configure("warning", "json")
    folder = Path(tempfile.mkdtemp(prefix="archive-"))
    try:
        print(json.dumps(asyncio.run(measure(arguments, folder)), indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
