"""Writes what happens to a feed to the ledger, in order and in a task of its own, so that no socket waits for the ledger.

A row that cannot be written stays in the queue and is tried again. Before a listener takes the first frame of a new
connection it calls `wait_until_empty`: if the process were killed between a frame and the gap before it, the gap would
be unknown.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.offsets import Gap
from spotlightd.ports.ledger import Positions
from spotlightd.ports.metrics import Metrics

QUEUE_MOST = 1_000
RETRY_SECONDS = 1.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(nanoseconds: int) -> datetime:
    """Nanoseconds since 1970 as a time, rounded down to microseconds."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def to_nanoseconds(at: datetime) -> int:
    """A time as nanoseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class FeedNote:
    """The state that a listener is in from `at` on."""

    state: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RefusalNote:
    """The venue refuses the symbol from `since` on; None: no longer."""

    symbol: str
    since: datetime | None


Entry = Gap | FeedNote | RefusalNote


class GapJournal:
    """The gaps and notes of one feed on their way to the ledger."""

    def __init__(self, source: str, positions: Positions, metrics: Metrics, ledger_seconds: float) -> None:
        self._source = source
        self._positions = positions
        self._metrics = metrics
        self._ledger_seconds = ledger_seconds
        self._queue: deque[Entry] = deque()
        self._not_empty = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._is_ending = False

    def add_gap(self, gap: Gap) -> None:
        """Queue a gap. When the queue is full, the newest gap grows instead, and then applies to all symbols."""
        logger(source=self._source).warning(
            "gap recorded", cause=gap.cause, symbol=gap.symbol, since=gap.since.isoformat(), until=gap.until.isoformat(),
            detail=gap.detail,
        )  # fmt: skip
        self._metrics.count("gaps_total", source=self._source, cause=gap.cause)
        if len(self._queue) < QUEUE_MOST or not self._grow_newest(gap):
            self._add(gap)

    def add_note(self, state: str, at: datetime) -> None:
        """Queue the state that the feed is in from then on. Only the newest state waits."""
        self._forget(lambda entry: isinstance(entry, FeedNote))
        self._add(FeedNote(state, at))

    def add_refusal(self, symbol: str, since: datetime | None) -> None:
        """Queue that the venue refuses a symbol from then on, or no longer. Only the newest note of a symbol waits."""
        self._forget(lambda entry: isinstance(entry, RefusalNote) and entry.symbol == symbol)
        self._add(RefusalNote(symbol, since))

    async def wait_until_empty(self) -> bool:
        """Wait until the queue is empty, for a bounded time. True when it is."""
        try:
            async with asyncio.timeout(self._ledger_seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def write_in_background(self) -> AsyncIterator[None]:
        """Write while the block runs, and at its end what is left, in bounded time."""
        self._is_ending = False
        task = asyncio.create_task(self._write_all(), name=f"gaps of {self._source}")
        try:
            yield
        finally:
            self._is_ending = True
            self._not_empty.set()
            await asyncio.wait([task], timeout=self._ledger_seconds)
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    def _forget(self, is_old: Callable[[Entry], bool]) -> None:
        """Take these entries out of the queue, except the first one: it may be written right now."""
        for index in reversed(range(1, len(self._queue))):
            if is_old(self._queue[index]):
                del self._queue[index]

    def _grow_newest(self, gap: Gap) -> bool:
        """Let the newest gap that waits cover this one too. False when none waits; the first entry may be written now."""
        for index in reversed(range(1, len(self._queue))):
            newest = self._queue[index]
            if isinstance(newest, Gap):
                detail = "gaps that could not be recorded one by one"
                since, until = min(newest.since, gap.since), max(newest.until, gap.until)
                self._queue[index] = replace(
                    newest, since=since, until=until, symbol="", detail=detail, repaired_by=""
                )  # fmt: skip
                return True
        return False

    def _add(self, entry: Entry) -> None:
        self._queue.append(entry)
        self._empty.clear()
        self._not_empty.set()

    async def _write_all(self) -> None:
        while self._queue or not self._is_ending:
            if not self._queue:
                self._not_empty.clear()
                self._empty.set()
                await self._not_empty.wait()
                continue
            try:
                await self._write(self._queue[0])
            except StoreError as problem:
                logger(source=self._source).warning("store failed", error=str(problem))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._queue.popleft()
        self._empty.set()

    async def _write(self, entry: Entry) -> None:
        match entry:
            case Gap():
                await self._positions.add_gap(entry)
            case FeedNote():
                await self._positions.save_feed_state(self._source, entry.state, entry.at)
            case RefusalNote():
                await self._positions.save_refused_symbol(self._source, entry.symbol, entry.since)
