"""Two minutes of everything at once, with clients that vanish and statements that fail: no wrong answer.

SPOTLIGHTD_LOAD_SECONDS shortens or lengthens it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.clickhouse.values import encode_block
from spotlightd.engine.process import Engine
from spotlightd.errors import StoreError
from spotlightd.ports.warehouse import Limits

from .world import client_of, constructed, engine_on

SECONDS = float(os.environ.get("SPOTLIGHTD_LOAD_SECONDS", "30"))
DATASET = constructed("kept")
FIXED_ROWS = 1_000_000
BATCH = 20_000
Deed = Callable[["Load"], Coroutine[Any, Any, None]]


class Load:
    """The warehouse under load, what was done, and what came out wrong."""

    def __init__(self, warehouse: ClickHouse, seed: int) -> None:
        self.warehouse = warehouse
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.acknowledged: set[int] = set()
        self.loads = 0

    def check(self, holds: bool, what: str) -> None:
        self.done[what] += 1
        if not holds:
            self.wrong.append(what)


async def short(load: Load) -> None:
    """A handful of rows by key, each known."""
    first = load.random.randrange(FIXED_ROWS - 50)
    sql = "SELECT n, text FROM fixed WHERE n >= {first:UInt64} AND n < {first:UInt64} + 50 ORDER BY n"
    rows = (await load.warehouse.rows(sql, {"first": first})).rows
    load.check(rows == tuple((n, f"row {n}") for n in range(first, first + 50)), "short")


async def long(load: Load) -> None:
    """An aggregate over everything."""
    rows = (await load.warehouse.rows("SELECT count(), sum(n), uniqExact(cityHash64(text)) FROM fixed")).rows
    load.check(rows == ((FIXED_ROWS, FIXED_ROWS * (FIXED_ROWS - 1) // 2, FIXED_ROWS),), "long")


async def download(load: Load) -> None:
    """A long answer, whole."""
    until = load.random.randrange(1, FIXED_ROWS)
    async with load.warehouse.stream(
        "SELECT n FROM fixed WHERE n < {until:UInt64} ORDER BY n", "TabSeparated", {"until": until}
    ) as chunks:
        lines = b"".join([chunk async for chunk in chunks]).split(b"\n")
    load.check(len(lines) == until + 1 and lines[-2] == b"%d" % (until - 1), "download")


async def failing_download(load: Load) -> None:
    """A long answer that fails at some row: it must say so."""
    at = load.random.randrange(1000, FIXED_ROWS)
    form = load.random.choice(["CSVWithNames", "JSONEachRow", "ArrowStream", "Native"])
    sql = f"SELECT n, text, throwIf(n = {at}) FROM fixed ORDER BY n SETTINGS max_threads = 1"
    failed = False
    try:
        async with load.warehouse.stream(sql, form) as chunks:
            async for _ in chunks:
                pass
    except StoreError as problem:
        failed = problem.code in {395, 202}
    load.check(failed, "failing download")


async def failing_query(load: Load) -> None:
    """A short query that fails: by limit, cast or throwIf."""
    sql, limits, code = load.random.choice([
        ("SELECT sum(cityHash64(number)) FROM numbers(100000000000)", Limits(seconds=0.2), 159),
        ("SELECT n FROM fixed", Limits(result_rows=1000), 396),
        ("SELECT toUInt8(text) FROM fixed", None, 6),
        ("SELECT throwIf(n = 900000) FROM fixed", None, 395),
    ])  # fmt: skip
    error_code = 0
    try:
        await load.warehouse.rows(sql, limits=limits)
    except StoreError as problem:
        error_code = problem.code
    load.check(error_code == code, "failing query")


async def vanishing(load: Load) -> None:
    """A client that goes away in the middle."""
    sql = load.random.choice([
        "SELECT sum(cityHash64(number)) FROM numbers(100000000000)",
        "SELECT n, text FROM fixed ORDER BY cityHash64(n)",
        "SELECT a.n, b.n FROM fixed AS a CROSS JOIN fixed AS b ORDER BY a.n + b.n",
    ])  # fmt: skip
    task = asyncio.create_task(load.warehouse.rows(sql))
    await asyncio.wait([task], timeout=load.random.uniform(0, 0.3))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, StoreError):
        await task
    load.done["vanishing"] += 1


async def leaving(load: Load) -> None:
    """A download left after a few pieces."""
    async with load.warehouse.stream("SELECT n, text FROM fixed", "CSVWithNames") as chunks:
        for _ in range(load.random.randrange(1, 5)):
            await anext(chunks, b"")
    load.done["leaving"] += 1


async def inserting(load: Load) -> None:
    """One block, acknowledged or not; sometimes its sender vanishes."""
    load.loads += 1
    load_id = load.loads
    whole = encode_block(DATASET, [[load_id * BATCH + n, "kept", load_id, 0, n] for n in range(BATCH)])
    vanish = load.random.random() < 0.2

    async def pieces() -> AsyncIterator[bytes]:
        yield whole[: len(whole) // 2]
        if vanish:
            await asyncio.sleep(3600)
        yield whole[len(whole) // 2 :]

    task = asyncio.create_task(load.warehouse.insert_stream(DATASET, pieces(), token=f"load {load_id}"))
    await asyncio.wait([task], timeout=0.2 if vanish else None)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, StoreError):
        load.check(await task == BATCH, "inserting")
        load.acknowledged.add(load_id)


DEEDS: list[tuple[Deed, int]] = [
    (short, 6), (long, 1), (download, 1), (failing_download, 2), (failing_query, 2), (vanishing, 2), (leaving, 1), (inserting, 1),
]  # fmt: skip


async def again_and_again(load: Load, deed: Deed, until: float) -> None:
    while time.monotonic() < until:
        try:
            await deed(load)
        except StoreError as problem:
            load.done[f"{deed.__name__} refused ({problem.code})"] += 1
            if problem.code not in {202, 241}:
                load.wrong.append(f"{deed.__name__}: {problem}")


async def counted(load: Load) -> dict[int, int]:
    return dict((await load.warehouse.rows("SELECT load_id, count() FROM kept GROUP BY load_id")).rows)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
async def test_minutes_of_mixed_load_give_no_wrong_answer(tmp_path: Path) -> None:
    async with engine_on(tmp_path, memory_bytes=4 << 30) as engine, client_of(engine) as warehouse:
        await warehouse.ensure(DATASET)
        await warehouse.execute("CREATE TABLE fixed (n UInt64, text String) ENGINE = MergeTree ORDER BY n")
        await warehouse.execute(
            f"INSERT INTO fixed SELECT number, 'row ' || toString(number) FROM numbers({FIXED_ROWS})"
        )
        seed = int(os.environ.get("SPOTLIGHTD_SEED", str(time.time_ns() % 10**6)))
        load = Load(warehouse, seed)
        until = time.monotonic() + SECONDS
        tasks = [again_and_again(load, deed, until) for deed, times in DEEDS for _ in range(times)]
        await asyncio.gather(*tasks)
        counts = await counted(load)
        missing = {load_id for load_id in load.acknowledged if counts.get(load_id) != BATCH}
        print(f"seed {seed}: {dict(load.done)}; {sum(counts.values())} rows; {peak(engine)}")
        assert not load.wrong, f"seed {seed}: {Counter(load.wrong)}"
        assert not missing, f"seed {seed}: acknowledged and not whole: {missing}"
        assert engine.restarts == 0
        assert load.done["short"] > 0
        assert load.done["failing download"] > 0


def peak(engine: Engine) -> str:
    lines = Path(f"/proc/{engine.pid}/status").read_text().splitlines()
    return ", ".join(" ".join(line.split()) for line in lines if line.startswith(("VmHWM", "VmRSS", "Threads")))
