"""Holes in a venue's own numbering. They are noticed as frames arrive, refilled where the venue allows it, and always
recorded.

A missing number has a grace period, because frames can arrive out of order. A frame that is late or repeated is stored
like any other. Numbering begins again with each connection: what was missed between two connections is a gap of its own.
A venue that begins to count anew on an open connection gives a gap of that kind: nobody knows what it left out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from spotlightd.backoff import Clock
from spotlightd.errors import SpotlightError
from spotlightd.flows.stream.feed.channel_numbers import ChannelNumbers, Hole, Restart
from spotlightd.flows.stream.feed.timing import ListenerTiming
from spotlightd.flows.stream.gaps import GapJournal, to_datetime
from spotlightd.log import logger
from spotlightd.model.offsets import Gap
from spotlightd.model.stream import Stream

CHANNELS_MOST = 10_000
OPEN_MOST = 1_000


class VenueSequence:
    """The numbers of one feed. `keep_frame` takes a refilled frame as if it had been received; it returns False when
    there is no room.
    """

    def __init__(
        self,
        stream: Stream,
        journal: GapJournal,
        keep_frame: Callable[[bytes], bool],
        timing: ListenerTiming,
        clock: Clock,
    ) -> None:
        self._stream = stream
        self._journal = journal
        self._keep_frame = keep_frame
        self._timing = timing
        self._clock = clock
        self._channels: dict[str, ChannelNumbers] = {}
        self._holes: deque[Hole] = deque()
        self._has_holes = asyncio.Event()

    def start_connection(self) -> None:
        """Numbering begins again."""
        self._channels.clear()

    def note_frame(self, value: bytes, received: int) -> None:
        """Compare the number of a frame with those before it."""
        numbered = self._stream.venue_number(value) if self._stream.venue_number else None
        if numbered is None:
            return
        channel, number = numbered
        known = self._channels.get(channel)
        if known is not None:
            for found in known.note(number, received, now=self._clock.now(), grace=self._timing.grace):
                self._add(found)
        elif len(self._channels) < CHANNELS_MOST:
            self._channels[channel] = ChannelNumbers(channel, number, received)

    async def recover_holes(self) -> None:
        """Until it is cancelled: refill or record each hole, in order, when its grace period is over."""
        while True:
            while not self._holes:
                self._has_holes.clear()
                await self._has_holes.wait()
            await self._clock.sleep(max(0.0, self._holes[0].due - self._clock.now()))
            hole = self._holes[0]
            is_refilled = not hole.is_filled and await self._refill(hole)
            self._holes.popleft()
            if is_refilled or not hole.is_filled:
                self._record(hole, "refill" if is_refilled else "")

    def stop(self) -> None:
        """Record the holes that are open."""
        while self._holes:
            hole = self._holes.popleft()
            if not hole.is_filled:
                self._record(hole, "")

    def _add(self, found: Hole | Restart) -> None:
        if isinstance(found, Restart):
            self._record_restart(found)
        elif len(self._holes) >= OPEN_MOST:
            self._record(found, "")
        else:
            self._holes.append(found)
            self._has_holes.set()

    async def _refill(self, hole: Hole) -> bool:
        """Ask the venue for the missing frames and keep them. True when nothing is missing afterwards."""
        if self._stream.refill is None or self._stream.venue_number is None or not hole.is_refillable:
            return False
        try:
            async with asyncio.timeout(self._timing.refill):
                values = await self._stream.refill(hole.channel, hole.first, hole.last)
        except (TimeoutError, SpotlightError) as problem:
            logger(source=self._stream.name).warning("source failed", error=f"no refill: {problem or 'no answer'}")
            return False
        for value in values:
            numbered = self._stream.venue_number(value)
            if numbered is None or numbered[0] != hole.channel or not hole.first <= numbered[1] <= hole.last:
                continue
            if numbered[1] not in hole.arrived and self._keep_frame(value):
                hole.arrived.add(numbered[1])
        return hole.is_filled

    def _record(self, hole: Hole, repaired_by: str) -> None:
        late = f", of which {len(hole.arrived)} came later" if hole.arrived and not repaired_by else ""
        numbers = f"number {hole.first}" if hole.first == hole.last else f"numbers {hole.first} to {hole.last}"
        since, until = to_datetime(hole.since), to_datetime(max(hole.since, hole.until))
        gap = Gap(
            self._stream.name, since, until, "sequence hole", hole.channel, f"{numbers}{late}", repaired_by
        )  # fmt: skip
        self._journal.add_gap(gap)

    def _record_restart(self, restart: Restart) -> None:
        since, until = to_datetime(restart.since), to_datetime(max(restart.since, restart.until))
        detail = f"the venue counts anew from {restart.first}, after {restart.highest}"
        self._journal.add_gap(
            Gap(self._stream.name, since, until, "sequence restart", restart.channel, detail)
        )  # fmt: skip
