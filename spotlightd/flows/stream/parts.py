"""Which load the frames of a received day go into: a day's parts, each one load, published empty and filled from then on.

A day has one part as a rule. Another one is opened when the decode has changed, and when the part before was closed:
because the day is over and bars were made of it, or because it is being replayed. A replay makes a new load for the
same part, which supersedes the old one and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

from spotlightd.errors import StoreError
from spotlightd.flows.loads.publish import Publications, select_current
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream, covers, load_digest
from spotlightd.ports.ledger import Ledger, Positions

SETTLE_SECONDS = 60.0
SETTLE_PAUSE_SECONDS = 0.02


class Parts:
    """The parts of all streams. One instance per state folder: the drains, replays and closings take turns here."""

    def __init__(self, ledger: Ledger, publications: Publications, positions: Positions) -> None:
        self._ledger, self._publications, self._positions = ledger, publications, positions
        self._turns: dict[str, asyncio.Lock] = {}
        self._open: dict[tuple[str, date], Load] = {}

    @asynccontextmanager
    async def using(self, source: Stream, day: date) -> AsyncIterator[Load]:
        """The load that frames of that day go into. It is not closed while the block runs, so intend within it."""
        async with self._turn(source):
            yield await self._opened(source, day)

    async def close(self, source: Stream, day: date) -> list[Load]:
        """The day's visible loads, by part, into which no more rows go: frames that still come get another part."""
        async with self._turn(source):
            loads = await self.of(source, day)
            closing = [one for one in loads if not one.closed]
            for load in closing:
                await self._ledger.close_load(load.load_id)
            self._open.pop((source.name, day), None)
        await self._settled(source, {load.load_id for load in loads})
        return loads

    async def of(self, source: Stream, day: date) -> list[Load]:
        """The loads whose rows of that day are visible now, by part."""
        published = select_current(await self._ledger.loads(source.name, states=("published",)))
        return sorted((one for one in published if one.covers.startswith(covers(day) + "/")), key=part_of)

    async def open_days(self, source: Stream) -> list[date]:
        """Days that still have a part that rows may go into, oldest first."""
        published = select_current(await self._ledger.loads(source.name, states=("published",)))
        return sorted({day_of(one) for one in published if not one.closed})

    async def _opened(self, source: Stream, day: date) -> Load:
        known = self._open.get((source.name, day))
        if known is not None:
            return known
        loads = await self.of(source, day)
        newest = loads[-1] if loads else None
        if newest is None or newest.parser != source.parser or await self._is_closed(newest):
            newest = await self._begin(source, day, part_of(newest) + 1 if newest else 1)
        self._open[source.name, day] = newest
        return newest

    async def _is_closed(self, load: Load) -> bool:
        """Also when something was made of it, and the ledger is an older one that does not know."""
        made_of = {one.derived_from for one in await self._ledger.loads(states=("published",))}
        return load.closed or load.load_id in made_of

    async def _begin(self, source: Stream, day: date, part: int) -> Load:
        begun = await self._ledger.begin_load(source, load_digest(source.name, day, part), covers(day, part))
        return await self._publications.publish(await self._ledger.mark_loaded(begun.load_id, {}, ()))

    async def _settled(self, source: Stream, loads: set[int]) -> None:
        until = asyncio.get_running_loop().time() + SETTLE_SECONDS
        while any(one.load_id in loads for one in await self._positions.intents(source.name)):
            if asyncio.get_running_loop().time() > until:
                raise StoreError(f"frames of {source.name} are still being moved after {SETTLE_SECONDS:g} s")
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)

    def _turn(self, source: Stream) -> asyncio.Lock:
        return self._turns.setdefault(source.name, asyncio.Lock())


def part_of(load: Load) -> int:
    """The number of the part of the day that the load covers."""
    return int(load.covers.rsplit("/", 1)[1])


def day_of(load: Load) -> date:
    """The received day that the load covers, or covers a part of."""
    year, month, day, *_ = load.covers.split("/")
    return date(int(year), int(month), int(day))
