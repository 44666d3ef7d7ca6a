"""The cost that the explorer adds to its queries: symbol pages, first bytes of downloads, memory during a download.

A real `spotlightd run` on `--rows 30000000` invented rows in `--loads 500` published half-months of 6,000 symbols,
embedded engine, one client on the same machine; each figure is compared with the same statements sent directly to the
engine, in turn.

symbol_page   p50 and p95 of `/s/SYMBOL` and of its statements alone (the snapshot, then everything else as one, as the
              page sends them) over `--symbols 60` different symbols; the most statements of a page; processor time of
              the daemon and of its engine for a page, and of a client and the engine for the statements alone, which
              a busy machine hardly changes
first_byte    median of `--times 5`, for each format, of about `--download-rows 10000000` rows: through the explorer,
              and of the statement itself
pages         median of `--times 5` of other pages, with all their queries
memory        the daemon's resident MB before and at most during the whole download, without the engine; the file's MB
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from _fails import SYMBOLS, Scale, fill

from spotlightd import log
from spotlightd.ports.warehouse import Limits
from spotlightd.query import filters, measures, outputs, select
from spotlightd.query.reader import Reader, snapshot_query
from spotlightd.runtime.endpoint import Endpoint
from spotlightd.runtime.instance import make_warehouse
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import sec_ftd
from spotlightd.sql.visibility import Snapshot
from spotlightd.turns import Turns

PAGES = (
    "/",
    "/data/sec_ftd",
    "/data/sec_ftd?symbol=S77",
    "/data/sec_ftd?_facet=symbol",
    "/search?q=company+77",
    "/status",
)
STATEMENTS = re.compile(r"(\d+) queries")
LIMITS = Limits(seconds=600, memory_bytes=1 << 30)
READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A daemon that answers, a client, and a reader that queries the engine as the pages do."""

    web: str
    daemon: psutil.Process
    session: aiohttp.ClientSession
    reader: Reader


