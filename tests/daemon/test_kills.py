"""Power cuts: the daemon is killed at each step of a load, the engine during an insert and during a query."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.errors import StoreError
from spotlightd.ports.warehouse import Limits
from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month, warehouse
from tests.polling import until

ROWS = 20_000
STEPS = {
    "the document is kept": "SELECT 1 FROM documents WHERE covers = ?",
    "its address is known": "SELECT 1 FROM known WHERE covers = ? AND digest != ''",
    "the load is begun": "SELECT 1 FROM loads WHERE covers = ?",
    "all rows are written": "SELECT 1 FROM loads WHERE covers = ? AND state IN ('loaded', 'publishing', 'published')",
    "publication is intended": "SELECT 1 FROM loads WHERE covers = ? AND state IN ('publishing', 'published')",
    "it is published": "SELECT 1 FROM loads WHERE covers = ? AND state = 'published'",
    "the answer is noted": "SELECT 1 FROM known WHERE covers = ? AND outcome = 'published'",
    "the run is recorded": "SELECT 1 FROM runs WHERE covers = ?",
}


def kill_when(pid: int, reached: Callable[[], bool], *, seconds: float = 30.0) -> bool:
    """Wait, without a pause and in a thread, and kill; whether the time came."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if reached():
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def stepped(path: Path, sql: str, covers: str) -> Callable[[], bool]:
    """Whether the ledger says that this step of that document's load is taken."""

    def reached() -> bool:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as ledger:
            return bool(ledger.execute(sql, (covers,)).fetchall())

    return reached


async def queue_backfill(place: Place) -> None:
    """Have the running daemon look again, as `backfill` does."""
    with closing(sqlite3.connect(place.state / "ledger.sqlite", timeout=10)) as ledger, ledger:
        ledger.execute(
            "INSERT INTO jobs VALUES (NULL, 'backfill', 'fast_ftd', '0001-01-01', '9999-12-31', '', '', 'waiting', 0, 0, '')"
        )


@pytest.mark.slow
async def test_a_daemon_killed_at_any_step_of_a_load_goes_on_where_it_was(place: Place) -> None:
    """One state folder through all deaths. What is visible is whole at every look, and all of it in the end."""
    place.show(half_month(0, ROWS))
    for number, (step, sql) in enumerate(STEPS.items(), 1):
        async with place.ready() as daemon:
            await place.wait_until_visible()
            place.show(half_month(number, ROWS))
            reached = stepped(place.state / "ledger.sqlite", sql, half_month(number).covers)
            killing = asyncio.create_task(asyncio.to_thread(kill_when, daemon.pid, reached))
            await queue_backfill(place)
            assert await killing, step
            assert await daemon.ended() == -signal.SIGKILL
    async with place.ready():
        await place.wait_until_visible()
        again = await place.command("audit", "sec_ftd", "--json")
    assert again.json()["same"] == again.json()["rows"] == ROWS * len(place.documents)
    assert not place.ledger("SELECT * FROM loads WHERE state NOT IN ('published', 'swept')")


async def shows_hold(daemon: Daemon) -> bool:
    """The hold lasts a second: a busy machine may ask /readyz only after it. `store recovered` proves that it was."""
    return await daemon.is_degraded("collect fast_ftd") or bool(daemon.find_events("store recovered"))


async def test_an_engine_killed_during_an_insert_is_restarted_and_the_load_repeated(place: Place) -> None:
    place.show(half_month(0, 1_200))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        big = half_month(1, 200_000)
        place.show(big)
        engine = daemon.engine_pid()
        inserting = stepped(place.state / "ledger.sqlite", STEPS["the load is begun"], big.covers)
        killing = asyncio.create_task(asyncio.to_thread(kill_when, engine, inserting))
        await queue_backfill(place)
        assert await killing
        await until(lambda: shows_hold(daemon), "/readyz says which flow holds, or it holds no longer", every=0)
        await daemon.wait_for("engine restarted")
        await daemon.wait_for("load published", covers=big.covers)
        await place.wait_until_visible()
        assert daemon.find_events("load failed", covers=big.covers)
        await daemon.wait_for("store recovered")
        assert (
            len([request for request in place.server.requests if request.path == big.path]) == 1
        )  # its bytes were here already
        status = await daemon.status()
        assert status["state"]["engine"]["restarts"] == 1
        assert daemon.engine_pid() != engine
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_an_engine_killed_during_queries_fails_them_and_answers_the_next(place: Place) -> None:
    place.show(half_month(0, 1_200))
    async with place.ready() as daemon, warehouse(place.state) as reader:
        await place.wait_until_visible()
        sql = "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"
        long = asyncio.create_task(reader.rows(sql, limits=Limits(seconds=5)))
        running = (
            "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000%' AND query NOT LIKE '%processes%'"
        )
        await until(lambda: _run_query(reader, running), "the query runs")
        pages = [asyncio.create_task(daemon.get(path)) for path in ("/data/sec_ftd", "/status", "/") * 3]
        os.kill(daemon.engine_pid(), signal.SIGKILL)
        with pytest.raises(StoreError):  # at once, or, asked again by the client, when its time is over
            await long
        answers = [await page for page in pages]
        assert {answer.status for answer in answers} <= {200, 503}, [answer.text for answer in answers]
        assert (await daemon.get("/healthz")).status == 200
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert (await daemon.get("/data/sec_ftd")).status == 200
        await place.wait_until_visible()
        assert await daemon.stop() == 0


async def _run_query(reader: ClickHouse, sql: str) -> int:
    return int((await reader.rows(sql)).rows[0][0])
