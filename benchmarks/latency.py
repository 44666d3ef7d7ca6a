"""From the socket until a trade is queryable: the real daemon listening to the demo's exchange, each in its own process.

steady   `--rate 10000` trades a second, one in a frame, for `--seconds 60`, on Kafka and on the embedded log
burst    100 times that for 5 s, ten in a frame, on a fresh daemon. No exchange in Python can send so many in that time:
         it sends as many as the socket takes, and continues until it is no longer behind. `sent_per_second` is the
         rate that it reached

received → queryable: a separate client reads the newest receive time in `trades` from the engine every 50 ms. A trade became
queryable between the last question whose answer is older and the first answer that is not; the middle of the two counts.
So a single trade's figure is off by half of `resolution_ms` (the median span between two answers) at most, and the figures
are not higher on average for it. The engine answers from the bounds of its parts, without reading rows. Every trade counts that was received after the first 5 s. Its load was published before,
when the day's first frame came.

Loop lag is read from the daemon's own histogram; p99 is the upper bound of its bucket. Memory is the daemon's resident
size twice a second, engine and Kafka apart; `growth_mb_a_minute` is the slope of a line through those of the second half.
`averages` are the daemon's own: milliseconds from receiving a frame to each stage, of the first frame of each batch, and
the duration and size of a batch. Every tick has a number (its volume), so lost and doubled ticks are counted. `--quick` takes seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from _frames import ROOT
from _ground import print_progress, run_broker
from _venue import Venue, run_venue
from _watched import MB, Counts, Watch, averages, counts, loop_lag, memory, subtract_counts, summarize_waits

from spotlightd import log
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.runtime.endpoint import Endpoint
from spotlightd.runtime.instance import make_warehouse
from spotlightd.settings.settings import Settings

SYMBOLS = ["AAPL", "TSLA", "BINANCE:BTCUSDT"]
POLL_SECONDS = 0.05
WARM_SECONDS = 5.0
FIRST_TRADE_SECONDS = 60.0
SAMPLE_SECONDS = 0.5
CALM_SECONDS = 0.5
DEADLINE_SECONDS = 600.0
NEWEST = "SELECT toUnixTimestamp64Micro(max(received)) FROM trades"
COUNTED = "SELECT count(), uniqExact(volume), max(volume) FROM trades"


@dataclass(frozen=True, slots=True)
class Bench:
    """A daemon that listens to a venue, and a client of its engine."""

    venue: Venue
    state: Path
    warehouse: ClickHouse
    pid: int
    engine_pid: int
    metrics: str
    log_text: Callable[[], str]

    async def query_row(self, sql: str) -> tuple[Any, ...]:
        return tuple((await self.warehouse.rows(sql)).rows[0])

    async def counts(self) -> Counts:
        """The daemon's metrics, as Prometheus reads them."""
        async with aiohttp.ClientSession() as session, session.get(self.metrics) as answer:
            return counts(await answer.text())

    def processor_seconds(self) -> dict[str, float]:
        """Processor seconds spent so far by the daemon, the engine and the venue."""
        results = {}
        for name, pid in {"daemon": self.pid, "engine": self.engine_pid, "venue": self.venue.process.pid}.items():
            times = psutil.Process(pid).cpu_times()
            results[name] = times.user + times.system
        return results


