"""Heartbeats as rows, and how late the event loop is.

The loops that do the work count their beats on the board. This flow only copies the counts: a flow that hangs shows as
rows with no beats, and a daemon that hangs as missing rows.
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
from spotlightd.model.text import count
from spotlightd.ports.metrics import FlowReading, Metrics
from spotlightd.ports.warehouse import Warehouse

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


async def write_heartbeats(report: Reporter, board: Board, warehouse: Warehouse, every_seconds: float) -> None:
    """The flow that writes one row for each flow of the board, directly to the warehouse.

    Beats that could not be written are added to the next row, so none is lost while the process lives.
    """
    if not every_seconds:
        return
    report.expect_beats(60.0 / every_seconds)
    recorded_beats: Mapping[str, int] = {}
    while True:
        statuses = board.read()
        rows = list(_rows(statuses, recorded_beats, datetime.now(UTC)))
        try:
            await warehouse.insert(heartbeats, rows)
        except StoreError as problem:
            report.set_holding(str(problem))
            logger(flow=report.name).warning("store failed", error=str(problem))
        else:
            recorded_beats = {status.name: status.beats for status in statuses}
            report.set_waiting(f"{count(len(rows), 'flow')} recorded")
        report.beat()
        await asyncio.sleep(every_seconds)


def _rows(statuses: tuple[Status, ...], recorded_beats: Mapping[str, int], at: datetime) -> Iterator[tuple[Any, ...]]:
    """In the column order of `heartbeats`."""
    for status in statuses:
        yield (
            at, status.name, status.beats - recorded_beats.get(status.name, 0), status.expected_per_minute,
            status.lag_seconds, status.queue, status.last_event_at or NEVER, status.state, status.error,
        )  # fmt: skip


def read_flows(board: Board) -> tuple[FlowReading, ...]:
    """The board as the metrics read it, at the moment of the request."""
    return tuple(
        FlowReading(
            flow=status.name,
            state=status.state,
            restarts=status.restarts,
            beats=status.beats,
            silent_seconds=status.silent_seconds,
            pause_seconds=status.pause_seconds,
            lag_seconds=status.lag_seconds,
            queue=status.queue,
        )
        for status in board.read()
    )


async def measure_loop_lag(metrics: Metrics, every_seconds: float = 0.1) -> None:
    """Measure how late the event loop wakes up, until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_seconds
        await asyncio.sleep(every_seconds)
        metrics.observe("loop_lag_seconds", max(0.0, loop.time() - due))
