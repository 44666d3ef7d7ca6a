"""What is written down about a feed, in order and by a task of its own, so that no socket waits for the ledger.

A row that cannot be written is kept and tried again. Before the first frame of a new connection is taken the listener
waits for `settled`: were the process killed between a frame and the gap before it, nobody would know of the gap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.offsets import Gap
from spotlightd.ports.ledger import Positions
from spotlightd.ports.metrics import Meters

WAITING_MOST = 1_000
RETRY_SECONDS = 1.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(nanoseconds: int) -> datetime:
    """Nanoseconds since 1970 as a time, rounded down to microseconds."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def nanoseconds(at: datetime) -> int:
    """A time as nanoseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class Note:
    """What a listener notes of itself: from `at` on it is in that state."""

    state: str
    at: datetime


class Minutes:
    """The gaps and notes of one feed on their way to the ledger."""

    def __init__(self, source: str, positions: Positions, meters: Meters, settle_seconds: float) -> None:
        self._source = source
        self._positions = positions
        self._meters = meters
        self._settle_seconds = settle_seconds
        self._waiting: deque[Gap | Note] = deque()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._ending = False

    def gap(self, gap: Gap) -> None:
        """Write that down. Too many that wait become one: the newest grows, and is then of all symbols."""
        logger(source=self._source).warning(
            "gap noted", cause=gap.cause, since=gap.since.isoformat(), until=gap.until.isoformat(), says=gap.says
        )
        self._meters.gap(self._source, gap.cause)
        last = self._waiting[-1] if self._waiting else None
        if len(self._waiting) >= WAITING_MOST and isinstance(last, Gap):
            says = "gaps that could not be written down one by one"
            since, until = min(last.since, gap.since), max(last.until, gap.until)
            self._waiting[-1] = replace(last, since=since, until=until, symbol="", says=says, repaired_by="")
        else:
            self._add(gap)

    def note(self, state: str, at: datetime) -> None:
        """Write down in which state the feed is from then on."""
        if self._waiting and isinstance(self._waiting[-1], Note) and len(self._waiting) > 1:
            self._waiting.pop()
        self._add(Note(state, at))

    async def settled(self) -> bool:
        """Wait until all is written, but not for ever; whether it is."""
        try:
            async with asyncio.timeout(self._settle_seconds):
                await self._none.wait()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the block runs, and what is left at its end, in bounded time."""
        self._ending = False
        task = asyncio.create_task(self._write_all(), name=f"gaps of {self._source}")
        try:
            yield
        finally:
            self._ending = True
            self._some.set()
            await asyncio.wait([task], timeout=self._settle_seconds)
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    def _add(self, one: Gap | Note) -> None:
        self._waiting.append(one)
        self._none.clear()
        self._some.set()

    async def _write_all(self) -> None:
        while self._waiting or not self._ending:
            if not self._waiting:
                self._some.clear()
                self._none.set()
                await self._some.wait()
                continue
            try:
                await self._write(self._waiting[0])
            except StoreError as problem:
                logger(source=self._source).warning("store failed", error=str(problem))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._waiting.popleft()
        self._none.set()

    async def _write(self, one: Gap | Note) -> None:
        if isinstance(one, Gap):
            await self._positions.gap(one)
        else:
            await self._positions.note_feed(self._source, one.state, one.at)
