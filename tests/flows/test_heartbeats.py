"""Heartbeats as rows: what the loops counted, nothing lost while the process lives, and how late the event loop is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.errors import StoreError
from spotlightd.flows.batch.schedule import Collector, Wakeups, run_bookkeeping
from spotlightd.flows.supervise import Board, Status, run_isolated
from spotlightd.flows.upkeep.heartbeats import measure_loop_lag, read_flows, write_heartbeats
from spotlightd.model.dataset import Dataset
from spotlightd.sql.tiers import NoArchives
from spotlightd.testing import SilentMetrics
from tests.polling import until

from .world import World, source


@dataclass
class Table:
    """A warehouse that accepts rows or refuses them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False
    inserts: int = 0

    async def insert(self, dataset: Dataset, rows: Sequence[Sequence[Any]], *, token: str = "") -> None:
        assert not token
        self.inserts += 1
        if self.refuses:
            raise StoreError("the disk is full")
        names = [column.name for column in dataset.stored]
        self.rows += [dict(zip(names, row, strict=True)) for row in rows]

    def of(self, flow: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["flow"] == flow]


def status(board: Board, name: str) -> Status:
    return next(status for status in board.read() if status.name == name)


@asynccontextmanager
async def run_heartbeats(board: Board, warehouse: Any, every_seconds: float = 0.01) -> AsyncIterator[None]:
    board.reporter("pulse")  # so that a test may ask for it before its task begins
    work = run_isolated(board, "pulse", lambda report: write_heartbeats(report, board, warehouse, every_seconds))
    task = asyncio.create_task(work, name="pulse")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_row_for_each_flow_says_what_it_did_since_the_row_before(warehouse: ClickHouse) -> None:
    board = Board()
    report = board.reporter("drain finnhub")
    report.expect_beats(600)
    report.set_working("moving frames")
    for _ in range(3):
        report.beat(lag_seconds=0.25, queue=4)
    board.reporter("idle").set_waiting("nothing to do")
    async with run_heartbeats(board, warehouse, every_seconds=0.05):
        await until(lambda: status(board, "pulse").beats >= 2, "two rounds")
        report.beat(lag_seconds=0.5, did_something=False)
        now = status(board, "pulse").beats
        await until(lambda: status(board, "pulse").beats >= now + 2, "two more rounds")
    answer = await warehouse.rows(
        "SELECT flow, sum(beats) AS beats, any(expected_per_minute) AS expected, max(lag) AS lag, max(queue) AS queue, "
        "any(state) AS state, max(last_event_at) > '2000-01-01' AS busy FROM heartbeats GROUP BY flow ORDER BY flow"
    )
    by_flow = {row["flow"]: row for row in answer.dicts()}
    assert {"drain finnhub", "idle", "pulse"} <= set(by_flow)
    assert by_flow["drain finnhub"] == {
        "flow": "drain finnhub", "beats": 4, "expected": 600.0, "lag": 0.5, "queue": 4, "state": "running", "busy": 1,
    }  # fmt: skip
    assert (by_flow["idle"]["beats"], by_flow["idle"]["busy"], by_flow["idle"]["expected"]) == (0, 0, 0.0)
    assert by_flow["pulse"]["expected"] == 1200.0


async def test_beats_that_could_not_be_written_are_added_to_the_next_row() -> None:
    board, table = Board(), Table(refuses=True)
    report = board.reporter("drain")
    with capture_logs() as events:
        async with run_heartbeats(board, table):
            report.beat()
            await until(lambda: table.inserts >= 2, "it tries again")
            assert status(board, "pulse").state == "holding"
            assert status(board, "pulse").restarts == 0
            report.beat()
            table.refuses = False
            await until(lambda: table.of("drain"), "a row")
            await until(lambda: status(board, "pulse").state == "waiting", "it is well again")
    assert table.of("drain")[0]["beats"] == 2
    assert sum(row["beats"] for row in table.of("drain")) == 2
    assert "store failed" in {event["event"] for event in events}


async def test_with_a_pause_of_0_no_heartbeats_are_written() -> None:
    board, table = Board(), Table()
    async with run_heartbeats(board, table, every_seconds=0.0):
        await until(lambda: status(board, "pulse").state == "stopped", "the end of the flow")
    assert not table.inserts


async def test_a_flow_that_hangs_has_rows_without_beats() -> None:
    board, table = Board(), Table()
    report = board.reporter("drain")
    report.expect_beats(60 / 0.01)
    report.beat()
    async with run_heartbeats(board, table):
        await until(lambda: status(board, "drain").is_hanging, "the silence")
        before = len(table.of("drain"))
        await until(lambda: len(table.of("drain")) > before + 1, "more rows")
        assert [row["beats"] for row in table.of("drain")[-2:]] == [0, 0]
        (read,) = [reading for reading in read_flows(board) if reading.flow == "drain"]
        assert read.silent_seconds > 3 * read.pause_seconds > 0


async def test_a_collector_and_the_bookkeeping_beat_while_they_wait_and_while_they_work(world: World) -> None:
    world.serve({"2021": "2021-01-04,1\n"})
    board, batch = Board(), source()
    wakeups = Wakeups()
    async with world.stores() as stores:
        collecting = Collector(batch, world.publishers, stores, wakeups)
        tasks = [
            asyncio.create_task(run_isolated(board, "collect", collecting), name="collect"),
            asyncio.create_task(
                run_isolated(board, "bookkeeping", lambda report: run_bookkeeping(
                    report, stores.ledger, stores.warehouse, (), NoArchives(), gate=stores.gate, every_seconds=0.01,
                )), name="bookkeeping",
            ),
        ]  # fmt: skip
        try:
            await until(lambda: len(board.read()) == 2 and status(board, "collect").beats, "it waits")
            assert status(board, "collect").last_event_at is None
            assert status(board, "collect").expected_per_minute == 30
            wakeups.of(batch.name).set()
            await until(lambda: status(board, "collect").last_event_at, "it looks")
            await until(lambda: status(board, "collect").state == "waiting", "it waits again")
            assert status(board, "collect").expected_per_minute == 30
            await until(lambda: status(board, "bookkeeping").beats > 2, "it goes round")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    assert await world.read_counts() == {"2021-01-04": 1}


async def test_a_loop_that_is_held_up_is_measured() -> None:
    lags: list[float] = []

    class LoopMetrics(SilentMetrics):
        def observe(self, name: str, value: float, /, **labels: str) -> None:
            assert (name, labels) == ("loop_lag_seconds", {})
            lags.append(value)

    task = asyncio.create_task(measure_loop_lag(LoopMetrics(), 0.01), name="loop")
    try:
        await until(lambda: len(lags) > 2, "some rounds")
        held_up = len(lags)
        time.sleep(0.2)
        await until(lambda: len(lags) > held_up, "the late round")
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert all(lag >= 0 for lag in lags)
    assert max(lags) > 0.15
