"""The cost of a trade when the tables are large, and its size on the disk.

cost    seconds per trade of the drain (the real flow, on Kafka), `--frames 200000` of one trade a round, with
        `--rows 1000000 10000000` earlier rows in `trades` and as many in the frames table (100000000 takes some minutes
        and 5 GB). The engine creates them from real trades, spread over `--days 10` received days up to today, and
        merges them. All sizes are open at the same time and take turns, in every second round in the other order; `flat` is the
        highest cost over the lowest, by round, then the median
bytes   compressed bytes per trade, of drained frames of one trade and of ten: in `trades` and in the frames table by
        column (merged, in wide parts), in Kafka's log and in the embedded one. The trades are made from 23 real
        ones (see _frames.py), so prices and volumes repeat more than in reality, and sizes are too low
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sqlite3
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from _frames import Shape, real_trades, rename_source, symbols, values
from _ground import (
    Ground,
    Place,
    count_rows,
    drain_all,
    fill,
    fill_topics,
    open_ground,
    print_progress,
    run_broker,
    warm_up,
)

from spotlightd import log
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.model.stream import Stream, frames_of

FIRST = 1_000  # frames that are drained before the tables are filled, so that the ledger knows the log
SOURCE = rename_source("finnhub_scale")
WIDE = "SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"
SIZES = "SELECT name, data_compressed_bytes FROM system.columns WHERE database = currentDatabase() AND table = 'sized'"
GENERATED = """
SELECT number, trade.1 AS crypto, round(trade.3 + cityHash64(number, 3) % 199 / 100 - 1, 4) AS price,
    if(crypto, round(trade.4 * (1 + cityHash64(number, 4) % 400 / 100), 5), 1 + cityHash64(number, 4) % 500) AS volume,
    trade.5 AS conditions, if(crypto, trade.2, {names}[1 + cityHash64(number, 2) % {many}]) AS symbol,
    toDateTime64(today() - {back}, 3, 'UTC') + toIntervalMillisecond(intDiv(number * 86000000, {count})) AS time
FROM (SELECT number, {trades}[1 + cityHash64(number, 1) % {real}] AS trade FROM numbers({count}))
"""
TRADES = """
INSERT INTO trades (load_id, symbol, venue, time, received, ingested, price, volume, conditions, type, source,
    epoch, partition, offset, frame_index)
SELECT {back} + 1, symbol, if(crypto, 'BINANCE', ''), time, time + toIntervalMillisecond(80), time + toIntervalMillisecond(180),
    price, volume, conditions, 'trade', '{source}', 0, 0, {start} + number, 0 FROM ({generated})
"""
FRAMES = """
INSERT INTO {table} (epoch, partition, offset, part, connection, sequence, received, repeat, frame)
SELECT 0, 0, {start} + number, 1, 7, {start} + number, time + toIntervalMillisecond(80), 0, concat('{{"data":[{{"c":',
    if(crypto, 'null', toJSONString(conditions)), ',"p":', toString(price), ',"s":"', symbol, '","t":',
    toString(toUnixTimestamp64Milli(time)), ',"v":', toString(volume), '}}],"type":"trade"}}') FROM ({generated})
