"""How full the disks were, as rows: so that the forecast outlives a restart, and anyone can ask how it came about."""

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
from spotlightd.flows.upkeep.disk import Watching
from spotlightd.log import logger
from spotlightd.model.disk import DiskState
from spotlightd.model.disk_forecast import LONGEST_SPAN, Point
from spotlightd.ports.warehouse import Warehouse

EVERY_SECONDS = 60.0
AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DiskRows:
    """The flow that reads what earlier lives wrote down, once, and then writes a row for each file system.

    It is apart from the watch on purpose: that must go on while the warehouse hangs.
    """

    watching: Watching
    warehouse: Warehouse
    every_seconds: float = EVERY_SECONDS

    async def __call__(self, report: Reporter) -> None:
        report.expects(60.0 / self.every_seconds)
        known = False
        while True:
            try:
                known = known or await self._remember()
                rows = list(_rows(self.watching.state(), datetime.now(UTC)))
                await self.warehouse.insert(disks, rows)
            except StoreError as problem:
                report.holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
            else:
                report.waiting(f"{len(rows)} disks written down")
            report.beat()
            await asyncio.sleep(self.every_seconds if known else AGAIN_SECONDS)

    async def _remember(self) -> bool:
        """An hour's last row each is enough of what is long ago."""
        sql = (
            "SELECT filesystem, max(at), argMax(used - ballast, at) FROM disks WHERE at > {since:DateTime64(6, 'UTC')}"
            " GROUP BY filesystem, if(at > {lately:DateTime64(6, 'UTC')}, toStartOfMinute(at), toStartOfHour(at))"
        )
        now = datetime.now(UTC)
        params = {"since": _text(now - LONGEST_SPAN), "lately": _text(now - LONGEST_SPAN / 336)}
        found = defaultdict(list)
        for name, at, used in (await self.warehouse.rows(sql, params)).rows:
            found[name].append(Point(at, used))
        for name, points in found.items():
            self.watching.remember(name, points)
        return True


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


def _rows(state: DiskState, at: datetime) -> Iterator[tuple[Any, ...]]:
    """In the column order of `disks`. What could not be looked at is not told as if it had been."""
    for one in state.file_systems:
        if not one.trouble and one.now.size:
            yield at, one.name, one.now.size, one.now.used, one.ballast_held, one.level.says
