"""The flow `logs`: what the daemon says becomes rows, a block every second or two.

While the table cannot be written, what was said waits, up to a bound, and is counted beyond it. A block whose fate is
not known, because the answer to its insert was lost, is looked for before it is repeated: each event is one row. The
last lines of a daemon, said while it closes its stores, stand in the journal only.
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
    """The table's only writer. `doubtful` is the token of an insert of which nobody knows whether it is in the table."""

    said: LogBuffer
    warehouse: Warehouse
    metrics: Metrics
    doubtful: str = ""
    told: int = 0

    async def write(self, *, whole: bool = False) -> int:
        """The oldest rows that wait, as one block; how many. StoreError: they go on waiting."""
        self._tell()
        block = self.said.first(BLOCK_ROWS, whole=whole)
        if not block:
            return 0
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._insert(block)
        except TimeoutError:
            raise StoreError(f"the table logs was not written within {WRITE_SECONDS:g} s", slow=True) from None
        self.said.written(len(block))
        self.metrics.count("log_events_written_total", len(block))
        return len(block)

    async def last(self) -> None:
        """All that waits, if the warehouse still takes it within a moment: the daemon is about to end."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                while await self.write(whole=True):
                    pass

    async def _insert(self, block: list[Row]) -> None:
        if self.doubtful:
            await self.warehouse.end_statements(self.doubtful)
            present = await self._present(block)
            block = [row for row in block if row[SEQ] not in present]
        self.doubtful = f"logs-{secrets.token_hex(8)}"
        await self.warehouse.insert(logs, block, token=self.doubtful)
        self.doubtful = ""

    async def _present(self, block: list[Row]) -> set[int]:
        """Which of these rows are in the table already."""
        values = {
            "since": min(row[0] for row in block), "until": max(row[0] for row in block),
            "began": self.said.began, "first": block[0][SEQ], "last": block[-1][SEQ],
        }  # fmt: skip
        return {row[0] for row in (await self.warehouse.rows(_PRESENT, values)).rows}

    def _tell(self) -> None:
        left_out = self.said.left_out
        self.metrics.count("log_events_left_out_total", left_out - self.told)
        self.told = left_out


async def write_logs(report: Reporter, table: LogTable, every_seconds: float) -> None:
    """The flow. Trouble is said once when it begins and once when it is over, or it would feed itself."""
    report.expect_beats(60.0 / every_seconds)
    holds = False
    while True:
        rows = 0
        try:
            rows = await table.write()
        except StoreError as problem:
            report.set_holding(str(problem))
            if not holds:
                logger(flow=report.name).warning("store failed", error=str(problem))
            holds = True
        else:
            report.set_waiting("writes down what is said")
            if holds:
                logger(flow=report.name).info("store recovered")
            holds = False
        report.beat(queue=table.said.set_waiting, did_something=bool(rows))
        if rows < BLOCK_ROWS:
            await asyncio.sleep(every_seconds)


@asynccontextmanager
async def run_log_writer(
    board: Board, said: LogBuffer, warehouse: Warehouse, metrics: Metrics, every_seconds: float
) -> AsyncIterator[None]:
    """Write what is said as long as the block runs, and what was said by its end; nothing when the pause is 0."""
    if not every_seconds:
        yield
        return
    table = LogTable(said, warehouse, metrics)
    flow = run_isolated(board, "logs", lambda report: write_logs(report, table, every_seconds))
    try:
        async with run_in_background(logs=flow):
            yield
    finally:
        await table.last()
