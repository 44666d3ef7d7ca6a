"""Frames that a log should hold and does not: later ones of their connection are there.

Where a spool stands before the bus it is asked to send again what it holds. What is still missing after a while, or at
once where there is no spool, is a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time_ns
from typing import Any

from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.sequences import Hole, SequenceTracker, connections, of_connection
from spotlightd.log import logger
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import Stream

PATIENCE_SECONDS = 30.0


class LossTracker:
    """The holes of one stream that wait to be filled."""

    def __init__(self, source: Stream, means: DrainContext) -> None:
        self._source, self._means = source, means
        self._holes: list[tuple[float, Hole, Gap]] = []

    def note(self, keys: Any, seen: SequenceTracker) -> None:
        """Remember these frames, and the holes before them."""
        before = {one: seen.last.get(one) for one in connections(keys)}
        for hole in seen.note(keys):
            after = keys["received"][(keys["connection"] == hole.connection) & (keys["sequence"] == hole.hi)]
            until = hole.until or (int(after[0]) if len(after) else time_ns())
            since = hole.since or before.get(hole.connection) or until
            says = f"frames {hole.lo} to {hole.hi - 1} of connection {hole.connection:016x} are not in the log"
            gap = Gap(self._source.name, _moment(since), _moment(until), "log lost", detail=says)
            self._holes.append((monotonic(), hole, gap))
            logger(source=self._source.name).error("frames missing", says=says)
            if self._means.resend:
                self._means.resend(self._source.name)
        for connection in before:
            seen.last[connection] = int(of_connection(keys, connection)["received"][-1])

    async def give_up(self, seen: SequenceTracker) -> dict[int, int]:
        """A hole that nobody filled in time is a gap. By connection: up to which sequence nothing is waited for now."""
        patience = PATIENCE_SECONDS if self._means.resend else 0.0
        whole: dict[int, int] = {}
        for one in [each for each in self._holes if monotonic() - each[0] >= patience]:
            _, hole, gap = one
            if seen.is_missing(hole):
                await self._means.positions.add_gap(gap)
                self._means.metrics.count("gaps_total", source=self._source.name, cause=gap.cause)
            self._holes.remove(one)
            if seen.give_up(hole):
                whole[hole.connection] = seen.whole(hole.connection)
        return whole


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


FIRST_SECONDS = 30.0


MOST_SECONDS = 3_600.0


@dataclass(slots=True)
class StallDetector:
    """Looked at once a second. Each time that sending again did not help, twice as long passes before the next."""

    clock: Callable[[], float] = monotonic
    freed: int = -1
    offset: int = 0
    since: float = 0.0
    patience: float = FIRST_SECONDS

    def is_so(self, *, freed: int, waiting: int, offset: int, drained: bool) -> bool:
        """`freed` and `waiting` count frames of the spool; `offset` is how far the drain is, `drained` whether at the end.

        A drain that stands still is no reason: what it has not read yet need not be lost.
        """
        if freed != self.freed or not waiting:
            self.freed, self.offset, self.since, self.patience = freed, offset, self.clock(), FIRST_SECONDS
            return False
        if self.clock() - self.since <= self.patience or not (drained or offset > self.offset):
            return False
        self.offset, self.since = offset, self.clock()
        self.patience = min(self.patience * 2, MOST_SECONDS)
        return True
