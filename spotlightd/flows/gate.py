"""What work must wait while a disk is too full, and how it waits: between two pieces of work, never within one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from spotlightd.flows.supervise import Reporter
from spotlightd.model.disk import Work

BEAT_SECONDS = 1.0


class Gate:
    """Nothing waits until somebody shuts it: a command without a daemon has one that nobody does."""

    def __init__(self) -> None:
        self._held: Mapping[Work, str] = {}
        self._changed = asyncio.Event()

    def shut(self, held: Mapping[Work, str]) -> None:
        """Hold that work from now on, for the reasons told, and none that is not named."""
        opened = self._held.keys() - held.keys()
        self._held = dict(held)
        if opened:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def why(self, work: Work) -> str:
        """Why that work must wait; empty when it may go on."""
        return self._held.get(work, "")

    async def moved(self, seconds: float = BEAT_SECONDS) -> None:
        """Until some work may go on that was held, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def passed(self, work: Work, report: Reporter) -> None:
        """At once while that work may go on; else the flow says why it waits, and beats, until it may."""
        if not self.why(work):
            return
        while why := self.why(work):
            report.holding(why)
            report.beat(did_something=False)
            await self.moved()
        report.waiting("there is room again")