"""


async def insert_rows(on: Ground, source: Stream, rows: int, days: int) -> None:
    """Insert that many rows of older logs into both tables, and merge them."""
    names, real = symbols(), real_trades()
    trades = [(":" in trade["s"], trade["s"], trade["p"], trade["v"], trade.get("c") or []) for trade in real]
    listed = ", ".join(
        f"({crypto}, '{name}', toFloat64({price}), toFloat64({volume}), {codes}::Array(String))"
        for crypto, name, price, volume, codes in trades
    )
    for day in range(days):
        count, start = rows // days, day * (rows // days)
        text = GENERATED.format(
            names=names, many=len(names), trades=f"[{listed}]", real=len(real), back=days - 1 - day, count=count
        )
        values = {
            "back": days - 1 - day,
            "start": start,
            "source": source.name,
            "table": frames_of(source).name,
            "generated": text,
        }
        await on.context.warehouse.execute(TRADES.format(**values))
        await on.context.warehouse.execute(FRAMES.format(**values))
    for table in ("trades", frames_of(source).name):
        await on.context.warehouse.execute(f"OPTIMIZE TABLE {table} FINAL")


async def cost(place: Place, arguments: argparse.Namespace) -> dict[str, Any]:
    """Nanoseconds per trade for each size of the tables."""
    seconds_by_rows: dict[int, list[float]] = {rows: [] for rows in arguments.rows}
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(Kafka(place.kafka))
        await fill(kafka, SOURCE, list(values(Shape(FIRST, 1))))
        grounds: dict[int, Ground] = {}
        for rows in arguments.rows:
            print_progress(f"filling {rows:,} rows")
            on = grounds[rows] = await stack.enter_async_context(open_ground(place, "kafka", [SOURCE]))
            await warm_up(on)
            await drain_all(on, SOURCE, FIRST)
            await insert_rows(on, SOURCE, rows, arguments.days)
        frames = FIRST
        for number in range(arguments.rounds):
            await fill(kafka, SOURCE, list(values(Shape(arguments.frames, 1), seed=number + 3)), first=frames)
            frames += arguments.frames
            for rows in sorted(grounds, reverse=bool(number % 2)):
                seconds = await drain_all(grounds[rows], SOURCE, frames)
                seconds_by_rows[rows].append(seconds / arguments.frames * 1e9)
                print_progress(f"round {number + 1}, {rows:,} rows: {arguments.frames / seconds:,.0f} trades/s")
        for rows, on in grounds.items():
            tables, wanted = await count_rows(on, SOURCE), rows // arguments.days * arguments.days + frames
            assert tables["trades"] == tables["different_trades"] == tables["frames"] == wanted, (tables, wanted)
    rounds = list(zip(*seconds_by_rows.values(), strict=True))
    return {
        "ns_a_trade": {str(rows): round(statistics.median(costs)) for rows, costs in seconds_by_rows.items()},
        "flat": round(statistics.median(max(costs) / min(costs) for costs in rounds), 3),
        "rounds": arguments.rounds, "trades_a_round": arguments.frames,
    }  # fmt: skip


async def sizes(place: Place, shape: Shape, kafka_folder: Path) -> dict[str, Any]:
    """Bytes per trade in every place that stores it."""
    source = shape.source
    async with open_ground(place, "kafka", [source]) as on:
        await drain_all(on, source, shape.frames)
        rows = await _columns(on, "trades", f"source = '{source.name}'", shape.trades)
        frames = await _columns(on, frames_of(source).name, "1", shape.trades)
    log_files = (kafka_folder / "data" / f"{source.name}-0").glob("*.log")
    plain = sum(len(value) for value in values(shape)) / shape.trades
    return {
        "trades": shape.trades, "a_frame": shape.per, "bytes_as_received": round(plain, 2),
        "bytes_in_trades": {"all": round(sum(rows.values()), 2), **rows},
        "bytes_in_frames": {"all": round(sum(frames.values()), 2), **frames},
        "bytes_in_kafka": round(sum(file.stat().st_size for file in log_files) / shape.trades, 2),
        "bytes_in_the_embedded_log": round(_embedded_size(Path(place.log), source) / shape.trades, 2),
    }  # fmt: skip


async def _columns(on: Ground, table: str, condition: str, trades: int) -> dict[str, float]:
    warehouse = on.context.warehouse
    order = str((await on.query_row(f"SELECT sorting_key FROM system.tables WHERE name = '{table}'"))[0])
    await warehouse.execute(f"CREATE TABLE sized AS {table} ENGINE = MergeTree ORDER BY ({order}) {WIDE}")
    await warehouse.execute(f"INSERT INTO sized SELECT * FROM {table} WHERE {condition}")
    await warehouse.execute("OPTIMIZE TABLE sized FINAL")
    sizes = {name: round(size / trades, 3) for name, size in (await warehouse.rows(SIZES)).rows if size}
    await warehouse.execute("DROP TABLE sized SYNC")
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _embedded_size(path: Path, source: Stream) -> int:
    """Bytes of the source's groups in the embedded log."""
    sql = "SELECT sum(length(block)) FROM blocks WHERE topic = (SELECT id FROM topics WHERE name = ?)"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        return int(file.execute(sql, (source.name,)).fetchone()[0])


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    shapes: Sequence[Shape] = (Shape(arguments.frames, 1), Shape(max(arguments.frames // 5, 1), 10))
    async with run_broker(folder / "kafka") as servers:
        place = Place(folder, servers, str(folder / "filled.sqlite"))
        await fill_topics(place, shapes)
        values = [await sizes(place, shape, folder / "kafka") for shape in shapes]
        return {"bytes": values, "cost": await cost(place, arguments)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="10,000 and 100,000 rows, 5,000 frames, one round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.frames, arguments.rounds = [10_000, 100_000], 5_000, 1
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-scale-"))
    try:
        print(json.dumps(asyncio.run(measure(folder, arguments)), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
