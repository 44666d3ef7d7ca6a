"""Heartbeats as rows, and how late the event loop is.

The beats themselves are counted on the board by the loops that do the work. This flow only copies the counts, so a flow
that hangs is seen as rows with no beats, and a daemon that hangs as rows that are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from spotlightd.datasets.system import heartbeats
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Board, Reporter, Status
from spotlightd.log import logger
from spotlightd.ports.metrics import FlowReading, Metrics
from spotlightd.ports.warehouse import Warehouse

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


async def write_heartbeats(report: Reporter, board: Board, warehouse: Warehouse, every_seconds: float) -> None:
    """The flow that writes one row for each flow of the board, straight to the warehouse.

    Beats that could not be written are told with the next row: none is lost while the process lives, and none outlives it.
    """
    if not every_seconds:
        return
    report.expect_beats(60.0 / every_seconds)
    told: Mapping[str, int] = {}
    while True:
        statuses = board.read()
        rows = list(_rows(statuses, told, datetime.now(UTC)))
        try:
            await warehouse.insert(heartbeats, rows)
        except StoreError as problem:
            report.set_holding(str(problem))
            logger(flow=report.name).warning("store failed", error=str(problem))
        else:
            told = {one.name: one.beats for one in statuses}
            report.set_waiting(f"{len(rows)} flows written down")
        report.beat()
        await asyncio.sleep(every_seconds)


def _rows(statuses: tuple[Status, ...], told: Mapping[str, int], at: datetime) -> Iterator[tuple[Any, ...]]:
    """In the column order of `heartbeats`."""
    for one in statuses:
        yield (
            at, one.name, one.beats - told.get(one.name, 0), one.expected_per_minute, one.lag_seconds, one.queue,
            one.last_event_at or NEVER, one.state, one.error,
        )  # fmt: skip


def read_flows(board: Board) -> tuple[FlowReading, ...]:
    """The board as the metrics read it, at the moment that they are asked for."""
    return tuple(
        FlowReading(
            flow=one.name,
            state=one.state,
            restarts=one.restarts,
            beats=one.beats,
            silent_seconds=one.silent_seconds,
            pause_seconds=one.pause_seconds,
            lag_seconds=one.lag_seconds,
            queue=one.queue,
        )
        for one in board.read()
    )


async def measure_loop_lag(metrics: Metrics, every_seconds: float = 0.1) -> None:
    """Measure how late the event loop comes round, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        wanted = loop.time() + every_seconds
        await asyncio.sleep(every_seconds)
        metrics.observe("loop_lag_seconds", loop.time() - wanted)
