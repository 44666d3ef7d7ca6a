"""Kills of the engine at random moments, ten by default (`make soak`: a hundred): nothing acknowledged is
lost, and a client that counts the rows first completes a torn insert.

The engine notes a token before the rows are in the table, one partition after the other: when it dies in between, a
repeat under the same token is ignored and acknowledged, and the rows are missing (2 of 200 deaths within an insert).
So a repeat does what our flows do: look, take back what is there in part, and insert under a token of its own.

SPOTLIGHTD_KILLS and SPOTLIGHTD_SEED change the number and the moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.clickhouse.values import encode_block
from spotlightd.engine.process import Engine
from spotlightd.errors import StoreError
from tests.polling import until

from .world import client_of, constructed, engine_on

KILLS = int(os.environ.get("SPOTLIGHTD_KILLS", "10"))
ROWS = 5_000
DATASET = replace(constructed("kept"), partition="n % 7")


async def write(warehouse: ClickHouse, load_id: int) -> None:
    """Insert that load, and repeat it until it is acknowledged."""
    whole = encode_block(DATASET, [[load_id * ROWS + n, "kept", load_id, 0, n] for n in range(ROWS)])

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 40_000):
            yield whole[at : at + 40_000]

    for attempt in count():
        with contextlib.suppress(StoreError):
            if attempt and await insert_is_complete(warehouse, load_id):
                return
            await warehouse.insert_stream(DATASET, pieces(), token=f"load {load_id} {attempt}")
            return


async def insert_is_complete(warehouse: ClickHouse, load_id: int) -> bool:
    """Whether an insert that may have been cut off is there; if only a part of it is, none of it is afterwards."""
    await warehouse.end_statements(f"load {load_id} ")
    row_count = (await warehouse.rows(f"SELECT count() FROM kept WHERE load_id = {load_id}")).rows[0][0]
    if 0 < row_count < ROWS:
        await warehouse.execute(f"DELETE FROM kept WHERE load_id = {load_id}")
    return int(row_count) == ROWS


async def read(warehouse: ClickHouse, wrong: list[str]) -> None:
    """Answers while the engine dies again and again: right, or an error."""
    sql = "SELECT number, {mark:UInt64} FROM numbers(100000)"
    for mark in range(10**9):
        with contextlib.suppress(StoreError):
            rows = (await warehouse.rows(sql, {"mark": mark})).rows
            if len(rows) != 100_000 or rows[-1] != (99_999, mark):
                wrong.append(f"{mark}: {len(rows)} rows")


async def kill(engine: Engine, chance: random.Random) -> None:
    for number in range(1, KILLS + 1):
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        os.kill(engine.pid, signal.SIGKILL)

        async def again(times: int = number) -> bool:
            return engine.restarts >= times and engine.pid != 0

        await until(again, f"start {number}", seconds=120)


@pytest.mark.slow
@pytest.mark.timeout(KILLS * 40 + 120)
async def test_many_deaths_lose_nothing_acknowledged_and_double_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("SPOTLIGHTD_SEED", str(time.time_ns() % 10**6)))
    chance = random.Random(seed)
    async with (
        engine_on(tmp_path, backoff_most_seconds=0.1) as engine,
        client_of(engine, query_seconds=60.0) as warehouse,
    ):
        await warehouse.ensure(DATASET)
        wrong: list[str] = []
        reading = asyncio.create_task(read(warehouse, wrong))
        killing = asyncio.create_task(kill(engine, chance))
        load_id = 0
        while not killing.done():
            load_id += 1
            await write(warehouse, load_id)
        await killing
        reading.cancel()
        await asyncio.wait([reading])
        sql = "SELECT load_id, count(), uniqExact(n) FROM kept GROUP BY load_id ORDER BY load_id"
        rows = (await warehouse.rows(sql)).rows
    print(f"seed {seed}: {KILLS} deaths, {load_id} loads")
    assert rows == tuple((number, ROWS, ROWS) for number in range(1, load_id + 1)), f"seed {seed}"
    assert not wrong, f"seed {seed}: {wrong}"