@asynccontextmanager
async def run_daemon(state: Path) -> AsyncIterator[Bench]:
    config = state.parent / "settings.toml"
    config.write_text(f'state_dir = "{state}"\n[web]\nport = 0\n[schedule]\nenabled = false\n')
    command = [sys.executable, "-m", "spotlightd", "run", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220  # nothing else runs meanwhile
    try:
        endpoint = Endpoint(**await _ready(state, process.pid))
        async with make_warehouse(endpoint, Settings()) as warehouse, aiohttp.ClientSession() as session:
            reader = Reader(warehouse, LIMITS, Turns(8), 60.0)
            yield Bench(endpoint.web, psutil.Process(process.pid), session, reader)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


async def _ready(state: Path, pid: int) -> dict[str, Any]:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            endpoint: dict[str, Any] = json.loads(await asyncio.to_thread((state / "daemon.json").read_text))
            if endpoint["pid"] == pid:
                return endpoint
        await asyncio.sleep(0.05)
    raise TimeoutError("the daemon did not become ready")


async def measure_seconds(request: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await request()
    return time.perf_counter() - began


async def symbol_page(bench: Bench, count: int) -> dict[str, Any]:
    pages, alone, statements, cpu = [], [], 0, defaultdict[str, float](float)
    await _get(bench, "/s/S1")
    for name in (f"S{number * SYMBOLS // count}" for number in range(count)):
        before = _cpu(bench)
        began = time.perf_counter()
        statements = max(statements, await _get(bench, f"/s/{name}"))
        pages.append(1000 * (time.perf_counter() - began))
        after_page, began_client = _cpu(bench), time.process_time()
        alone.append(1000 * await measure_seconds(partial(_request, bench.reader, name)))
        cpu["sql_client"] += time.process_time() - began_client
        after_sql = _cpu(bench)
        for part, seconds in before.items():
            cpu[part] += after_page[part] - seconds
        cpu["sql_engine"] += after_sql["engine"] - after_page["engine"]
    results = {"page_ms": _spread(pages), "sql_ms": _spread(alone)}
    return {
        **results,
        "p95_more_ms": round(results["page_ms"]["p95"] - results["sql_ms"]["p95"], 1),
        "cpu_ms_a_page": {name: round(value / count * 1000, 1) for name, value in cpu.items()},
        "most_statements": statements,
    }


def _cpu(bench: Bench) -> dict[str, float]:
    """Processor seconds of the daemon, and of its engine and other children."""
    times = {process: process.cpu_times() for process in (bench.daemon, *bench.daemon.children(recursive=True))}
    seconds = {process: float(spent.user + spent.system) for process, spent in times.items()}
    daemon = seconds.pop(bench.daemon)
    return {"daemon": daemon, "engine": sum(seconds.values())}


def _spread(values: list[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(values), 1), "p95": round(statistics.quantiles(values, n=20)[-1], 1)}


async def _get(bench: Bench, path: str) -> int:
    """The number of statements that the page sent, as it says itself."""
    async with bench.session.get(bench.web + path) as answer:
        await answer.read()
        assert answer.status == 200, path
        return int(STATEMENTS.findall(answer.headers["Server-Timing"])[0])


async def _request(reader: Reader, name: str) -> None:
    snapshot = await reader.snapshot()
    await reader.together(measures.daily_history(sec_ftd, name, snapshot))


async def pages(bench: Bench, times: int) -> dict[str, float]:
    results = {}
    for path in PAGES:
        results[path] = round(await _median_ms(partial(_get, bench, path), times), 1)
    return results


async def first_byte(bench: Bench, until: date, times: int) -> dict[str, Any]:
    results = {}
    for suffix in outputs.OUTPUTS:
        page = await _median_ms(partial(_first_byte_of_page, bench, suffix, until), times)
        query = await _median_ms(partial(_first_byte_of_query, bench, suffix, until), times)
        results[suffix] = {"ms": round(page, 1), "query_ms": round(query, 1), "more_ms": round(page - query, 1)}
    return results


async def _median_ms(request: Callable[[], Awaitable[Any]], times: int) -> float:
    return 1000 * statistics.median([await measure_seconds(request) for _ in range(times)])


async def _first_byte_of_page(bench: Bench, suffix: str, until: date) -> None:
    async with bench.session.get(_address(bench, suffix, until)) as answer:
        assert answer.status == 200
        assert await answer.content.readany()
        answer.close()


async def _first_byte_of_query(bench: Bench, suffix: str, until: date) -> None:
    question = filters.parse_question(sec_ftd, [("settlement_date__lt", until.isoformat())])
    answer = await bench.reader.rows(snapshot_query(sec_ftd, None))
    query, output = select.select_download(question, Snapshot(answer.rows[0][0])), outputs.OUTPUTS[suffix]
    sql = f"{query.sql} SETTINGS {output.settings}"
    async with bench.reader.warehouse.stream(sql, output.format, query.params, limits=LIMITS) as chunks:
        assert await anext(chunks)


def _address(bench: Bench, suffix: str, until: date) -> str:
    return f"{bench.web}/data/sec_ftd.{suffix}?settlement_date__lt={until}"


async def memory(bench: Bench, until: date) -> dict[str, Any]:
    results = {}
    for suffix in outputs.OUTPUTS:
        before = bench.daemon.memory_info().rss
        most, size = before, 0
        began = time.perf_counter()
        async with bench.session.get(_address(bench, suffix, until), timeout=aiohttp.ClientTimeout(None)) as answer:
            async for chunk in answer.content.iter_chunked(1 << 20):
                size += len(chunk)
                most = max(most, bench.daemon.memory_info().rss)
        results[suffix] = {
            "before_mb": before >> 20, "most_mb": most >> 20, "file_mb": size >> 20,
            "seconds": round(time.perf_counter() - began, 1),
        }  # fmt: skip
    return results


async def measure(state: Path, scale: Scale, arguments: argparse.Namespace) -> dict[str, Any]:
    await fill(state, scale)
    until = scale.day_after(arguments.download_rows)
    async with run_daemon(state) as bench:
        count = await bench.reader.rows(
            select.select_count(
                filters.parse_question(sec_ftd, [("settlement_date__lt", until.isoformat())]), Snapshot(scale.loads)
            )
        )
        return {
            "rows": scale.rows_a_load * scale.loads,
            "loads": scale.loads,
            "download_rows": int(count.rows[0][0]),
            "symbol_page": await symbol_page(bench, arguments.symbols),
            "pages": await pages(bench, arguments.times),
            "first_byte": await first_byte(bench, until, arguments.times),
            "memory": await memory(bench, until),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000_000)
    parser.add_argument("--loads", type=int, default=500)
    parser.add_argument("--symbols", type=int, default=60)
    parser.add_argument("--download-rows", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-web-"))
    try:
        print(
            json.dumps(
                asyncio.run(measure(folder / "state", Scale(arguments.rows, arguments.loads), arguments)), indent=2
            )
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
