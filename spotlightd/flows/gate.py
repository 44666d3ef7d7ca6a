"""Holds work while a disk is too full. Work waits between two pieces, never within one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from spotlightd.flows.supervise import Reporter
from spotlightd.model.disk import Work

BEAT_SECONDS = 1.0


class Gate:
    """Nothing waits until `hold` is called. Commands that run without a daemon use a gate that never holds."""

    def __init__(self) -> None:
        self._held: Mapping[Work, str] = {}
        self._changed = asyncio.Event()

    def hold(self, held: Mapping[Work, str]) -> None:
        """Hold exactly this work from now on. The values are the reasons."""
        released = self._held.keys() - held.keys()
        self._held = dict(held)
        if released:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def hold_reason(self, work: Work) -> str:
        """Why this work must wait; empty when it may go on."""
        return self._held.get(work, "")

    async def wait_for_change(self, seconds: float = BEAT_SECONDS) -> None:
        """Wait until some held work may go on, at most this long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def wait_until_open(self, work: Work, report: Reporter) -> None:
        """Return at once if this work may go on; otherwise report the reason, and beat, until it may."""
        if not self.hold_reason(work):
            return
        while reason := self.hold_reason(work):
            report.set_holding(reason)
            report.beat(did_something=False)
            await self.wait_for_change()
        report.set_waiting("there is room again")
