"""Frames to rows by the engine: the source's strict SELECT, one without checks, and the disk space of rows.

strict     `decode.insert_decoded` of finnhub, strict, as the drain runs it
unchecked  the same columns by JSONExtract alone: quoted numbers, fractions and missing fields pass silently
table      the strict one into the real table

All read the frames table (`--frames` of one trade, a fifth as many of ten). The first two write to a copy of `trades`
whose engine is Null, so that only reading and decoding are timed. `usual` counts the frames that the pattern of the fast
decode matches. In
turns, `--rounds` times, in one engine; ratios are of the least seconds. Frames are the published ones of the golden
cases, each with another symbol, a later time and a price a few cents off, so prices, volumes and conditions repeat more
than in reality, and bytes a row are too low.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.trades import trades
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.model.stream import frames_of
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from spotlightd.sources.finnhub import SHAPE, USUAL, finnhub
from spotlightd.sql import decode

GOLDEN = Path(__file__).resolve().parent.parent / "tests/golden/finnhub"
REAL = ("aapl_2020", "btc_2024", "tsla_2023")
OPENING = 1_759_498_200_000
BLOCK_FRAMES = 50_000
FRAMES = frames_of(finnhub)
UNCHECKED = f"""SELECT trade.s AS symbol, if(position(symbol, ':') = 0, '', substringIndex(symbol, ':', 1)) AS venue,
    fromUnixTimestamp64Milli(trade.t, 'UTC') AS time, received, now64(6, 'UTC') AS ingested, trade.p AS price,
    trade.v AS volume, '' AS side, '' AS trade_id, trade.c AS conditions, 'trade' AS type, false AS long_digits,
    'finnhub' AS source, 1 AS load_id, epoch, partition, offset, at - 1 AS frame_index
    FROM (SELECT epoch, partition, offset, received, JSONExtract(frame, '{SHAPE}').data AS data FROM {FRAMES.name}
        WHERE {decode.SPAN} AND repeat = 0) ARRAY JOIN data AS trade, arrayEnumerate(data) AS at"""
SIZES = "SELECT name, data_compressed_bytes FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
VALUES = {"epoch": 1, "partition": 0, "lo": 0, "load_id": 1}


def create_frames(count: int, per: int) -> Iterator[bytes]:
    """Frames of `per` trades each."""
    rnd, clock = random.Random(per), itertools.count(OPENING, 40)  # noqa: S311 - no secrets
    lines = [line for name in REAL for line in (GOLDEN / name / "frames.jsonl").read_bytes().splitlines()]
    real = [trade for line in lines for trade in json.loads(line).get("data", [])]
    names = ["".join(rnd.choices("ABCDEFGHIKLMNOPRSTUVWXY", k=rnd.randint(2, 4))) for _ in range(100)]
    for _ in range(count):
        trades_of_frame = []
        for trade in rnd.choices(real, k=per):
            price = round(trade["p"] + rnd.randint(-99, 99) / 100, 4)
            symbol = trade["s"] if ":" in trade["s"] else rnd.choice(names)
            trades_of_frame.append(trade | {"p": price, "s": symbol, "t": next(clock)})
        yield json.dumps({"data": trades_of_frame, "type": "trade"}, separators=(",", ":")).encode()


def make_blocks(frames: list[bytes]) -> Iterator[pa.RecordBatch]:
    for first in range(0, len(frames), BLOCK_FRAMES):
        batch = frames[first : first + BLOCK_FRAMES]
        size = len(batch)
        offsets = range(first, first + size)
        columns = {
            "epoch": pa.array([1] * size, pa.uint16()),
            "partition": pa.array([0] * size, pa.uint16()),
            "offset": pa.array(offsets, pa.uint64()),
            "part": pa.array([1] * size, pa.uint16()),
            "connection": pa.array([7] * size, pa.uint64()),
            "sequence": pa.array(offsets, pa.uint64()),
            "received": pa.array(
                [(OPENING + offset * 40) * 10**6 + 345_678 for offset in offsets], pa.timestamp("ns", "UTC")
            ),
            "repeat": pa.array([0] * size, pa.uint8()),
            "frame": pa.array(batch, pa.binary()),
        }
        yield pa.record_batch(columns)


async def arrow_blocks(frames: list[bytes]) -> AsyncIterator[bytes]:
    for batch in make_blocks(frames):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield bytes(sink.getvalue())


async def fill_table(warehouse: ClickHouse, frames: list[bytes]) -> None:
    for dataset in (FRAMES, trades):
        await warehouse.execute(f"DROP TABLE IF EXISTS {dataset.name} SYNC")
        await warehouse.ensure(dataset)
    async for block in arrow_blocks(frames):
        await warehouse.insert_stream(FRAMES, _once(block))
    await warehouse.execute(f"OPTIMIZE TABLE {FRAMES.name} FINAL")
    await warehouse.execute("CREATE OR REPLACE TABLE nothing AS trades ENGINE = Null")


async def _once(block: bytes) -> AsyncIterator[bytes]:
    yield block


async def measure(warehouse: ClickHouse, count: int, per: int, rounds: int) -> dict[str, Any]:
    await fill_table(warehouse, list(create_frames(count, per)))
    params = VALUES | {"hi": count}
    insert = decode.insert_decoded(finnhub, decode.SPAN, strict=True)
    names = ", ".join(column.name for column in trades.stored)
    ways = {
        "unchecked": f"INSERT INTO nothing ({names}) SELECT {names} FROM ({UNCHECKED})",
        "strict": insert.replace("INSERT INTO trades ", "INSERT INTO nothing "),
        "table": insert,
    }
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, statement in ways.items():
            began = time.perf_counter()
            await warehouse.execute(statement, params, token=f"{name}-{per}-{number}")
            if number:
                seconds.setdefault(name, []).append(time.perf_counter() - began)
        print(json.dumps({name: round(values[-1], 3) for name, values in seconds.items()}), file=sys.stderr)
        if number < rounds:
            await warehouse.execute("TRUNCATE TABLE trades SYNC")
    usual = f"SELECT countIf(match(frame, '{USUAL}')) FROM {FRAMES.name}"
    least = {name: min(values) for name, values in seconds.items()}
    return {
        "frames": count,
        "trades_a_frame": per,
        "usual": (await warehouse.rows(usual)).rows[0][0],
        "seconds": {name: round(value, 3) for name, value in least.items()},
        "trades_per_second": {name: round(count * per / value) for name, value in least.items()},
        "strict_to_unchecked": round(least["unchecked"] / least["strict"], 3),
        "bytes_a_trade": await sizes(warehouse, count * per),
    }


async def sizes(warehouse: ClickHouse, trades_count: int) -> dict[str, Any]:
    """Compressed bytes a trade: by column in the table, as Decimal(38, 18) where it is a double, and in the frames."""
    await warehouse.execute("OPTIMIZE TABLE trades FINAL")
    decimal = ", ".join(f"{name} Decimal(38, 18) CODEC(ZSTD(1))" for name in ("price", "volume"))
    await warehouse.execute(
        f"CREATE OR REPLACE TABLE decimals ({decimal}) ENGINE = MergeTree ORDER BY ()"
        " SETTINGS min_bytes_for_wide_part = 0"
    )
    await warehouse.execute(
        "INSERT INTO decimals SELECT toDecimal128(price, 18), toDecimal128(volume, 18) FROM trades"
        " ORDER BY symbol, time, epoch, partition, offset, frame_index"
    )
    await warehouse.execute("OPTIMIZE TABLE decimals FINAL")
    results: dict[str, Any] = {}
    for table in ("trades", "decimals", FRAMES.name):
        columns = {name: size / trades_count for name, size in (await warehouse.rows(SIZES, {"table": table})).rows}
        results[table] = {name: round(size, 3) for name, size in columns.items()} | {
            "all": round(sum(columns.values()), 2)
        }
    return results


async def run(folder: Path, frames: int, rounds: int) -> dict[str, Any]:
    with state_lock(folder) as lock:
        async with (
            Engine(lock, EngineSettings(memory_bytes=4 << 30), on_event=lambda *_, **__: None) as engine,
            ClickHouse(engine.url, engine.user, engine.password, "bench", WarehouseSettings()) as warehouse,
        ):
            single = await measure(warehouse, frames, 1, rounds)
            return {"one": single, "ten": await measure(warehouse, frames // 10 * 2, 10, rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-decode-"))
    try:
        print(json.dumps(asyncio.run(run(folder, arguments.frames, arguments.rounds)), indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
