"""Log events as rows: bounded, counted where left out, each event once whatever happens to the warehouse."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import logs
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.log_buffer import LEFT_OUT, LONGEST_FIELDS, LONGEST_TEXT, MINUTE, SEQ, LogBuffer
from spotlightd.flows.upkeep.logs import LogTable, run_log_writer, write_logs
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.testing import SilentMetrics
from tests.manual_clock import ManualClock
from tests.polling import until

NAMES = [column.name for column in logs.columns]


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Table:
    """A warehouse that accepts rows, refuses them, or accepts them and loses the answer."""

    rows_: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False
    mute: bool = False
    keeps: int | None = None
    ended_: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    async def insert(self, dataset: Dataset, rows: Sequence[Sequence[Any]], *, token: str = "") -> None:
        assert dataset is logs
        self.tokens.append(token)
        if self.refuses:
            raise StoreError("the disk is full")
        self.rows_ += [dict(zip(NAMES, row, strict=True)) for row in rows[: self.keeps]]
        if self.mute:
            raise StoreError("the connection broke off")

    async def end_statements(self, token: str) -> None:
        if self.refuses:
            raise StoreError("the disk is full")
        self.ended_.append(token)

    async def rows(self, sql: str, *_: Any, **__: Any) -> Answer:
        assert "FROM logs" in sql
        return Answer(("seq",), tuple((row["seq"],) for row in self.rows_))


class Counted(SilentMetrics):
    rows_written: float = 0
    left_out: float = 0

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        super().count(name, value, **labels)
        if name == "log_events_written_total":
            self.rows_written += value
        elif name == "log_events_left_out_total":
            self.left_out += value


def dicts(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


def sums(rows: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """The number of events in the rows, and of events that are counted as left out."""
    gaps = [json.loads(row["fields"])["events"] for row in rows if row["event"] == LEFT_OUT]
    return len(rows) - len(gaps), sum(gaps)


# -- the queue ---------------------------------------------------------------------------------------------------------


def test_an_event_becomes_a_row_with_its_context_in_columns_and_the_rest_as_json() -> None:
    buffer = LogBuffer(10, 10, ManualClock(NOON).to_clock())
    buffer.add({
        "event": "load published", "level": "info", "timestamp": "x", "flow": "collect a", "source": "a", "load_id": 7,
        "run": "r", "request": "q", "rows": 3, "covers": "2021/01/a", "day": datetime(2021, 1, 1, tzinfo=UTC).date(),
    })  # fmt: skip
    buffer.add({"event": "flow started"})
    row, bare = dicts(buffer.peek(10))
    assert {name: row[name] for name in ("level", "event", "flow", "source", "load_id", "run", "request", "seq")} == {
        "level": "info", "event": "load published", "flow": "collect a", "source": "a", "load_id": 7, "run": "r",
        "request": "q", "seq": 1,
    }  # fmt: skip
    assert json.loads(row["fields"]) == {"rows": 3, "covers": "2021/01/a", "day": "2021-01-01"}
    assert (bare["flow"], bare["load_id"], bare["fields"], bare["seq"]) == ("", 0, "{}", 2)
    assert row["started_at"] == bare["started_at"] == buffer.started_at


def test_no_more_wait_than_there_is_room_for_and_the_rest_is_counted() -> None:
    clock = ManualClock(NOON)
    buffer = LogBuffer(5, 1_000, clock.to_clock())
    for at in range(12):
        buffer.add({"event": "source failed", "level": "error" if at == 11 else "info", "n": at})
    assert (buffer.size, buffer.left_out) == (5, 7)
    buffer.remove(len(buffer.peek(3)))
    clock.seconds += MINUTE
    rows = dicts(buffer.peek(100))
    assert sums(rows) == (2, 7)
    fields = json.loads(rows[-1]["fields"])
    assert (fields["of"], fields["events"], rows[-1]["level"]) == ("source failed", 7, "error")
    assert [row["seq"] for row in rows] == [4, 5, 13]


def test_a_flood_of_one_kind_is_sampled_each_minute_and_leaves_room_for_the_others() -> None:
    clock, rows, others = ManualClock(NOON), list[dict[str, Any]](), 0
    buffer = LogBuffer(10_000, 20, clock.to_clock())
    for second in range(5 * 60):
        clock.seconds = float(second)
        for _ in range(10):
            buffer.add({"event": "request refused", "level": "info"})
        if second % 30 == 0:
            others += 1
            buffer.add({"event": "flow failed", "level": "warning"})
        if second % 2:
            batch = buffer.peek(1_000)
            rows += dicts(batch)
            buffer.remove(len(batch))
    rows += dicts(buffer.peek(1_000, at_end=True))
    assert sums(rows) == (5 * 20 + others, 3_000 - 5 * 20)
    assert sum(row["event"] == "flow failed" for row in rows) == others
    assert 4 <= sum(row["event"] == LEFT_OUT for row in rows) <= 6
    assert buffer.left_out == 3_000 - 5 * 20


def test_counts_stay_few_and_right_while_the_warehouse_is_down_for_days() -> None:
    clock = ManualClock(NOON)
    buffer = LogBuffer(50, 10, clock.to_clock())
    for minute in range(3 * 24 * 60):
        clock.seconds = minute * MINUTE
        for name in ("store failed", "source failed"):
            buffer.add({"event": name, "level": "warning"})
        buffer.peek(1_000)
        assert buffer.size <= 50
    rows = dicts(buffer.peek(1_000, at_end=True))
    assert sums(rows) == (50, 2 * 3 * 24 * 60 - 50)
    assert len(rows) <= 52


class Awkward:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_nothing_that_is_said_makes_taking_it_fail() -> None:
    buffer = LogBuffer(100, 100)
    circle: list[Any] = []
    circle.append(circle)
    for value in (circle, float("nan"), "\ud800", b"\xff", {1: {2: {3: {4: {5: 6}}}}}, object(), "x" * 1_000_000, -1):
        buffer.add(
            {"event": "flow failed", "value": value, "load_id": value, "flow": value if isinstance(value, str) else ""}
        )
    buffer.add({"event": "flow failed", "value": Awkward()})
    buffer.add({"event": "flow failed", "many": ["y" * 3_000] * 100})
    rows = dicts(buffer.peek(100, at_end=True))
    assert sums(rows) == (9, 1)
    for row in rows:
        assert len(row["fields"]) <= max(LONGEST_FIELDS, 2 * LONGEST_TEXT)
        assert len(row["flow"]) <= LONGEST_TEXT + 3
        assert isinstance(json.loads(row["fields"]), dict)
        row["fields"].encode()


def test_who_speaks_while_garbage_is_collected_does_not_wait_for_himself() -> None:
    buffer = LogBuffer(100_000, 100_000)

    class Dying:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            buffer.add({"event": "library warned", "level": "warning"})

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(300):
            Dying()
            buffer.add({"event": "flow started", "a": [{"b": [1]}]})
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert buffer.size == 600


def test_many_threads_may_speak_at_once() -> None:
    buffer = LogBuffer(1_000, 700)
    threads = [threading.Thread(target=add_events, args=(buffer, 250)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    rows = dicts(buffer.peek(5_000, at_end=True))
    assert sums(rows) == (700, 1_300)
    assert len({row["seq"] for row in rows}) == len(rows)


# -- the table ---------------------------------------------------------------------------------------------------------


def add_events(buffer: LogBuffer, count: int) -> None:
    for at in range(count):
        buffer.add({"event": "request refused", "level": "info", "n": at})


async def test_what_was_said_before_during_and_at_the_end_is_in_the_table(warehouse: ClickHouse) -> None:
    await warehouse.ensure(logs)
    buffer, metrics = LogBuffer(1_000, 1_000), Counted()
    add_events(buffer, 10)
    async with run_log_writer(Board(), buffer, warehouse, metrics, 0.02):
        await until(lambda: metrics.rows_written >= 10, "the first block")
        add_events(buffer, 5)
    rows = (
        await warehouse.rows(
            "SELECT * FROM logs WHERE started_at = {s:DateTime64(6, 'UTC')} ORDER BY seq", {"s": buffer.started_at}
        )
    ).dicts()
    assert [row["seq"] for row in rows] == list(range(1, 16))
    assert rows[3]["fields"] == '{"n": 3}'
    assert (metrics.rows_written, metrics.left_out, buffer.size) == (15, 0, 0)


async def test_a_warehouse_that_is_down_loses_nothing_that_had_room_and_counts_the_rest() -> None:
    buffer, metrics, table = LogBuffer(100, 1_000), Counted(), Table(refuses=True)
    board = Board()
    board.reporter("logs")
    async with run_log_writer(board, buffer, table, metrics, 0.005):  # type: ignore[arg-type]
        add_events(buffer, 250)
        await until(lambda: board.read()[0].state == "holding", "the flow holds")
        assert "the disk is full" in board.read()[0].error
        await until(lambda: board.read()[0].beats >= 3, "it tries again")
        table.refuses = False
        await until(lambda: board.read()[0].state == "waiting", "the flow goes on")
    there, missing = sums(table.rows_)
    assert (there + missing, missing) == (250, 150)
    assert metrics.left_out == 150
    assert len({row["seq"] for row in table.rows_}) == len(table.rows_)


async def test_trouble_is_said_once_and_not_with_every_try() -> None:
    buffer, table, board = LogBuffer(100, 1_000), Table(refuses=True), Board()
    add_events(buffer, 1)
    report = board.reporter("logs")
    with capture_logs() as lines:
        task = asyncio.create_task(write_logs(report, LogTable(buffer, table, Counted()), 0.002))  # type: ignore[arg-type]
        try:
            await until(lambda: report.board.read()[0].beats >= 5, "five tries")
            table.refuses = False
            await until(lambda: len(lines) > 1, "it says that it is over")
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert [line["event"] for line in lines] == ["store failed", "store recovered"]
    assert [row["event"] for row in table.rows_] == ["request refused"]


@pytest.mark.parametrize("keeps", [None, 0, 4])
async def test_a_block_whose_fate_is_not_known_is_looked_for_first(keeps: int | None) -> None:
    """The answer was lost: of its rows the table has all, none, or (over midnight it makes two parts) some."""
    buffer, table = LogBuffer(100, 1_000), Table(mute=True, keeps=keeps)
    writer = LogTable(buffer, table, Counted())  # type: ignore[arg-type]
    add_events(buffer, 10)
    with pytest.raises(StoreError):
        await writer.write()
    assert buffer.size == 10
    table.mute, table.keeps = False, None
    add_events(buffer, 2)
    assert await writer.write() == 12
    assert table.ended_ == table.tokens[:1]
    assert sorted(row["seq"] for row in table.rows_) == list(range(1, 13))
    assert writer.unconfirmed == ""


async def test_the_table_is_asked_in_words_that_the_engine_understands(warehouse: ClickHouse) -> None:
    await warehouse.ensure(logs)
    buffer = LogBuffer(100, 1_000)
    writer = LogTable(buffer, warehouse, Counted())
    add_events(buffer, 3)
    await warehouse.insert(logs, buffer.peek(2))
    writer.unconfirmed = "logs-lost"
    assert await writer.write() == 3
    sql = "SELECT groupArray(seq) FROM logs WHERE started_at = {s:DateTime64(6, 'UTC')}"
    assert sorted((await warehouse.rows(sql, {"s": buffer.started_at})).rows[0][0]) == [1, 2, 3]


async def test_an_end_without_a_warehouse_is_not_held_up() -> None:
    buffer, table = LogBuffer(100, 1_000), Table(refuses=True)
    add_events(buffer, 3)
    began = time.monotonic()
    async with run_log_writer(Board(), buffer, table, Counted(), 60.0):  # type: ignore[arg-type]
        pass
    assert time.monotonic() - began < 20
    assert buffer.peek(1)[0][SEQ] == 1


async def test_with_a_pause_of_0_nothing_is_written() -> None:
    board = Board()
    async with run_log_writer(board, LogBuffer(1, 1), Table(), Counted(), 0):  # type: ignore[arg-type]
        assert board.read() == ()
