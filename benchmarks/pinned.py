"""The cost of a snapshot for a reader: one symbol's rows plain, at the newest publication, and as of half-way.

Constructed fails to deliver in the real dataset's table: 30 M rows of 6,000 symbols, in 500 loads, every 25th
of which supersedes the one before. Then the same with 100,000 more publications of other datasets. Each round reads
one symbol in all three ways, answers in ClickHouse's Native format, page cache warm, parts merged; milliseconds are
medians, ratios are to the plain read of the same run. The pinned way returns 480
of 500 loads' rows, `as_of` half of them, so its ratio flatters.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import loads
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from spotlightd.sources.sec_ftd import sec_ftd
from spotlightd.sql.visibility import visible_condition

SYMBOLS = 6_000
DAYS_A_LOAD = 10
SUPERSEDES_EVERY = 25
SQL = "SELECT settlement_date, quantity, price FROM sec_ftd WHERE symbol = {symbol:String}"
ROW = f"""
    toDate('2004-01-02') + intDiv(number, {SYMBOLS * DAYS_A_LOAD}) * {DAYS_A_LOAD} + number % {DAYS_A_LOAD},
    'C' || leftPad(toString(intDiv(number, {DAYS_A_LOAD}) % {SYMBOLS}), 8, '0'),
    'S' || leftPad(toString(intDiv(number, {DAYS_A_LOAD}) % {SYMBOLS}), 4, '0'),
    cityHash64(number) % 1000000,
    'CONSTRUCTED ' || toString(intDiv(number, {DAYS_A_LOAD}) % {SYMBOLS}),
    toDecimal64(cityHash64(number, 1) % 10000 / 100, 4),
    intDiv(number, {SYMBOLS * DAYS_A_LOAD}) + 1, 0, number % {SYMBOLS * DAYS_A_LOAD} + 2"""


@dataclass(frozen=True)
class Way:
    """A way of reading: its condition, and the publication of its snapshot."""

    condition: str
    seq: int


async def build(warehouse: ClickHouse, count: int) -> None:
    """Insert the rows of the loads, and publish them."""
    for dataset in (loads, sec_ftd):
        await warehouse.ensure(dataset)
    rows, step = count * SYMBOLS * DAYS_A_LOAD, 25 * SYMBOLS * DAYS_A_LOAD
    names = ", ".join(column.name for column in sec_ftd.stored)
    for first in range(0, rows, step):
        await warehouse.execute(
            f"INSERT INTO sec_ftd ({names}) SELECT {ROW} FROM numbers({first}, {min(step, rows - first)})"
        )
        print(f"   {min(first + step, rows):,} rows", file=sys.stderr, flush=True)
    await warehouse.execute("OPTIMIZE TABLE sec_ftd FINAL")
    await publish(warehouse, "'sec_ftd'", 0, count)


async def publish(warehouse: ClickHouse, dataset: str, first: int, count: int) -> None:
    superseded = f"if(number % {SUPERSEDES_EVERY} = {SUPERSEDES_EVERY - 1}, [{first} + number], [])"
    await warehouse.execute(
        f"INSERT INTO loads SELECT {first} + number + 1, {dataset}, {first} + number + 1, 'constructed', toString(number), "
        f"repeat('0', 64), '1', {SYMBOLS * DAYS_A_LOAD}, 0, {superseded}, now64(6), 0 FROM numbers({count})"
    )
    await warehouse.execute("OPTIMIZE TABLE loads FINAL")


async def measure(warehouse: ClickHouse, ways: dict[str, Way], rounds: int) -> dict[str, Any]:
    """Medians of each way, and their ratios to the first."""
    chance = random.Random(20)  # noqa: S311  the same symbols every time
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-3, rounds):
        symbol = f"S{chance.randrange(SYMBOLS):04d}"
        for name, way in ways.items():
            began = time.perf_counter()
            sql = f"{SQL} AND {way.condition} ORDER BY settlement_date"
            async with warehouse.stream(sql, "Native", {"symbol": symbol, "seq": way.seq}) as chunks:
                async for _ in chunks:
                    pass
            if turn >= 0:
                spent[name].append(1000 * (time.perf_counter() - began))
    plain = statistics.median(spent["plain"])
    return {
        name: {
            "ms": round(statistics.median(times), 1),
            "p95_ms": round(statistics.quantiles(times, n=20)[-1], 1),
            "ratio": round(statistics.median(times) / plain, 2),
        }
        for name, times in spent.items()
    }


async def main(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pinned = visible_condition(sec_ftd)
    ways = {
        "plain": Way("1", 0),
        "pinned": Way(pinned, arguments.loads),
        "as_of": Way(pinned, arguments.loads // 2),
    }
    with state_lock(folder) as lock:
        async with (
            Engine(lock, EngineSettings(), on_event=lambda *_, **__: None) as engine,
            ClickHouse(engine.url, engine.user, engine.password, "spotlightd", WarehouseSettings()) as warehouse,
        ):
            await build(warehouse, arguments.loads)
            alone = await measure(warehouse, ways, arguments.rounds)
            others = "'other_' || toString(number % 10)"
            await publish(warehouse, others, arguments.loads, arguments.others)
            beside = await measure(warehouse, ways, arguments.rounds)
    return {
        "rows": arguments.loads * SYMBOLS * DAYS_A_LOAD,
        "loads": arguments.loads,
        "alone": alone,
        f"with_{arguments.others}_others": beside,
        "limits": {"alone": 2.0, "with_others": 2.2},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=500, help="loads of 60,000 rows each")
    parser.add_argument("--others", type=int, default=100_000, help="publications of other datasets")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinned-") as name:
        print(json.dumps(asyncio.run(main(options, Path(name)))))
