"""The small world with trades in it: constructed random walks over two received days, one closed, one still open.

Constructed: nothing here was traded by anybody. `GME` has fails too, `BINANCE:BTCUSDT` has none, `AMC` has no trades.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from spotlightd.datasets import system
from spotlightd.datasets.bars import bars, minutely
from spotlightd.datasets.trades import trades
from spotlightd.model.stream import covers, load_digest
from tests.web.world import FAILS, World, open_world

CLOSED, OPEN, BARS_LOAD = 2001, 2002, 2003
DAYS = {CLOSED: date(2021, 3, 18), OPEN: date(2021, 3, 19)}
WALKS = (("GME", 14, 7, 200.0, 2, 0), ("BINANCE:BTCUSDT", 0, 24, 58_000.0, 2, 5), ("BRK.B", 14, 1, 250.0, 4, 0))
HUNG = (datetime(2021, 3, 19, 17, 5, tzinfo=UTC), datetime(2021, 3, 19, 17, 40, tzinfo=UTC))
MENDED = (datetime(2021, 3, 19, 15, 0, tzinfo=UTC), datetime(2021, 3, 19, 15, 5, tzinfo=UTC))


def walk(
    load: int, symbol: str, first: int, hours: int, price: float, digits: int, split: int
) -> list[tuple[Any, ...]]:
    """One symbol's trades of a day: every 20 seconds or so, none while the connection hung."""
    draw, day = random.Random(f"{symbol} {load}"), DAYS[load]
    at = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=first)
    until, rows, moved = at + timedelta(hours=hours), list[tuple[Any, ...]](), price
    while at < until:
        moved = round(moved * math.exp(draw.gauss(0, 0.0008)), digits)
        volume = round(draw.random() * 2, split) if split else float(draw.randrange(1, 400))
        if not (HUNG[0] < at < HUNG[1]):
            venue = symbol.partition(":")[0] if ":" in symbol else ""
            rows.append(
                (
                    symbol,
                    venue,
                    at,
                    at,
                    at,
                    moved,
                    volume,
                    "",
                    "",
                    ["1"],
                    "trade",
                    False,
                    "finnhub",
                    load,
                    1,
                    0,
                    len(rows),
                    0,
                )
            )
        at += timedelta(milliseconds=draw.randrange(1_000, 40_000))
    return rows


async def filled(world: World) -> None:
    """Tables, trades, publications and gaps, as drain, flow and bookkeeping would write them."""
    warehouse = world.warehouse
    for dataset in (trades, bars):
        await warehouse.ensure(dataset)
    for load in DAYS:
        for walk_arguments in WALKS:
            await warehouse.insert(trades, walk(load, *walk_arguments))
    values = {"load_id": BARS_LOAD, "of": CLOSED, "day": DAYS[CLOSED]}
    names = ", ".join(column.name for column in (*bars.columns, *bars.pointer))
    await warehouse.execute(
        f"INSERT INTO bars ({names}, load_id) SELECT {names}, {{load_id:UInt64}} FROM ({minutely.format_select('trades')})",
        values,
    )
    at = datetime(2021, 3, 20, 10, tzinfo=UTC)
    digests = {load: load_digest("finnhub", day, 1) for load, day in DAYS.items()}
    published: list[tuple[Any, ...]] = [
        (20 + number, "trades", load, "finnhub", covers(day, 1), digests[load], "d", 0, 0, [], at, 0)
        for number, (load, day) in enumerate(DAYS.items())
    ]
    published.append(
        (
            22,
            "bars",
            BARS_LOAD,
            "bars",
            f"finnhub/{covers(DAYS[CLOSED], 1)}/{CLOSED}",
            "b" * 64,
            "1",
            1,
            0,
            [],
            at,
            CLOSED,
        )
    )
    await warehouse.insert(system.loads, published)
    await warehouse.insert(system.gaps, [
        (1, HUNG[1], "finnhub", "", *HUNG, "connection lost", "the <venue> hung up", ""),
        (2, MENDED[1], "finnhub", "", *MENDED, "stale", "mended since", "REST"),
        (3, HUNG[1], "finnhub", "ANOTHER", *HUNG, "stale", "of another symbol", ""),
        (4, HUNG[1], "another", "", *HUNG, "stale", "of another source", ""),
    ])  # fmt: skip


@asynccontextmanager
async def trading(folder: Path) -> AsyncIterator[World]:
    """The world of fails with trades beside it, served."""
    async with open_world(folder) as plain:
        await filled(plain)
        async with plain.served(datasets=(FAILS, trades, bars, *system.SYSTEM_DATASETS)) as world:
            yield world
