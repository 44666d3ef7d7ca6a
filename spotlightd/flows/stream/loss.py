"""Finds frames that are missing in a log although later ones of their connection are there.

Where a spool stands before the bus, it is asked to send again what it holds. What is still missing after a while is a
gap; where there is no spool, it is a gap at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import Any

from spotlightd.backoff import Backoff, Clock
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.gaps import to_datetime
from spotlightd.flows.stream.sequences import Hole, SequenceTracker, connections, of_connection
from spotlightd.log import logger
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import Stream

FILL_SECONDS = 30.0
RESEND = Backoff(first=30.0, most=3_600.0, jitter=0)


class LossTracker:
    """The holes of one stream that wait to be filled."""

    def __init__(self, source: Stream, context: DrainContext) -> None:
        self._source, self._context = source, context
        self._holes: list[tuple[float, Hole, Gap]] = []

    def record(self, keys: Any, sequences: SequenceTracker) -> None:
        """Remember these frames, and the holes before them."""
        before = {connection: sequences.last.get(connection) for connection in connections(keys)}
        for hole in sequences.note(keys):
            after = keys["received"][(keys["connection"] == hole.connection) & (keys["sequence"] == hole.hi)]
            until = hole.until or (int(after[0]) if len(after) else time_ns())
            since = hole.since or before.get(hole.connection) or until
            detail = f"frames {hole.lo} to {hole.hi - 1} of connection {hole.connection:016x} are not in the log"
            gap = Gap(self._source.name, to_datetime(since), to_datetime(until), "log lost", detail=detail)
            self._holes.append((monotonic(), hole, gap))
            logger(source=self._source.name).error("frames missing", detail=detail)
            if self._context.resend:
                self._context.resend(self._source.name)
        for connection in before:
            sequences.last[connection] = int(of_connection(keys, connection)["received"][-1])

    async def give_up(self, sequences: SequenceTracker) -> dict[int, int]:
        """Record each hole that was not filled in time as a gap. Returns, by connection of such holes, the sequence up
        to which nothing is waited for any more.
        """
        fill_seconds = FILL_SECONDS if self._context.resend else 0.0
        durable: dict[int, int] = {}
        for entry in [entry for entry in self._holes if monotonic() - entry[0] >= fill_seconds]:
            _, hole, gap = entry
            if sequences.is_open(hole):
                await self._context.positions.add_gap(gap)
                self._context.metrics.count("gaps_total", source=self._source.name, cause=gap.cause)
            self._holes.remove(entry)
            if sequences.give_up(hole):
                durable[hole.connection] = sequences.durable_sequence(hole.connection)
        return durable


@dataclass(slots=True)
class StallDetector:
    """Notices that the spool can free nothing although the drain goes on. Called once a second.

    After each resend that did not help, the pause before the next one doubles. `failures` counts those resends.
    """

    clock: Clock = field(default_factory=Clock)
    durable: int = -1
    offset: int = 0
    since: float = 0.0
    failures: int = 0

    def is_stalled(self, *, durable: int, waiting: int, offset: int, drained: bool) -> bool:
        """`durable` and `waiting` count frames of the spool. `offset` is how far the drain is, `drained` whether it is
        at the end.

        A drain that stands still is not a stall of the spool: what it has not read yet may be on the bus.
        """
        if durable != self.durable or not waiting:
            self.durable, self.offset, self.since, self.failures = durable, offset, self.clock.now(), 0
            return False
        pause = RESEND.pause(self.failures + 1)
        if self.clock.now() - self.since <= pause or not (drained or offset > self.offset):
            return False
        self.offset, self.since, self.failures = offset, self.clock.now(), self.failures + 1
        return True
