"""Confirms moved batches in groups: one statement counts the frames and rows of each, one transaction completes them.

To count ten small batches costs the engine what it costs to count one. Until a batch is confirmed it is an open intent, as
while it was being moved: the position is before it, its frames stay in the spool, and a crash or a failed count leaves it to
the recovery, which counts it by itself. Readers see its rows before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from spotlightd.errors import StoreError
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.moving.move import FINISH_SECONDS, Mover, finish_moves
from spotlightd.log import logger
from spotlightd.model.offsets import Completion, Intent

GROUP_BATCHES = 8
GROUP_FRAMES = 10_000  # a large batch is confirmed at once: its count is cheap beside it, and its frames fill the spool
GROUP_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Moved:
    """A batch whose frames and rows are written, and not counted yet.

    `since` is when its first frame was received, `durable` the sequence by connection up to which nothing is missing.
    """

    completion: Completion
    since: datetime
    rows: int
    durable: Mapping[int, int]

    @property
    def intent(self) -> Intent:
        return self.completion.intent


class Confirmer:
    """Confirms the batches of one partition, in order. `offset`: all before it are confirmed."""

    def __init__(self, context: DrainContext, mover: Mover, offset: int) -> None:
        self.offset = offset
        self._context, self._mover = context, mover
        self._waiting: list[Moved] = []
        self._since = 0.0
        self._lock = asyncio.Lock()

    async def add(self, moved: Moved) -> None:
        """Confirm the batch with those that wait, now or later. Batches come in order, one at a time."""
        if self._waiting and self._waiting[0].intent.load_id != moved.intent.load_id:
            await self.confirm()
        if not self._waiting:
            self._since = monotonic()
        self._waiting.append(moved)
        frames = sum(batch.intent.frames for batch in self._waiting)
        if moved.completion.lost or len(self._waiting) >= GROUP_BATCHES or frames >= GROUP_FRAMES:
            await self.confirm()

    async def confirm_due(self) -> None:
        """Confirm when the oldest batch has waited for as long as a group takes to fill up."""
        if self._waiting and monotonic() - self._since >= min(
            GROUP_SECONDS, GROUP_BATCHES * self._context.batch_seconds
        ):
            await self.confirm()

    async def confirm(self) -> None:
        """Count and complete all batches that wait. StoreError unless each of them is in the warehouse, once."""
        async with self._lock:
            group = tuple(self._waiting)
            if not group:
                return
            rows = {moved.intent: moved.rows for moved in group}
            await self._mover.check_counts(rows, min(moved.since for moved in group))
            await self._context.positions.complete(*(moved.completion for moved in group))
            del self._waiting[: len(group)]
            self._since, self.offset = monotonic(), group[-1].intent.hi
            durable = {connection: sequence for moved in group for connection, sequence in moved.durable.items()}
            await self._context.spool.mark_durable(self._mover.source.name, durable)

    async def finish(self, moves: Collection[asyncio.Task[None]]) -> None:
        """Let these moves finish, and confirm what waits. What is not confirmed in time is recovered at the next start."""
        until = monotonic() + FINISH_SECONDS
        await finish_moves(moves)
        try:
            async with asyncio.timeout(max(0.0, until - monotonic())):
                await self.confirm()
        except (StoreError, TimeoutError) as problem:
            logger(source=self._mover.source.name).warning(
                "move not completed", error=str(problem) or "it took too long"
            )
