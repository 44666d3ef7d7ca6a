"""Which load the frames of a received day go into. A day has parts; each part is one load, published empty and then filled.

A day normally has one part. Another part is opened when the decode has changed, and when the part before was closed:
because the day is over and bars were made of it, or because it is being replayed. A replay makes a new load for the same
part, which supersedes the old load and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

from spotlightd.errors import StoreError
from spotlightd.flows.loads.publish import Publications
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream, covers, load_digest
from spotlightd.ports.ledger import Ledger, Positions

INTENT_WAIT_SECONDS = 60.0
INTENT_PAUSE_SECONDS = 0.02


class Parts:
    """The parts of all streams. One instance for each state folder: drains, replays and closings exclude each other here."""

    def __init__(self, ledger: Ledger, publications: Publications, positions: Positions) -> None:
        self._ledger, self._publications, self._positions = ledger, publications, positions
        self._locks: dict[str, asyncio.Lock] = {}
        self._open: dict[tuple[str, date], Load] = {}

    @asynccontextmanager
    async def open_load(self, source: Stream, day: date) -> AsyncIterator[Load]:
        """The load that frames of that day go into. It is not closed while the block runs, so intend within the block."""
        async with self._lock(source):
            yield await self._find_open_load(source, day)

    async def close(self, source: Stream, day: date) -> list[Load]:
        """Close the day's visible loads and return them by part. Frames that still arrive go into another part."""
        async with self._lock(source):
            loads = await self.list_visible(source, day)
            for load in loads:
                if not load.closed:
                    await self._ledger.close_load(load.load_id)
            self._open.pop((source.name, day), None)
        await self._wait_for_intents(source, {load.load_id for load in loads})
        return loads

    async def list_visible(self, source: Stream, day: date) -> list[Load]:
        """The loads whose rows of that day are visible now, by part."""
        visible = await self._ledger.related_loads(source.name, covers(day))
        return sorted((load for load in visible if load.covers.startswith(covers(day) + "/")), key=part_of)

    async def list_open_days(self, source: Stream) -> list[date]:
        """Days that have a part which is not closed, oldest first."""
        return sorted({day_of(load) for load in await self._ledger.open_loads(source.name)})

    async def _find_open_load(self, source: Stream, day: date) -> Load:
        known = self._open.get((source.name, day))
        if known is not None:
            return known
        loads = await self.list_visible(source, day)
        newest = loads[-1] if loads else None
        if newest is None or newest.parser != source.parser or await self._is_closed(newest):
            newest = await self._begin(source, day, part_of(newest) + 1 if newest else 1)
        self._open[source.name, day] = newest
        return newest

    async def _is_closed(self, load: Load) -> bool:
        """Closed, or used by a transform: an older ledger does not know that the load is closed then."""
        return load.closed or bool(await self._ledger.derived_loads([load.load_id]))

    async def _begin(self, source: Stream, day: date, part: int) -> Load:
        load = await self._ledger.begin_load(source, load_digest(source.name, day, part), covers(day, part))
        return await self._publications.publish(await self._ledger.mark_loaded(load.load_id, {}, ()))

    async def _wait_for_intents(self, source: Stream, load_ids: set[int]) -> None:
        until = asyncio.get_running_loop().time() + INTENT_WAIT_SECONDS
        while any(intent.load_id in load_ids for intent in await self._positions.intents(source.name)):
            if asyncio.get_running_loop().time() > until:
                raise StoreError(f"frames of {source.name} are still being moved after {INTENT_WAIT_SECONDS:g} s")
            await asyncio.sleep(INTENT_PAUSE_SECONDS)

    def _lock(self, source: Stream) -> asyncio.Lock:
        return self._locks.setdefault(source.name, asyncio.Lock())


def part_of(load: Load) -> int:
    """The number of the part of the day that the load covers."""
    return int(load.covers.rsplit("/", 1)[1])


def day_of(load: Load) -> date:
    """The received day that the load covers, or covers a part of."""
    year, month, day, *_ = load.covers.split("/")
    return date(int(year), int(month), int(day))
