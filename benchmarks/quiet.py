"""What a quiet feed costs: the real daemon on a venue that sends some ten trades a second, watched from outside.

`--rate 10` trades a second, one in a frame, on the embedded log, for `--seconds 600` after a warm-up of `--warm 120`; for
the hour: `--warm 600 --seconds 3600`. The processor time is that of the kernel's accounts (/proc/PID/stat) of the daemon and
of its children, before and after: nothing is measured inside them, and nothing asks them meanwhile. `percent_of_a_core` is
their sum. `--batch-seconds` sets how long a batch fills up. With `--watched` a live page is open all the time, so that a
trade is to be seen sooner.

Statements, inserts, new parts and merges are the engine's own counters (system.events) before and after; queryable lags are
the daemon's own, of the first frame of each batch. Memory is the resident size every 5 s: `growth_mb` is the end of a line
through all of them less its beginning, and `most_above_start_mb` the highest less the first. `--quick` takes a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from _ground import print_progress
from _watched import MB, averages, subtract_counts
from latency import SYMBOLS, Bench, run_daemon, wait_for_all_ticks, wait_for_first_trade

from spotlightd import log

SAMPLE_SECONDS = 5.0
EVENTS = ("Query", "InsertQuery", "InsertedRows", "MergeTreeDataWriterBlocks", "Merge", "MergedRows", "FileSync")
COUNTERS = f"SELECT event, value FROM system.events WHERE event IN {EVENTS}"
PARTS = "SELECT count() FROM system.parts WHERE active AND database = currentDatabase()"
DISK = {"every_seconds": 2.0}  # as the daemon does it by default; the settings of the tests look more often


def processor_seconds(bench: Bench) -> Mapping[str, float]:
    """Processor seconds so far of the daemon, of the engine, and of its other children, those that have ended included."""
    daemon = psutil.Process(bench.pid)
    own, engine = daemon.cpu_times(), psutil.Process(bench.engine_pid).cpu_times()
    others = [child.cpu_times() for child in daemon.children(recursive=True) if child.pid != bench.engine_pid]
    return {
        "daemon": own.user + own.system, "engine": engine.user + engine.system,
        "other children": own.children_user + own.children_system + sum(times.user + times.system for times in others),
    }  # fmt: skip


async def read_counters(bench: Bench) -> Mapping[str, int]:
    """The engine's counters of all that it did since its start."""
    return {event: int(value) for event, value in (await bench.warehouse.rows(COUNTERS)).rows}


@asynccontextmanager
async def open_live_page(bench: Bench, *, is_watched: bool) -> AsyncIterator[None]:
    """A reader of the live page's events while the block runs, if there is to be one."""
    if not is_watched:
        yield
        return
    address = json.loads((bench.state / "daemon.json").read_text(encoding="utf-8"))["web"]
    url, symbols = f"{address}/live/events", ",".join(SYMBOLS)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.get(url, params={"symbols": symbols}, raise_for_status=True) as answer,
    ):
        reading = asyncio.create_task(answer.content.read(), name="live page")
        try:
            yield
            if reading.done():
                raise RuntimeError("the live page was disconnected")
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def sample_memory(bench: Bench, seconds: float) -> Mapping[str, list[int]]:
    """The resident sizes of daemon and engine, for that long."""
    sizes: dict[str, list[int]] = {"daemon": [], "engine": []}
    pids, until = {"daemon": bench.pid, "engine": bench.engine_pid}, time.monotonic() + seconds
    while time.monotonic() < until:
        for name, pid in pids.items():
            sizes[name].append(psutil.Process(pid).memory_info().rss)
        await asyncio.sleep(min(SAMPLE_SECONDS, max(0.0, until - time.monotonic())))
    return sizes


def describe_memory(sizes: list[int]) -> dict[str, Any]:
    """Figures of the resident size of one process, in MB."""
    samples = np.array(sizes) / MB
    slope = np.polyfit(np.arange(len(samples)), samples, 1)[0] if len(samples) > 1 else 0.0
    every = max(1, len(samples) // 30)
    return {
        "start_mb": round(float(samples[0]), 1), "end_mb": round(float(samples[-1]), 1),
        "growth_mb": round(float(slope) * (len(samples) - 1), 2),
        "most_above_start_mb": round(float(samples.max() - samples[0]), 2),
        "course_mb": [round(float(size), 1) for size in samples[::every]],
    }  # fmt: skip


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    sections: dict[str, Any] = {"disk": DISK}
    if arguments.batch_seconds:
        sections["streams"] = {"batch_seconds": arguments.batch_seconds}
    async with run_daemon(folder, {"kind": "embedded"}, sections, rate=arguments.rate) as bench:
        await wait_for_first_trade(bench)
        async with open_live_page(bench, is_watched=arguments.watched):
            print_progress(f"warming up for {arguments.warm:g} s")
            await asyncio.sleep(arguments.warm)
            print_progress(f"measuring for {arguments.seconds:g} s")
            counted, metrics, ticks = await read_counters(bench), await bench.counts(), await bench.venue.send("count")
            began, spent = time.monotonic(), processor_seconds(bench)
            sizes = await sample_memory(bench, arguments.seconds)
            used = {name: value - spent[name] for name, value in processor_seconds(bench).items()}
            seconds = time.monotonic() - began
            done = {event: value - counted.get(event, 0) for event, value in (await read_counters(bench)).items()}
            averaged = averages(subtract_counts(metrics, await bench.counts()))
            rate = (await bench.venue.send("count") - ticks) / seconds
            parts = (await bench.query_row(PARTS))[0]
        counts = await wait_for_all_ticks(bench)
    return {
        "trades_per_second": round(rate, 1), "seconds": round(seconds, 1), "is_watched": arguments.watched,
        "percent_of_a_core": round(100 * sum(used.values()) / seconds, 2),
        "percent_by_process": {name: round(100 * value / seconds, 2) for name, value in used.items()},
        "events_per_minute": {event: round(60 * value / seconds, 1) for event, value in sorted(done.items())},
        "parts": parts, "averages": averaged,
        "memory": {name: describe_memory(samples) for name, samples in sizes.items()}, "ticks": counts,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--warm", type=float, default=120.0, help="seconds before the measurement begins")
    parser.add_argument("--batch-seconds", type=float, default=0.0, help="0 = the daemon's default")
    parser.add_argument("--watched", action="store_true", help="with an open live page")
    parser.add_argument("--quick", action="store_true", help="10 s of warm-up and 30 s of measurement")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.warm, arguments.seconds = 10.0, 30.0
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-quiet-"))
    try:
        print(json.dumps(asyncio.run(measure(folder, arguments)), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