@asynccontextmanager
async def run_daemon(
    folder: Path, bus: Mapping[str, Any], more: Mapping[str, Any] | None = None, **script: Any
) -> AsyncIterator[Bench]:
    """Run a new daemon on that bus, with `more` sections of settings, that listens to a venue of that script."""
    sys.path.insert(0, str(ROOT))
    from tests import polling  # noqa: PLC0415  (the path is known only now)
    from tests.daemon import process  # noqa: PLC0415
    from tests.real.kafka import free_ports  # noqa: PLC0415

    root = Path(tempfile.mkdtemp(dir=folder))
    async with AsyncExitStack() as stack:
        venue = await stack.enter_async_context(run_venue(**script))
        port = free_ports(1)[0]
        streams = {"symbols": {"finnhub": SYMBOLS}, "addresses": {"finnhub": venue.address}}
        sections = {**(more or {}), "streams": {**(more or {}).get("streams", {}), **streams}}
        config = process.settings_file(
            root, "http://127.0.0.1:9", bus=bus, metrics={"port": port},
            schedule={"enabled": False, "sources": ["sec_ftd"]}, log={"format": "json", "level": "warning"},
            **sections,
        )  # fmt: skip
        daemon = await stack.enter_async_context(process.start(config))
        endpoint = await polling.until(lambda: _endpoint(root / "state/daemon.json", daemon.pid), "daemon.json")
        warehouse = await stack.enter_async_context(make_warehouse(endpoint, Settings()))
        engine = max(psutil.Process(daemon.pid).children(), key=lambda child: child.memory_info().rss).pid
        yield Bench(
            venue, root / "state", warehouse, daemon.pid, engine, f"http://127.0.0.1:{port}/metrics", daemon.describe
        )


def _endpoint(path: Path, pid: int) -> Endpoint | None:
    if not path.exists():
        return None
    endpoint = Endpoint(**json.loads(path.read_text(encoding="utf-8")))
    return endpoint if endpoint.pid == pid else None


async def watch_daemon(bench: Bench, seconds: float, watch: Watch | None = None) -> Watch:
    """Sample the daemon for that long."""
    watch, until = watch or Watch(), time.monotonic() + seconds
    await asyncio.gather(_sample(bench, watch, until), _poll(bench, watch, until))
    return watch


