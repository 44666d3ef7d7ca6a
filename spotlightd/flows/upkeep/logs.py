"""The flow `logs`: events of the daemon's log become rows, one block every second or two.

While the table cannot be written, events wait in a bounded queue, and are counted when it is full. When the answer to an
insert was lost, the table is searched for its rows before the insert is repeated: each event is one row. The last events
of a daemon, logged while it closes its stores, are only in the journal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from spotlightd.datasets.system import logs
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Board, Reporter, run_in_background, run_isolated
from spotlightd.flows.upkeep.log_buffer import SEQ, LogBuffer, Row
from spotlightd.log import logger
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.warehouse import Warehouse

BLOCK_ROWS = 5_000
WRITE_SECONDS = 30.0
LAST_SECONDS = 3.0
_PRESENT = (
    "SELECT seq FROM logs WHERE at BETWEEN {since:DateTime64(6, 'UTC')} AND {until:DateTime64(6, 'UTC')} "
    "AND started_at = {began:DateTime64(6, 'UTC')} AND seq BETWEEN {first:UInt64} AND {last:UInt64}"
)


@dataclass(slots=True)
class LogTable:
    """The only writer of the table. `unconfirmed` is the token of an insert that may or may not be in the table."""

    buffer: LogBuffer
    warehouse: Warehouse
    metrics: Metrics
    unconfirmed: str = ""
    left_out: int = 0

    async def write(self, *, at_end: bool = False) -> int:
        """Write the oldest rows as one block. Returns how many. After a StoreError they stay in the queue."""
        self._count_left_out()
        block = self.buffer.peek(BLOCK_ROWS, at_end=at_end)
        if not block:
            return 0
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._insert(block)
        except TimeoutError:
            raise StoreError(f"the table logs was not written within {WRITE_SECONDS:g} s", slow=True) from None
        self.buffer.remove(len(block))
        self.metrics.count("log_events_written_total", len(block))
        return len(block)

    async def flush(self) -> None:
        """Write the whole queue if the warehouse still takes it within a moment: the daemon is about to end."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                while await self.write(at_end=True):
                    pass

    async def _insert(self, block: list[Row]) -> None:
        if self.unconfirmed:
            await self.warehouse.end_statements(self.unconfirmed)
            present = await self._present(block)
            block = [row for row in block if row[SEQ] not in present]
        self.unconfirmed = f"logs-{secrets.token_hex(8)}"
        await self.warehouse.insert(logs, block, token=self.unconfirmed)
        self.unconfirmed = ""

    async def _present(self, block: list[Row]) -> set[int]:
        """Which of these rows are in the table already."""
        values = {
            "since": min(row[0] for row in block), "until": max(row[0] for row in block),
            "began": self.buffer.started_at, "first": block[0][SEQ], "last": block[-1][SEQ],
        }  # fmt: skip
        return {row[0] for row in (await self.warehouse.rows(_PRESENT, values)).rows}

    def _count_left_out(self) -> None:
        left_out = self.buffer.left_out
        self.metrics.count("log_events_left_out_total", left_out - self.left_out)
        self.left_out = left_out


async def write_logs(report: Reporter, table: LogTable, every_seconds: float) -> None:
    """The flow. A failure is logged once when it begins and once when it is over: more would fill the queue itself."""
    report.expect_beats(60.0 / every_seconds)
    is_down = False
    while True:
        rows = 0
        try:
            rows = await table.write()
        except StoreError as problem:
            report.set_holding(str(problem))
            if not is_down:
                logger(flow=report.name).warning("store failed", error=str(problem))
            is_down = True
        else:
            report.set_waiting("log events are written")
            if is_down:
                logger(flow=report.name).info("store recovered")
            is_down = False
        report.beat(queue=table.buffer.size, did_something=bool(rows))
        if rows < BLOCK_ROWS:
            await asyncio.sleep(every_seconds)


@asynccontextmanager
async def run_log_writer(
    board: Board, buffer: LogBuffer, warehouse: Warehouse, metrics: Metrics, every_seconds: float
) -> AsyncIterator[None]:
    """Write events while the block runs, and at its end those that are left; nothing when the pause is 0."""
    if not every_seconds:
        yield
        return
    table = LogTable(buffer, warehouse, metrics)
    flow = run_isolated(board, "logs", lambda report: write_logs(report, table, every_seconds))
    try:
        async with run_in_background(logs=flow):
            yield
    finally:
        await table.flush()
