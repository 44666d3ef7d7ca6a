"""How full the disks were, as rows: the forecast survives a restart, and its history can be queried."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spotlightd.datasets.system import disks
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Reporter
from spotlightd.flows.upkeep.disk import DiskWatch
from spotlightd.log import logger
from spotlightd.model.disk import DiskState
from spotlightd.model.disk_forecast import LONGEST_SPAN, Point
from spotlightd.model.text import count
from spotlightd.ports.warehouse import Warehouse

EVERY_SECONDS = 60.0
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DiskHistory:
    """The flow that reads the rows of earlier processes once, and then writes a row for each file system.

    It is separate from the watch on purpose: the watch must go on while the warehouse hangs.
    """

    watch: DiskWatch
    warehouse: Warehouse
    every_seconds: float = EVERY_SECONDS

    async def __call__(self, report: Reporter) -> None:
        report.expect_beats(60.0 / self.every_seconds)
        is_loaded = False
        while True:
            try:
                is_loaded = is_loaded or await self._load()
                rows = list(_rows(self.watch.state(), datetime.now(UTC)))
                await self.warehouse.insert(disks, rows)
            except StoreError as problem:
                report.set_holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
            else:
                report.set_waiting(f"{count(len(rows), 'disk')} recorded")
            report.beat()
            await asyncio.sleep(self.every_seconds if is_loaded else RETRY_SECONDS)

    async def _load(self) -> bool:
        """Load the history: a point a minute of the last hour, a point an hour before that."""
        sql = (
            "SELECT filesystem, max(at), argMax(used - ballast, at) FROM disks WHERE at > {since:DateTime64(6, 'UTC')}"
            " GROUP BY filesystem, if(at > {lately:DateTime64(6, 'UTC')}, toStartOfMinute(at), toStartOfHour(at))"
        )
        now = datetime.now(UTC)
        params = {"since": _text(now - LONGEST_SPAN), "lately": _text(now - LONGEST_SPAN / 336)}
        points_by_disk = defaultdict(list)
        for name, at, used in (await self.warehouse.rows(sql, params)).rows:
            points_by_disk[name].append(Point(at, used))
        for name, points in points_by_disk.items():
            self.watch.add_history(name, points)
        return True


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


def _rows(state: DiskState, at: datetime) -> Iterator[tuple[Any, ...]]:
    """In the column order of `disks`. A disk that was not measured gets no row."""
    for disk in state.file_systems:
        if not disk.error and disk.usage.size:
            yield at, disk.name, disk.usage.size, disk.usage.used, disk.ballast_held, disk.level.label
