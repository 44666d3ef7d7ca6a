"""What archiving costs listeners: the lag of incoming trades while a large day is archived in a real MinIO.

The real daemon takes `--rate 10000` trades a second from the demo's exchange, each in its own process, as in latency.py.
Its table has an old day of --rows trades, constructed by SQL and merged into one part.

calm      `--seconds 30` without archiving
beside    from the job `archive run` until the copy of that day is verified: sealed, exported, uploaded, downloaded, verified
increase  by how much received → queryable and loop lag are longer during archiving than before, in ms

In turns, `--rounds` times, each on a fresh daemon: `increase` is the median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _frames import ROOT
from _ground import print_progress
from _watched import Watch, averages, loop_lag, subtract_counts, summarize_waits
from latency import DEADLINE_SECONDS, Bench, run_daemon, wait_for_all_ticks, wait_for_first_trade, watch_daemon
from verify import COLUMNS, INSERT_DAY

from spotlightd import log
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.ports.ledger import Job
from spotlightd.runtime.instance import LEDGER_FILE

sys.path.insert(0, str(ROOT))

from tests.real.store import BUCKET
from tests.real.stores import Minio

POLL_SECONDS = 0.1
OLD_DAY = INSERT_DAY.replace("1 AS load_id", "0 AS load_id")  # of no load, so no bars are built of it
RECEIVED = (
    "SELECT toUnixTimestamp64Micro(received) FROM trades WHERE received >= fromUnixTimestamp64Micro({since:Int64})"
)


async def wait_until_verified(bench: Bench) -> dict[str, Any]:
    """Have the daemon archive the old day, and wait until the copy is verified."""
    async with SqliteLedger(bench.state / LEDGER_FILE) as ledger:
        began = time.monotonic()
        queued = await ledger.add_job(Job("archive"))
        while not (job := await ledger.job(queued.number)).has_ended:
            if time.monotonic() - began > DEADLINE_SECONDS:
                raise TimeoutError(f"nothing was verified within {DEADLINE_SECONDS:g} s: {job.detail}")
            await asyncio.sleep(POLL_SECONDS)
        seconds = time.monotonic() - began
        partitions = [
            (partition.stage, partition.fingerprint.rows, partition.detail)
            for partition in await SqliteArchive(ledger).partitions()
            if partition.dataset == "trades"
        ]
    if [stage for stage, _, _ in partitions] != ["verified"]:
        raise SystemExit(f"the day is not verified: {partitions}; {job.detail}; {bench.log_text()}")
    return {"seconds": round(seconds, 1), "rows": partitions[0][1]}


async def measure_during(bench: Bench, task: asyncio.Task[Any]) -> dict[str, Any]:
    """The figures of the daemon from now until the task ends."""
    before, since = await bench.counts(), time.time_ns() // 1000
    watch = Watch()
    sampling = asyncio.create_task(watch_daemon(bench, DEADLINE_SECONDS, watch), name="watch")
    await asyncio.wait([task, sampling], return_when=asyncio.FIRST_COMPLETED)
    sampling.cancel()
    await asyncio.wait([sampling])
    await task
    after = subtract_counts(before, await bench.counts())
    rows = (await bench.warehouse.rows(RECEIVED, {"since": since})).rows
    waited = summarize_waits(np.array([row[0] for row in rows], "i8"), watch)
    return {"received_to_queryable": waited, "loop_lag": loop_lag(after), "means": averages(after)}


async def run_once(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    async with Minio(folder / "minio") as store:
        keys = {"access_key_file": store.access_key, "secret_key_file": store.secret_key}
        for name, key in keys.items():
            (folder / name).touch(0o600)
            (folder / name).write_text(key, encoding="utf-8")
        more = {
            "bucket": {"kind": "s3", "url": store.url, "name": BUCKET, **{name: str(folder / name) for name in keys}},
            "archive": {"hot_days": {"trades": 1}, "every_seconds": 86_400.0},
        }
        async with run_daemon(folder, {"kind": "embedded"}, more, rate=arguments.rate) as bench:
            names = ", ".join(column.name for column in COLUMNS)
            await bench.warehouse.execute(OLD_DAY.format(names=names, rows=arguments.rows))
            await bench.warehouse.execute("OPTIMIZE TABLE trades FINAL")
            await wait_for_first_trade(bench)
            calm = await measure_during(bench, asyncio.create_task(asyncio.sleep(arguments.seconds)))
            archiving = asyncio.create_task(wait_until_verified(bench), name="archive")
            beside = await measure_during(bench, archiving)
            return {"calm": calm, "beside": beside, "archived": archiving.result(), "ticks": await count_ticks(bench)}


async def count_ticks(bench: Bench) -> dict[str, Any]:
    """The counts of the ticks, without the rows of the old day."""
    await bench.warehouse.execute("ALTER TABLE trades DELETE WHERE source = 'constructed' SETTINGS mutations_sync = 1")
    return await wait_for_all_ticks(bench)


def summarize_increase(rounds: list[dict[str, Any]]) -> dict[str, float]:
    def median(part: str, name: str) -> float:
        differences = (float(result["beside"][part][name] - result["calm"][part][name]) for result in rounds)
        return round(statistics.median(differences), 1)

    waited = {name: median("received_to_queryable", name) for name in ("p50_ms", "p99_ms", "most_ms")}
    return {**waited, "loop_lag_p99_ms": median("loop_lag", "p99_ms_at_most")}


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    rounds = []
    for number in range(arguments.rounds):
        subfolder = folder / str(number)
        subfolder.mkdir()
        rounds.append(await run_once(subfolder, arguments))
        print_progress(f"round {number + 1}: {json.dumps(rounds[-1]['archived'])}")
    return {"rate": arguments.rate, "rows": arguments.rows, "increase": summarize_increase(rounds), "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10_000)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    log.configure("warning", "json")
    folder = Path(tempfile.mkdtemp(prefix="beside-"))
    try:
        print(json.dumps(asyncio.run(measure(folder, arguments)), indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
