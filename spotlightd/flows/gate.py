"""Holds work while a disk is too full, or while a table lost its rows. Work waits between two pieces, never within one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from spotlightd.flows.supervise import Reporter
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import Work

BEAT_SECONDS = 1.0


class Gate:
    """Nothing waits until `hold` is called. Commands that run without a daemon use a gate that never holds."""

    def __init__(self) -> None:
        self._held: Mapping[Work, str] = {}
        self._held_tables: Mapping[str, str] = {}
        self._changed = asyncio.Event()

    def hold(self, held: Mapping[Work, str]) -> None:
        """Hold exactly this work from now on. The values are the reasons."""
        released = self._held.keys() - held.keys()
        self._held = dict(held)
        self._tell_waiting(is_released=bool(released))

    def hold_tables(self, held: Mapping[str, str]) -> None:
        """Hold exactly the work on these tables from now on. The values are the reasons."""
        released = self._held_tables.keys() - held.keys()
        self._held_tables = dict(held)
        self._tell_waiting(is_released=bool(released))

    def hold_reason(self, work: Work, datasets: Iterable[Dataset] = ()) -> str:
        """Why this work on these datasets must wait; empty when it may go on."""
        return self._held.get(work, "") or self.table_reason(datasets)

    def table_reason(self, datasets: Iterable[Dataset]) -> str:
        """Why nothing may be written into one of these datasets; empty when it may."""
        return next(filter(None, (self._held_tables.get(dataset.name, "") for dataset in datasets)), "")

    def _tell_waiting(self, *, is_released: bool) -> None:
        if is_released:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def wait_for_change(self, seconds: float = BEAT_SECONDS) -> None:
        """Wait until some held work may go on, at most this long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def wait_until_open(self, work: Work, report: Reporter, datasets: Sequence[Dataset] = ()) -> None:
        """Return at once if this work on these datasets may go on; otherwise report the reason, and beat, until it may."""
        if not self.hold_reason(work, datasets):
            return
        while reason := self.hold_reason(work, datasets):
            report.set_holding(reason)
            report.beat(did_something=False)
            await self.wait_for_change()
        report.set_waiting("what held it is over")
