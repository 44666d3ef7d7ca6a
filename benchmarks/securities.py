"""What the pages and flows cost that read the securities and the short volumes of many years.

Constructed: `securities` as it is after twenty years of four datasets (`--securities` rows in 80 loads), and `short_volume` of three
facilities since 2009 (`--volumes` rows, one load a day). Times are processor times of the engine's process, medians of `--rounds`.

read_all      every row of `securities` through its reading, counted
one_symbol    the row of one symbol through the reading, as a table's page reads it
identity      what the page of a symbol asks
search        the search for a symbol, and for the beginning of a name
history       one symbol's short volumes for its page, day by day and facility by facility
year          the securities of a year of `short_volume`, which a new document has computed again
profiles      the scorecard's look at the newest 23 documents of `short_volume`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.securities import INPUTS, derivation, securities
from spotlightd.datasets.short_volume import short_volume
from spotlightd.datasets.system import loads
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.flows.upkeep.scorecard.profiles import select_profiles
from spotlightd.query.measures import daily_history
from spotlightd.query.search.identity import known_securities
from spotlightd.query.search.matches import matching_known
from spotlightd.query.search.spelling import Patterns, read_search
from spotlightd.query.select import Query
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from spotlightd.sql.changes import visible_rows
from spotlightd.sql.tiers import ArchivedPartitions
from spotlightd.sql.visibility import Snapshot, table_expression

SLICES, SYMBOLS, NEWEST = 80, 12_500, 23
SYMBOL = "concat('S', toString(number % {count}))"
SECURITIES = f"""INSERT INTO securities SELECT {SYMBOL} AS symbol,
    if(intDiv(number, {{count}}) % 4 = 0, leftPad(toString(number % {{count}}), 9, '0'), '') AS cusip, symbol AS symbol_key,
    concat('NAME OF ', symbol) AS name, [name] AS names, '' AS share_class,
    toDate('2006-01-01') + intDiv(intDiv(number, {{count}}), 4) * 365 AS first_seen, first_seen + 300, 200,
    ['sec_ftd'], [], [], 1 + intDiv(number, {{count}}) FROM numbers({{rows}})"""
VOLUMES = f"""INSERT INTO short_volume ({", ".join(column.name for column in short_volume.stored)}) SELECT toDate('2009-08-03') + intDiv(number, {3 * SYMBOLS}) AS day,
    ['CNMS', 'FNSQ', 'FNYX'][1 + number % 3], concat('S', toString(intDiv(number, 3) % {SYMBOLS})),
    cityHash64(number) % 100000, 0, 200000, 'Q', 10000 + intDiv(number, {3 * SYMBOLS}), 0, 2 + number % {3 * SYMBOLS}
    FROM numbers({{first}}, {{rows}})"""
LOADS = """INSERT INTO loads SELECT {first} + number, '{name}', {first} + number, 'constructed', toString(number), repeat('0', 64), '1',
    {rows}, 0, [], now64(6), 0 FROM numbers({count})"""


async def build(warehouse: ClickHouse, known: int, volumes: int) -> None:
    for dataset in (loads, securities, *(source.dataset for source in INPUTS)):
        await warehouse.ensure(dataset)
    count = max(known // SLICES, 1)
    await warehouse.execute(SECURITIES.format(count=count, rows=known))
    await warehouse.execute(LOADS.format(first=1, name="securities", rows=count, count=SLICES))
    days, step = max(volumes // (3 * SYMBOLS), NEWEST), 100 * 3 * SYMBOLS
    for first in range(0, days * 3 * SYMBOLS, step):
        rows = min(step, days * 3 * SYMBOLS - first)
        await warehouse.execute(VOLUMES.format(first=first, rows=rows))
        print(f"   {first + rows:,} volumes", file=sys.stderr, flush=True)
    await warehouse.execute(LOADS.format(first=10_000, name="short_volume", rows=3 * SYMBOLS, count=days))
    for name in ("securities", "short_volume", "loads"):
        await warehouse.execute(f"OPTIMIZE TABLE {name} FINAL")


def list_queries(days: int) -> Iterator[tuple[str, Query]]:
    snapshot = Snapshot(1 << 62, published=frozenset({"securities", "short_volume"}))
    reading, values = table_expression(securities, snapshot), {"seq": snapshot.seq}
    yield "read_all", Query(f"SELECT count(), sum(length(names)) FROM {reading}", values)
    yield "one_symbol", Query(f"SELECT * FROM {reading} WHERE symbol = 'S77'", values)
    yield "identity", known_securities("S77", snapshot)
    yield "search_symbol", matching_known(_patterns("s.77"), snapshot, 51)
    yield "search_name", matching_known(_patterns("name of s77"), snapshot, 51)
    yield "history", daily_history(short_volume, "S77", snapshot)
    inputs = {source.dataset.name: visible_rows(source.dataset, snapshot) for source in INPUTS}
    year = f"{2009 + days // 366}/short_volume"
    yield "year", Query(f"SELECT count() FROM ({derivation.select.format_map(inputs)})", {**values, "slices": [year]})
    newest = list(range(10_000 + days - NEWEST, 10_000 + days))
    profiles = select_profiles(short_volume, ArchivedPartitions())
    yield "profiles", Query(f"SELECT count() FROM ({profiles})", {"loads": newest})


def _patterns(text: str) -> Patterns:
    patterns = read_search(text)
    if patterns is None:
        raise SystemExit(f"{text!r} is no search")
    return patterns


async def measure(warehouse: ClickHouse, engine: Engine, days: int, rounds: int) -> Mapping[str, float]:
    """Milliseconds of processor time of the engine, by query."""
    process, spent = psutil.Process(engine.pid), dict[str, list[float]]()
    for _ in range(rounds):
        for name, query in list_queries(days):
            before = sum(process.cpu_times()[:2])
            await warehouse.rows(query.sql, query.params)
            spent.setdefault(name, []).append((sum(process.cpu_times()[:2]) - before) * 1_000)
    return {name: round(statistics.median(times), 1) for name, times in spent.items()}


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, state_lock(Path(folder)) as held:
        async with (
            Engine(held, EngineSettings(), on_event=lambda *_, **__: None) as engine,
            ClickHouse(engine.url, engine.user, engine.password, "bench", WarehouseSettings()) as warehouse,
        ):
            await build(warehouse, arguments.securities, arguments.volumes)
            days = int((await warehouse.rows("SELECT uniqExact(trade_date) FROM short_volume")).rows[0][0])
            rows = {
                name: int((await warehouse.rows(f"SELECT count() FROM {name}")).rows[0][0])
                for name in ("securities", "short_volume")
            }
            return {"rows": rows, "engine_cpu_ms": dict(await measure(warehouse, engine, days, arguments.rounds))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--securities", type=int, default=1_000_000, help="rows of `securities` before they are put together"
    )
    parser.add_argument("--volumes", type=int, default=30_000_000, help="rows of `short_volume`")
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
