"""The cost of verifying an archived file: the sorted export alone, with the engine's fingerprint, with verification.

export        the day's `trades` (--rows, constructed by SQL, merged into one part), sorted by the whole key, as Parquet into a file
engine        the fingerprint that the engine computes of the same rows, alone
verifier      the fingerprint of the file in the child process, alone; its memory is watched from a process of its own
verified      export and engine's fingerprint at the same time, then verification: one day from start to end
overlapped    --days days one after another, a day verified while the next is exported; per day

In turns, `--rounds` times, in one engine. `of_export` are ratios to the export, taken inside a round, then the median.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _outside import watch_memory

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.trades import trades
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.model.archive import Fingerprint, export_select
from spotlightd.settings.sources import VerifierSettings
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from spotlightd.sql.fingerprint import fingerprint_columns
from spotlightd.workers.verifier import ChildVerifier

COLUMNS = trades.stored
ORDER = tuple(dict.fromkeys((*trades.order, *trades.key)))
INSERT_DAY = """INSERT INTO trades ({names}) SELECT
    concat('SYM', toString(toUInt8(100 * pow(randCanonical(1), 3)))) AS symbol, '' AS venue,
    toDateTime64('2025-10-03 13:30:00', 6, 'UTC') + toIntervalMillisecond(intDiv(number * 23400000, {rows})) AS time,
    time + toIntervalMicrosecond(20000 + rand(2) % 30000) AS received,
    toDateTime64('2025-10-03 21:00:00', 6, 'UTC') + toIntervalMillisecond(intDiv(number, 10000) * 100) AS ingested,
    round(50 + cityHash64(symbol) % 400 + sin(number / 50000) * 5 + (rand(3) % 200) / 100, 2) AS price,
    if(rand(4) % 3 = 0, 100, 1 + rand(5) % 400) AS volume, '' AS side, '' AS trade_id,
    [['1'], ['1', '8'], ['1', '12'], ['1', '8', '12'], []][1 + rand(6) % 5] AS conditions, 'trade' AS type,
    false AS long_digits, 'constructed' AS source, 1 AS load_id, 1 AS epoch, 0 AS partition, number AS offset,
    0 AS frame_index FROM numbers({rows})"""


@dataclass(frozen=True, slots=True)
class Scene:
    warehouse: ClickHouse
    verifier: ChildVerifier
    folder: Path

    async def export(self, name: str = "day") -> Path:
        path = self.folder / f"{name}.parquet"
        with path.open("wb") as file:
            async with self.warehouse.stream(export_select(COLUMNS, "trades", ORDER), "Parquet") as chunks:
                async for chunk in chunks:
                    file.write(chunk)
        return path

    async def compute_fingerprint(self) -> Fingerprint:
        answer = await self.warehouse.rows(f"SELECT {fingerprint_columns(COLUMNS, trades.time)} FROM trades")
        return Fingerprint(*map(int, answer.rows[0]))

    async def verify(self, name: str = "day") -> Fingerprint:
        return await self.verifier.fingerprint(self.folder / f"{name}.parquet", COLUMNS, trades.time)

    async def export_and_verify(self) -> None:
        async with asyncio.TaskGroup() as group:
            expected = group.create_task(self.compute_fingerprint())
            group.create_task(self.export())
        assert await self.verify() == expected.result()

    async def archive_overlapped(self, days: int) -> None:
        """Verify a day while the next one is exported. Two exports never run at the same time."""
        previous: asyncio.Task[Fingerprint] | None = None
        async with self.verifier.keep():
            for day in range(days):
                async with asyncio.TaskGroup() as group:
                    expected = group.create_task(self.compute_fingerprint())
                    group.create_task(self.export(f"day{day}"))
                assert previous is None or await previous == expected.result()
                previous = asyncio.create_task(self.verify(f"day{day}"))
            assert previous is not None
            await previous


async def measure_seconds(work: Awaitable[Any]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def run_round(scene: Scene, days: int) -> dict[str, float]:
    seconds = {
        "export": await measure_seconds(scene.export()),
        "engine": await measure_seconds(scene.compute_fingerprint()),
    }
    peaks = dict[str, int]()
    with watch_memory(peaks, os.getpid()):
        seconds["verifier"] = await measure_seconds(scene.verify())
    peak = peaks.get("verifier", 0)
    seconds["verified"] = await measure_seconds(scene.export_and_verify())
    seconds["overlapped"] = await measure_seconds(scene.archive_overlapped(days)) / days
    print(f"  {seconds}, peak {peak >> 20} MiB", file=sys.stderr, flush=True)
    return seconds | {"peak": peak}


def summarize(rows: int, rounds: list[dict[str, float]], size: int) -> dict[str, Any]:
    ways = [name for name in rounds[0] if name != "peak"]
    return {
        "rows": rows,
        "file_bytes": size,
        "seconds": {name: round(statistics.median(result[name] for result in rounds), 3) for name in ways},
        "of_export": {
            name: round(statistics.median(result["export"] / result[name] for result in rounds), 3) for name in ways
        },
        "verifier_peak_mb": round(max(result["peak"] for result in rounds) / 1e6, 1),
    }


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with state_lock(folder / "state") as lock:
        async with (
            Engine(lock, EngineSettings(threads=2), on_event=lambda *_, **__: None) as engine,
            ClickHouse(engine.url, engine.user, engine.password, "spotlightd", WarehouseSettings()) as warehouse,
        ):
            await warehouse.ensure(trades)
            names = ", ".join(column.name for column in COLUMNS)
            await warehouse.execute(INSERT_DAY.format(names=names, rows=arguments.rows))
            await warehouse.execute("OPTIMIZE TABLE trades FINAL")
            scene = Scene(warehouse, ChildVerifier(VerifierSettings()), folder)
            await scene.export()
            rounds = [await run_round(scene, arguments.days) for _ in range(arguments.rounds)]
            return summarize(arguments.rows, rounds, (folder / "day.parquet").stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--days", type=int, default=3)
    folder = Path(tempfile.mkdtemp(prefix="verify-"))
    try:
        print(json.dumps(asyncio.run(measure(parser.parse_args(), folder)), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
