"""Threshold lists: 5,000 daily lists from their bytes to their publication, and the pages over 15 years of 7 markets.

`publish` constructs lists of 60 securities of Nasdaq, which a publisher in memory serves; they go the way of the daemon. The time
is that of all processes. `pages` fills the tables with 15 years of lists of 7 markets, about 60 securities each with streaks of
some days to months, and asks a real `spotlightd run` for the pages of different days.

processor_s   processor time of all processes for all lists, after a warm-up; `wall_s` beside it
page_ms       p50 and p95 of /threshold/{date}, as a client on the same machine sees them
cpu_ms        processor time of the daemon and of its engine for one page
yardstick_ms  the processor time of a fixed piece of Python: 40 on the development machine when nothing else runs
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
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from small import Lists, processor_seconds, yardstick
from web import Bench, run_daemon

from spotlightd import log
from spotlightd.calendars.united_states import number_settlement_day, settlement_days
from spotlightd.datasets.system import loads
from spotlightd.datasets.threshold.lists import threshold, threshold_lists
from spotlightd.flows.batch.ingest import ingest
from spotlightd.model.source import Batch, Link, Pages
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.threshold import nasdaq

WARM = 20
LAST = date(2026, 7, 27)
MARKETS = ("Nasdaq", "NYSE", "NYSE American", "NYSE Arca", "Cboe BZX", "FINRA OTC", "CHX")
SOURCES = dict.fromkeys(MARKETS, "threshold_nasdaq")
HEADER = "Symbol|Security Name|Market Category|Reg SHO Threshold Flag|Rule 3210|Filler"
LISTED = """
    INSERT INTO threshold ({columns})
    SELECT l.list_date, l.market, 'S' || toString(n.number) AS symbol, symbol, 'CONSTRUCTED NAME OF ' || symbol, 'G', 'Reg SHO',
        'Y', 'N', '', '', NULL, l.load_id, 0, 2 + n.number % 60
    FROM threshold_lists AS l CROSS JOIN numbers(1000) AS n
    WHERE cityHash64(l.market, n.number, intDiv(toInt32(l.list_date), 3 + n.number % 90)) % 1000 < 60"""


def make_lists(days: list[date], rows: int) -> Lists:
    return Lists({nasdaq.make_address(day): _make_list(day, rows) for day in days})


def _make_list(day: date, rows: int) -> bytes:
    first = number_settlement_day(day) * 7
    chosen = range(first, first + rows)
    lines = [f"S{number}|CONSTRUCTED NAME OF S{number}|G|Y|N|" for number in chosen]
    return "\r\n".join([HEADER, *lines, f"{day:%Y%m%d}230005", ""]).encode()


def source_of(lists: Lists, days: list[date]) -> Batch:
    async def discover(_: Pages) -> AsyncIterator[Link]:
        for day in days:
            if (url := nasdaq.make_address(day)) in lists.documents:
                yield Link(url, f"{day:%Y/%m/%d}", day, day, is_probe=True)

    return replace(nasdaq.source, discover=discover)


async def measure_publishing(count: int, rows: int, folder: Path) -> dict[str, Any]:
    days = list(settlement_days(date(2005, 1, 7), LAST))[-count - WARM :]
    async with open_instance(replace(Settings(), state_dir=folder)) as instance:
        await _ingest(instance, make_lists(days[:WARM], rows), days)
        lists = make_lists(days[WARM:], rows)
        print(f"   {count:,} lists of {rows} rows", file=sys.stderr, flush=True)
        before, began = processor_seconds(instance), time.perf_counter()
        await _ingest(instance, lists, days)
        ended, after = time.perf_counter(), processor_seconds(instance)
        stored = (await instance.warehouse.rows("SELECT count(), uniqExact(list_date) FROM threshold")).rows[0]
    assert tuple(map(int, stored)) == ((count + WARM) * rows, count + WARM), stored
    spent = {name: round(after[name] - before[name], 2) for name in after}
    return {"lists": count, "rows": rows, "processor_s": round(sum(spent.values()), 2), "by_process_s": spent,
            "wall_s": round(ended - began, 2)}  # fmt: skip


async def _ingest(instance: Instance, lists: Lists, days: list[date]) -> None:
    results = await ingest(source_of(lists, days), lists, instance.ingest_context())
    assert {result.outcome for result in results} == {"published"}, results[:3]


async def fill(state: Path, years: int) -> list[date]:
    """Fill the tables with lists of all markets, one load for each list. Returns the days."""
    days = list(settlement_days(LAST.replace(year=LAST.year - years), LAST))
    lists = [(day, market) for day in days for market in MARKETS]
    began = datetime(2024, 1, 1, tzinfo=UTC)
    async with open_instance(replace(Settings(), state_dir=state)) as instance:
        warehouse = instance.warehouse
        await warehouse.insert(threshold_lists, [
            (day, market, "list", 60, day, number_settlement_day(day), None, load_id, 0, 62)
            for load_id, (day, market) in enumerate(lists, 1)
        ])  # fmt: skip
        await warehouse.execute(LISTED.format(columns=", ".join(column.name for column in threshold.stored)))
        rows: list[tuple[Any, ...]] = [
            (seq, dataset.name, seq, SOURCES[market], f"{day:%Y/%m/%d}", f"{seq:064x}", "1", 60, 0, [],
             began + timedelta(seconds=seq), 0)
            for seq, (day, market) in enumerate(lists, 1)
            for dataset in (threshold, threshold_lists)
        ]  # fmt: skip
        await warehouse.insert(loads, rows)
        for dataset in (threshold, threshold_lists):
            await warehouse.execute(f"OPTIMIZE TABLE {dataset.name} FINAL")
    return days


async def measure_pages(years: int, pages: int, folder: Path) -> dict[str, Any]:
    days = await fill(folder, years)
    chosen = [days[-1 - number * (len(days) - 300) // pages] for number in range(pages)]
    async with run_daemon(folder) as bench:
        rows = (await bench.reader.warehouse.rows("SELECT count() FROM threshold")).rows[0][0]
        print(f"   {rows:,} rows", file=sys.stderr, flush=True)
        addresses = {
            "/threshold/{date}": [f"/threshold/{day}" for day in chosen],
            "/threshold": ["/threshold"] * min(pages, 10),
            "/threshold/streaks": [f"/threshold/streaks?market={market}" for market in MARKETS],
            "/threshold/streaks?state=closed": [
                f"/threshold/streaks?state=closed&market={market}" for market in MARKETS
            ],
            "/s/{symbol}": [f"/s/S{number}" for number in range(min(pages, 20))],
        }
        return {"years": years, "markets": len(MARKETS), "rows": int(rows),
                **{name: await _time_pages(bench, paths) for name, paths in addresses.items()}}  # fmt: skip


async def _time_pages(bench: Bench, paths: list[str]) -> dict[str, Any]:
    took = []
    await _get(bench, paths[0])
    before = _processor_ms(bench)
    for path in paths:
        began = time.perf_counter()
        await _get(bench, path)
        took.append(1000 * (time.perf_counter() - began))
    after = _processor_ms(bench)
    return {
        "page_ms": {"p50": round(statistics.median(took), 1), "p95": round(statistics.quantiles(took, n=20)[-1], 1)},
        "cpu_ms": {name: round((after[name] - before[name]) / len(paths), 1) for name in after},
    }


async def _get(bench: Bench, path: str) -> None:
    async with bench.session.get(bench.web + path) as answer:
        await answer.read()
        assert answer.status == 200, path


def _processor_ms(bench: Bench) -> dict[str, float]:
    def spent(process: Any) -> float:
        times = process.cpu_times()
        return 1000 * float(times.user + times.system)

    return {"daemon": spent(bench.daemon), "engine": sum(map(spent, bench.daemon.children(recursive=True)))}


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    return {
        "publish": await measure_publishing(arguments.lists, arguments.rows, folder / "publish"),
        "pages": await measure_pages(arguments.years, arguments.pages, folder / "pages"),
        "yardstick_ms": round(1000 * yardstick(), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--years", type=int, default=15)
    parser.add_argument("--pages", type=int, default=60)
    arguments = parser.parse_args()
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-lists-"))
    try:
        print(json.dumps(asyncio.run(measure(arguments, folder)), indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
