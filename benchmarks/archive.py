"""What it costs to archive a day of `trades` in a real MinIO, and to read it from there.

export     only write the day (--rows, constructed by SQL, merged into one part), sorted by the whole key, to a Parquet file
archived   the archiver's own steps, one after the other, from planned to switched: seal, fingerprint, export, digest, upload,
           manifest, download, verification in the child. `processor_seconds_per_million` has each process; `total` is
           without the store. Memory is watched from a process of its own
reads      all trades of the rarest and of the busiest symbol, hot and then archived: the best of --reads, in ms, and for the
           archived ones the bytes that the engine fetched of the file
sizes      the file, compared with gzipped CSV and with pandas' `to_parquet` by default (if pandas is installed)

`of_export` is the ratio to the export inside a round, then the median of --rounds, as are processor seconds. Each round
has another day, since later rows of a sealed day wait for a day.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
from _frames import ROOT
from _outside import name_kind, watch_memory
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

DAY = date(2025, 10, 3)  # the day that INSERT_DAY writes
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


def processor_seconds() -> dict[str, float]:
    """Processor seconds spent so far by this process, by its children that have ended, and by those that run."""
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    times = {"daemon": own.ru_utime + own.ru_stime, "verifier": ended.ru_utime + ended.ru_stime}
    running = ((name_kind(child.cmdline()), sum(child.cpu_times()[:2])) for child in psutil.Process().children())
    for kind, seconds in running:
        if kind:
            times[kind] = times.get(kind, 0.0) + seconds
    return times


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
    peaks, rounds = dict[str, int](), list[dict[str, Any]]()
    for number in range(arguments.rounds):
        await _make_day(scene, ledger, DAY + timedelta(days=number), arguments.rows)
        rounds.append(await _run_round(scene, peaks, arguments))
        print(f"  round {number + 1}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)
    return {
        "rows": arguments.rows, "of_export": median(result["of_export"] for result in rounds),
        "processor_seconds_per_million": {
            name: median(result["processor"][name] / arguments.rows * 1e6 for result in rounds)
            for name in rounds[0]["processor"]
        },
        "rounds": rounds, "peak_mb": {name: round(size / 1e6) for name, size in peaks.items()},
        "bytes": await sizes(scene, scene.folder / "day.parquet"),
    }  # fmt: skip


async def _make_day(scene: Scene, ledger: SqliteLedger, day: date, rows: int) -> None:
    """Nothing is left of the rounds before, and the table has a new day."""
    names, warehouse = ", ".join(column.name for column in COLUMNS), scene.warehouse
    await warehouse.execute("TRUNCATE TABLE trades")
    await ledger.run("DELETE FROM partitions")
    await warehouse.execute("TRUNCATE TABLE archives")
    await scene.index.refresh()
    await warehouse.execute(INSERT_DAY.format(names=names, rows=rows).replace(DAY.isoformat(), day.isoformat()))
    await warehouse.execute("OPTIMIZE TABLE trades FINAL")


async def _run_round(scene: Scene, peaks: dict[str, int], arguments: argparse.Namespace) -> dict[str, Any]:
    warehouse = scene.warehouse
    by_size = (await warehouse.rows("SELECT symbol FROM trades GROUP BY symbol ORDER BY count()")).rows
    rare, busy = by_size[0][0], by_size[-1][0]
    spent = processor_seconds()
    export = await measure_seconds(scene.export())
    exporting = subtract(spent, processor_seconds())
    hot = {"rare": await scene.read(rare, arguments.reads), "busy": await scene.read(busy, arguments.reads)}
    with watch_memory(peaks, os.getpid()):
        spent = processor_seconds()
        archived = await measure_seconds(scene.archive())
        archiving = subtract(spent, processor_seconds())
    await scene.archiver.round()  # switched
    before = (await warehouse.rows(FETCHED)).rows
    rare_read = await scene.read(rare, 1)
    after = (await warehouse.rows(FETCHED)).rows
    cold = {
        "rare": min(rare_read, await scene.read(rare, arguments.reads)),
        "busy": await scene.read(busy, arguments.reads),
    }
    fetched = int(after[0][0]) - (int(before[0][0]) if before else 0) if after else 0
    total = round(sum(archiving[name] for name in ("daemon", "engine", "verifier")), 3)
    return {
        "export_seconds": round(export, 2), "archived_seconds": round(archived, 2), "of_export": round(export / archived, 2),
        "processor": {"total": total, **archiving, "export_alone": round(exporting["daemon"] + exporting["engine"], 3)},
        "hot_ms": hot, "archived_ms": cold, "fetched_for_rare": fetched,
    }  # fmt: skip


def subtract(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: round(seconds - before.get(name, 0.0), 3) for name, seconds in after.items()}


def median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 3)


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