async def _poll(bench: Bench, watch: Watch, until: float) -> None:
    while time.monotonic() < until:
        began = time.monotonic()
        watch.asked.append(time.time_ns() // 1000)
        (newest,) = await bench.query_row(NEWEST)
        watch.answered.append(time.time_ns() // 1000)
        watch.newest.append(int(newest))
        await asyncio.sleep(max(0.0, began + POLL_SECONDS - time.monotonic()))


async def _sample(bench: Bench, watch: Watch, until: float) -> None:
    daemon, engine = psutil.Process(bench.pid), psutil.Process(bench.engine_pid)
    while time.monotonic() < until:
        watch.daemon.append(daemon.memory_info().rss)
        watch.engine.append(engine.memory_info().rss)
        await asyncio.sleep(SAMPLE_SECONDS)


async def wait_for_first_trade(bench: Bench) -> None:
    """Wait until trades are in the table, and some seconds more."""
    until = time.monotonic() + FIRST_TRADE_SECONDS
    while not (await bench.query_row("SELECT count() FROM trades"))[0]:
        if time.monotonic() > until:
            raise TimeoutError(f"no trade within {FIRST_TRADE_SECONDS:g} s: {bench.log_text()}")
        await asyncio.sleep(0.05)
    await asyncio.sleep(WARM_SECONDS)


async def wait_for_all_ticks(bench: Bench) -> dict[str, Any]:
    """Stop the market and wait until no more ticks arrive. Returns the counts of all ticks."""
    ticks, began, before = await bench.venue.send("stall"), time.monotonic(), -1
    while time.monotonic() - began < DEADLINE_SECONDS:
        rows, different, highest = map(int, await bench.query_row(COUNTED))
        if different >= ticks or (rows == before and time.monotonic() - began > WARM_SECONDS):
            break
        before = rows
        await asyncio.sleep(1.0)
    gaps = (await bench.warehouse.rows("SELECT cause, says FROM gaps ORDER BY id")).rows
    return {
        "sent": ticks, "rows": rows, "lost": ticks - different, "doubled": rows - different,
        "unknown": int(highest >= ticks), "gaps": [list(gap) for gap in gaps],
    }  # fmt: skip


async def steady(folder: Path, bus: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    async with run_daemon(folder, bus, rate=arguments.rate) as bench:
        await wait_for_first_trade(bench)
        before, since, ticks = await bench.counts(), time.time_ns() // 1000, await bench.venue.send("count")
        spent = bench.processor_seconds()
        watch = await watch_daemon(bench, arguments.seconds)
        shares = {name: (after - spent[name]) / arguments.seconds for name, after in bench.processor_seconds().items()}
        rate = (await bench.venue.send("count") - ticks) / arguments.seconds
        after = subtract_counts(before, await bench.counts())
        counts_by_kind = await wait_for_all_ticks(bench)
        sql = f"SELECT toUnixTimestamp64Micro(received) FROM trades WHERE received >= fromUnixTimestamp64Micro({since})"
        received = np.array([row[0] for row in (await bench.warehouse.rows(sql)).rows], "i8")
    return {
        "trades_per_second": round(rate), "received_to_queryable": summarize_waits(received, watch), "loop_lag": loop_lag(after),
        "averages": averages(after), "cores_used": {name: round(share, 2) for name, share in shares.items()},
        "memory": memory(watch, SAMPLE_SECONDS), "ticks": counts_by_kind,
    }  # fmt: skip


async def burst(folder: Path, bus: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    async with run_daemon(folder, bus, rate=arguments.rate, per_frame=arguments.burst_per_frame) as bench:
        await wait_for_first_trade(bench)
        lags, before = await bench.counts(), psutil.Process(bench.pid).memory_info().rss
        ticks, began = await bench.venue.send("count"), time.monotonic()
        watch = Watch()
        sampling = asyncio.create_task(_sample(bench, watch, began + DEADLINE_SECONDS), name="watch")
        await bench.venue.send("burst", factor=arguments.burst, seconds=arguments.burst_seconds)
        total = await _wait_until_calm(bench, arguments.rate)
        sent = time.monotonic() - began
        while time.monotonic() - began < DEADLINE_SECONDS:
            if (await bench.query_row("SELECT count() FROM trades"))[0] >= total:
                break
            await asyncio.sleep(CALM_SECONDS)
        queryable = time.monotonic() - began
        sampling.cancel()
        after = subtract_counts(lags, await bench.counts())
        counts_by_kind = await wait_for_all_ticks(bench)
    return {
        "requested_trades_per_second": arguments.rate * arguments.burst, "requested_seconds": arguments.burst_seconds,
        "trades": total - ticks, "sent_per_second": round((total - ticks) / sent), "seconds_until_all_sent": round(sent, 1),
        "seconds_until_all_queryable": round(queryable, 1), "loop_lag": loop_lag(after),
        "memory": {
            "before_mb": before // MB, "most_mb": max(watch.daemon) // MB, "growth_mb": (max(watch.daemon) - before) // MB,
            "engine_most_mb": max(watch.engine) // MB,
        }, "ticks": counts_by_kind,
    }  # fmt: skip


async def _wait_until_calm(bench: Bench, rate: float) -> int:
    """Wait until the venue has sent its delayed ticks and is back at its own rate. Returns the number of ticks."""
    ticks = await bench.venue.send("count")
    while True:
        before, began = ticks, time.monotonic()
        await asyncio.sleep(CALM_SECONDS)
        ticks = await bench.venue.send("count")
        if ticks - before < 2 * rate * (time.monotonic() - began):
            return ticks


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    runs = {"steady": steady} | ({"burst": burst} if arguments.burst else {})
    results: dict[str, Any] = {"rate": arguments.rate, "seconds": arguments.seconds}
    for kind in arguments.buses:
        results[kind] = {}
        for name, run in runs.items():
            print_progress(f"{kind}: {name}")
            async with AsyncExitStack() as stack:  # a broker for each: a topic keeps earlier frames
                bus: dict[str, Any] = {"kind": kind}
                if kind == "kafka":
                    bus["servers"] = [await stack.enter_async_context(run_broker(folder / f"kafka-{name}"))]
                results[kind][name] = await run(folder, bus, arguments)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--burst", type=float, default=100, help="times the rate; 0 = none")
    parser.add_argument("--burst-seconds", type=float, default=5)
    parser.add_argument("--burst-per-frame", type=int, default=10)
    parser.add_argument("--buses", nargs="+", choices=("kafka", "embedded"), default=("kafka", "embedded"))
    parser.add_argument("--quick", action="store_true", help="1,000 trades a second for 5 s, and a burst of 1 s")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rate, arguments.seconds, arguments.burst_seconds = 1_000, 5, 1
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-latency-"))
    try:
        print(json.dumps(asyncio.run(measure(folder, arguments)), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
