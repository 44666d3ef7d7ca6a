"""The one serial publisher: a load becomes visible by its row in the warehouse's `loads`, and by nothing else.

The ledger holds the intent (which seq, which loads it supersedes) before that row is written and the outcome after.
A publication whose row may or may not be there is settled before the next one is begun: no earlier attempt runs any more,
the row is looked for, and written if it is not there, so that every seq is used by exactly one load. Each attempt has a
token of its own: the engine notes a token before the rows are in the table, so that after its death in between a repeat
under the same token would be taken for a double, for ever.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from spotlightd.datasets.system import loads as publications
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.provenance import Load
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse

NEWEST = "SELECT max(seq) AS seq, max(published_at) AS at FROM loads"
PRESENT = "SELECT countIf(load_id = {load_id:UInt64}) AS mine, max(seq) AS newest FROM loads"


class Publications:
    """Publishes loads one after the other. One instance per state folder, made by the holder of its lock."""

    def __init__(
        self, ledger: Ledger, warehouse: Warehouse, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._ledger = ledger
        self._warehouse = warehouse
        self._clock = clock
        self._turn = asyncio.Lock()
        self._newest: tuple[int, datetime] | None = None  # seq and time; None when the warehouse has to be asked

    async def publish(self, load: Load) -> Load:
        """Make a `loaded` load visible. StoreError leaves it `publishing` or `loaded`: `settle` finishes it."""
        async with self._turn:
            if self._newest is None:
                await self._settle_all()
            return await self._write(await self._intend(load))

    async def settle(self) -> int:
        """Finish publications that were intended and then interrupted. Answers how many there were."""
        async with self._turn:
            return await self._settle_all()

    async def _settle_all(self) -> int:
        open_ones = await self._ledger.loads(states=("publishing",))
        published = await self._ledger.loads(states=("published",))
        for load in open_ones:
            await self._warehouse.ended(_name(load))
            found = (await self._warehouse.rows(PRESENT, {"load_id": load.load_id})).dicts()[0]
            if found["mine"]:
                await self._ledger.published(load.load_id)
            elif is_outdated(load, published):
                await self._ledger.dead(load.load_id)
            elif found["newest"] >= load.seq:  # the ledger came back from a backup: its seq has been used since
                await self._write(await self._intend(load))
            else:
                await self._write(load)
        return len(open_ones)

    async def _write(self, load: Load) -> Load:
        """The publication itself. Whatever goes wrong, the warehouse is asked before the next one."""
        self._newest = None
        await self._warehouse.insert(publications, _rows(load), token=f"{_name(load)}{secrets.token_hex(4)}")
        found = (await self._warehouse.rows(PRESENT, {"load_id": load.load_id})).dicts()[0]
        if found["mine"] != len(load.datasets):
            raise StoreError(f"publication {load.seq} was written, and is not there: is the warehouse's disk full?")
        done = await self._ledger.published(load.load_id)
        if load.published_at is not None:
            self._newest = load.seq, load.published_at
        logger(source=load.source).info(
            "load published", covers=load.covers, rows=sum(load.rows.values()), rejects=load.rejects, seq=load.seq,
            load_id=load.load_id,
        )  # fmt: skip
        return done

    async def _intend(self, load: Load) -> Load:
        seq, newest = self._newest or await self._asked()
        at = max(self._clock(), newest + timedelta(microseconds=1))
        return await self._ledger.intend(load.load_id, seq + 1, await self._superseded_by(load), at)

    async def _asked(self) -> tuple[int, datetime]:
        newest = (await self._warehouse.rows(NEWEST)).dicts()[0]
        return newest["seq"], newest["at"]

    async def _superseded_by(self, load: Load) -> list[int]:
        visible = current(await self._ledger.loads(load.source, states=("published",)))
        others = [one for one in visible if one.load_id != load.load_id]
        return [one.load_id for one in others if replaces(load.covers, one.covers) or one.digest == load.digest]


def current(published: Iterable[Load]) -> list[Load]:
    """Those of the published loads that no other one supersedes."""
    loads = list(published)
    gone = {load_id for load in loads for load_id in load.supersedes}
    return [load for load in loads if load.load_id not in gone]


def is_outdated(load: Load, published: Iterable[Load]) -> bool:
    """Whether a load that was begun later, of the same slice or one around or inside it, has been published since."""
    later = [one for one in published if one.source == load.source and one.load_id > load.load_id]
    return any(replaces(one.covers, load.covers) or replaces(load.covers, one.covers) for one in later)


def replaces(newer: str, older: str) -> bool:
    """Whether a document that covers `newer` replaces one that covers `older`: the same slice, or a part of it."""
    return older == newer or older.startswith(newer + "/")


def _name(load: Load) -> str:
    """How the tokens of all attempts to publish a load begin."""
    return f"publication-{load.seq}-{load.load_id}-"


def _rows(load: Load) -> list[tuple[Any, ...]]:
    return [
        (
            load.seq, name, load.load_id, load.source, load.covers, load.digest, load.parser, load.rows.get(name, 0),
            load.rejects, list(load.supersedes), load.published_at, load.derived_from,
        )
        for name in load.datasets
    ]  # fmt: skip
