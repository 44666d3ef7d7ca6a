"""Holes in a venue's own numbers: noticed as frames come, refilled where the venue allows it, written down in any case.

A number that is missing has a moment of grace, because frames come out of order; one that came late or twice is kept
like all others. Numbers begin anew with each connection: what was missed between two is a gap of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from spotlightd.errors import SpotlightError
from spotlightd.flows.stream.gaps import Minutes, moment
from spotlightd.flows.stream.timing import Clock, ListenerTiming
from spotlightd.log import logger
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import Stream

CHANNELS_MOST = 10_000
OPEN_MOST = 1_000


@dataclass(slots=True)
class Hole:
    """Numbers `first` to `last` of a channel did not come; those in `came` did later. `due` = when grace is over."""

    channel: str
    first: int
    last: int
    since: int
    until: int
    due: float
    came: set[int] = field(default_factory=set)

    @property
    def closed(self) -> bool:
        return len(self.came) > self.last - self.first


class VenueSequence:
    """The numbers of one feed. `keep` takes a refilled frame as if it had been received; False when there is no room."""

    def __init__(
        self, stream: Stream, minutes: Minutes, keep: Callable[[bytes], bool], patience: ListenerTiming, clock: Clock
    ) -> None:
        self._stream = stream
        self._minutes = minutes
        self._keep = keep
        self._patience = patience
        self._clock = clock
        self._highest: dict[str, tuple[int, int]] = {}
        self._open: deque[Hole] = deque()
        self._some = asyncio.Event()

    def begin(self) -> None:
        """A new connection: its numbers are its own."""
        self._highest.clear()

    def saw(self, value: bytes, received: int) -> None:
        """A frame came."""
        told = self._stream.numbered(value) if self._stream.numbered else None
        if told is None:
            return
        channel, number = told
        before = self._highest.get(channel)
        if before is None:
            if len(self._highest) < CHANNELS_MOST:
                self._highest[channel] = (number, received)
            return
        highest, at = before
        if number <= highest:
            self._late(channel, number)
            return
        self._highest[channel] = (number, received)
        if number > highest + 1:
            due = self._clock.now() + self._patience.grace
            self._missing(Hole(channel, highest + 1, number - 1, at, received, due))

    async def settling(self) -> None:
        """Settle the holes, one after the other, each when its grace is over."""
        while True:
            while not self._open:
                self._some.clear()
                await self._some.wait()
            await self._clock.sleep(max(0.0, self._open[0].due - self._clock.now()))
            hole = self._open[0]
            refilled = not hole.closed and await self._refilled(hole)
            self._open.popleft()
            if refilled or not hole.closed:
                self._written(hole, "refill" if refilled else "")

    def stopped(self) -> None:
        """Write down what is open."""
        while self._open:
            hole = self._open.popleft()
            if not hole.closed:
                self._written(hole, "")

    def _late(self, channel: str, number: int) -> None:
        for hole in self._open:
            if hole.channel == channel and hole.first <= number <= hole.last:
                hole.came.add(number)

    def _missing(self, hole: Hole) -> None:
        if len(self._open) >= OPEN_MOST:
            self._written(hole, "")
            return
        self._open.append(hole)
        self._some.set()

    async def _refilled(self, hole: Hole) -> bool:
        """Ask the venue for what is missing, and keep it; whether nothing is missing then."""
        if self._stream.refill is None or self._stream.numbered is None:
            return False
        try:
            async with asyncio.timeout(self._patience.refill):
                values = await self._stream.refill(hole.channel, hole.first, hole.last)
        except (TimeoutError, SpotlightError) as problem:
            logger(source=self._stream.name).warning("source failed", error=f"no refill: {problem or 'no answer'}")
            return False
        for value in values:
            told = self._stream.numbered(value)
            wanted = told is not None and told[0] == hole.channel and hole.first <= told[1] <= hole.last
            if told is not None and wanted and told[1] not in hole.came and self._keep(value):
                hole.came.add(told[1])
        return hole.closed

    def _written(self, hole: Hole, repaired_by: str) -> None:
        came = f", of which {len(hole.came)} came later" if hole.came and not repaired_by else ""
        numbers = f"number {hole.first}" if hole.first == hole.last else f"numbers {hole.first} to {hole.last}"
        since, until = moment(hole.since), moment(max(hole.since, hole.until))
        gap = Gap(
            self._stream.name, since, until, "sequence hole", hole.channel, f"{numbers}{came}", repaired_by
        )  # fmt: skip
        self._minutes.gap(gap)
