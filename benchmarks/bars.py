"""One-minute bars: computed at reading while a day is open, stored when it is closed, and the cost of storing them.

Constructed trades of one received day in the real table: 20 M over 16 hours, a third of them of the busiest symbol, the
rest of a crypto pair (its volumes have five decimals) and 500 others; parts merged, page cache warm. Milliseconds are
medians of whole answers in Native format through HTTP, `plain` is a sum of price times volume over the same trades in
the same run. `stored` are the same queries after the flow has stored the bars; the answers must be equal, digit by digit.
`first_and_last_by_tuple` is the open day of the busiest symbol with `argMin` over a tuple, in place of the packed number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from spotlightd import log
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.bars import bars, minutely
from spotlightd.datasets.system import loads
from spotlightd.datasets.trades import trades
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.transform import TransformRunner
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream, covers, load_digest
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from spotlightd.sql.visibility import table_expression

DAY = date(2025, 10, 3)
FIRST = datetime(2025, 10, 3)  # noqa: DTZ001 (a bound value, UTC by its column)
HOURS = 16
BUSIEST, CRYPTO, SMALL = "AAPL", "BINANCE:BTCUSDT", "S7"
SPANS = {"last_two_hours": HOURS - 2, "day": 0}
FEED = Stream(
    name="constructed", title="Constructed", home="", datasets=(trades,), address=lambda _: "", hello=lambda _: iter(()),
    hosts=(), decode="SELECT 1",
)  # fmt: skip
ROW = f"""
    if(number % 3 = 0, '{BUSIEST}', if(number % 10 = 1, '{CRYPTO}', 'S' || toString(cityHash64(number) % 500))), '',
    toDateTime64('{FIRST}', 6, 'UTC') + toIntervalMicrosecond(intDiv(number * {HOURS * 3600 * 1_000_000}, {{rows:UInt64}})) AS at,
    at, at, round(100 + 5 * sin(number / 1e6) + cityHash64(number, 2) % 100 / 100, 2),
    if(number % 3 != 0 AND number % 10 = 1, cityHash64(number, 3) % 100000 / 100000, 1 + cityHash64(number, 3) % 400),
    '', '', [], 'trade', false, 'constructed', {{load:UInt64}}, 1, 0, intDiv(number, 2), number % 2"""
PLAIN = "SELECT symbol, sum(price * volume) FROM trades WHERE symbol = {symbol:String} AND time >= {since:String} GROUP BY symbol"
TUPLE = (
    "SELECT toStartOfMinute(time), argMin(price, (time, epoch, partition, offset, frame_index)), "
    "argMax(price, (time, epoch, partition, offset, frame_index)) FROM trades WHERE symbol = {symbol:String} GROUP BY 1"
)


@dataclass(frozen=True)
class Bench:
    warehouse: ClickHouse
    ledger: SqliteLedger
    rounds: int

    async def newest(self) -> int:
        return int((await self.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])


async def time_queries(bench: Bench, sql: str, values: dict[str, Any]) -> tuple[float, bytes]:
    """The median of several whole answers in milliseconds, after one that is not counted; and the answer."""
    took = []
    for _ in range(bench.rounds + 1):
        began = time.perf_counter()
        async with bench.warehouse.stream(sql, "Native", values) as chunks:
            answer = b"".join([chunk async for chunk in chunks])
        took.append(time.perf_counter() - began)
    return round(statistics.median(took[1:]) * 1000, 1), answer


async def fill_table(bench: Bench, rows: int) -> Load:
    """Insert and publish the trades of an open day."""
    for dataset in (loads, trades, bars):
        await bench.warehouse.ensure(dataset)
    load = await bench.ledger.begin_load(FEED, load_digest(FEED.name, DAY, 1), covers(DAY, 1))
    names = ", ".join(f"`{column.name}`" for column in trades.stored)
    step = 2_000_000
    for first in range(0, rows, step):
        sql = f"INSERT INTO trades ({names}) SELECT {ROW} FROM numbers({first}, {min(step, rows - first)})"
        await bench.warehouse.execute(sql, {"rows": rows, "load": load.load_id})
        print(f"{first:,} of {rows:,} trades", file=sys.stderr)
    await bench.warehouse.execute("OPTIMIZE TABLE trades FINAL")
    publications = Publications(bench.ledger, bench.warehouse)
    return await publications.publish(await bench.ledger.mark_loaded(load.load_id, {}, ()))


async def time_bars(bench: Bench) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Bars of the busiest symbol, the crypto pair and a small one, for the last two hours and for the day."""
    took: dict[str, Any] = {}
    answers = {}
    seq = await bench.newest()
    for symbol in (BUSIEST, CRYPTO, SMALL):
        for name, hours in SPANS.items():
            values = {"symbol": symbol, "since": f"{FIRST.replace(hour=hours)}", "seq": seq}
            sql = f"SELECT * FROM {table_expression(bars)} WHERE symbol = {{symbol:String}} AND minute >= {{since:String}} ORDER BY minute"
            took[f"{symbol} {name}"], answers[f"{symbol} {name}"] = await time_queries(bench, sql, values)
    return took, answers


async def time_sums(bench: Bench) -> dict[str, float]:
    took = {}
    for name, hours in SPANS.items():
        values = {"symbol": BUSIEST, "since": f"{FIRST.replace(hour=hours)}"}
        took[f"{BUSIEST} {name}"], _ = await time_queries(bench, PLAIN, values)
    return took


async def main(rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(state_lock(folder))
        engine = await stack.enter_async_context(Engine(lock, EngineSettings()))
        settings = WarehouseSettings()
        warehouse = await stack.enter_async_context(
            ClickHouse(engine.url, engine.user, engine.password, "bench", settings)
        )
        ledger = await stack.enter_async_context(SqliteLedger(folder / "ledger.sqlite"))
        bench = Bench(warehouse, ledger, rounds)
        load = await fill_table(bench, rows)
        alone, computed = await time_sums(bench), await time_bars(bench)
        by_tuple, _ = await time_queries(bench, TUPLE, {"symbol": BUSIEST})
        await ledger.close_load(load.load_id)
        began = time.perf_counter()
        publications = Publications(ledger, warehouse)
        await TransformRunner(minutely, ledger, warehouse, publications, SqlitePositions(ledger)).run_round()
        built = time.perf_counter() - began
        after_flow = await time_bars(bench)
        assert after_flow[1] == computed[1]
        sql = "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'bench' AND table = {table:String}"
        sizes = {table: (await warehouse.rows(sql, {"table": table})).rows[0] for table in ("trades", "bars")}
    return {
        "trades": rows,
        "milliseconds": {"plain": alone, "open": computed[0], "stored": after_flow[0]},
        "first_and_last_by_tuple": {f"{BUSIEST} day": by_tuple},
        "build_seconds": round(built, 2),
        "build_trades_per_second": round(rows / built),
        "rows_and_bytes": sizes,
        "answers_equal": True,
        "limits": {"stored, a symbol's day": 50},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    log.configure("warning")
    with tempfile.TemporaryDirectory(prefix="bars-") as name:
        print(json.dumps(asyncio.run(main(options.rows, options.rounds, Path(name))), indent=2))
