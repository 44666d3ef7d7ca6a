"""The one serial publisher. Only its row in the warehouse's dataset `loads` makes a load visible.

The ledger holds the intent (seq and superseded loads) before that row is written, and the outcome after it. A
publication in an unknown state is finished before the next one begins: earlier attempts are ended, the row is looked
up, and written if it is missing. So every seq is used by exactly one load. Each attempt has its own token: the engine
records a token before the rows are in the table, so if it dies in between, it would ignore every repeat with the same
token as a duplicate.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from spotlightd.backoff import Clock
from spotlightd.datasets.system import loads as publications
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.provenance import Load
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse

NEWEST = "SELECT max(seq) AS seq, max(published_at) AS at FROM loads"
PRESENT = (
    "SELECT countIf(load_id = {load_id:UInt64}) AS own_rows, max(seq) AS newest FROM loads WHERE seq >= {seq:UInt64}"
)


class Publications:
    """Publishes loads one after the other. One object per state folder, made by the holder of its lock."""

    def __init__(self, ledger: Ledger, warehouse: Warehouse, clock: Clock | None = None) -> None:
        self._ledger = ledger
        self._warehouse = warehouse
        self._clock = clock or Clock()
        self._lock = asyncio.Lock()
        self._newest: tuple[int, datetime] | None = None  # seq and time; None when only the warehouse knows

    async def publish(self, load: Load) -> Load:
        """Make a `loaded` load visible. After a StoreError it stays `publishing` or `loaded`; `resume` finishes it."""
        async with self._lock:
            if self._newest is None:
                await self._finish_intended()
            return await self._write(await self._intend(load))

    async def resume(self) -> int:
        """Finish publications that were intended and then interrupted. Returns their number."""
        async with self._lock:
            return await self._finish_intended()

    async def _finish_intended(self) -> int:
        intended = await self._ledger.loads(states=("publishing",))
        for load in intended:
            await self._warehouse.end_statements(_token_prefix(load))
            row = await self._read_own_rows(load)
            if row["own_rows"]:
                await self._ledger.mark_published(load.load_id)
            elif await is_outdated(self._ledger, load):
                await self._ledger.mark_dead(load.load_id)
            elif row["newest"] >= load.seq:  # the ledger is an old backup: another load has used its seq
                await self._write(await self._intend(load))
            else:
                await self._write(load)
        return len(intended)

    async def _write(self, load: Load) -> Load:
        """Write the row of the publication. After any failure the next publication asks the warehouse first."""
        self._newest = None
        await self._warehouse.insert(
            publications, make_publication_rows(load), token=f"{_token_prefix(load)}{secrets.token_hex(4)}"
        )
        row = await self._read_own_rows(load)
        if row["own_rows"] != len(load.datasets):
            raise StoreError(f"publication {load.seq} was written, but `loads` lacks it: is the warehouse's disk full?")
        published = await self._ledger.mark_published(load.load_id)
        if load.published_at is not None:
            self._newest = load.seq, load.published_at
        logger(source=load.source).info(
            "load published", covers=load.covers, rows=sum(load.rows.values()), rejects=load.rejects, seq=load.seq,
            load_id=load.load_id,
        )  # fmt: skip
        return published

    async def _read_own_rows(self, load: Load) -> dict[str, Any]:
        """What `loads` says of a load from its `seq` on: its own rows, and the highest number."""
        return (await self._warehouse.rows(PRESENT, {"load_id": load.load_id, "seq": load.seq})).dicts()[0]

    async def _intend(self, load: Load) -> Load:
        seq, newest = self._newest or await self._read_newest()
        at = max(self._clock.utc(), newest + timedelta(microseconds=1))
        return await self._ledger.intend(load.load_id, seq + 1, await self.find_superseded(load), at)

    async def _read_newest(self) -> tuple[int, datetime]:
        newest = (await self._warehouse.rows(NEWEST)).dicts()[0]
        return newest["seq"], newest["at"]

    async def find_superseded(self, load: Load) -> list[int]:
        """The visible loads that the publication of this load replaces."""
        visible = await self._ledger.related_loads(load.source, load.covers, load.digest)
        others = [other for other in visible if other.load_id != load.load_id]
        return [other.load_id for other in others if replaces(load.covers, other.covers) or other.digest == load.digest]


async def is_outdated(ledger: Ledger, load: Load) -> bool:
    """Whether a later load was published that covers the same slice or a part of it, or any that covers a larger one."""
    published = await ledger.related_loads(load.source, load.covers, superseded=True)
    is_replaced = any(other.load_id > load.load_id and replaces(load.covers, other.covers) for other in published)
    return is_replaced or find_whole(load.covers, (other for other in published if not other.superseded_by)) is not None


def find_whole(covers: str, visible: Iterable[Load]) -> Load | None:
    """The visible load of a larger slice that contains this one, if there is one."""
    wholes = (load for load in visible if load.covers != covers and replaces(load.covers, covers))
    return next(wholes, None)


def replaces(newer: str, older: str) -> bool:
    """Whether a document for `newer` replaces one for `older`: `older` is the same slice or a part of it."""
    return older == newer or older.startswith(newer + "/")


def _token_prefix(load: Load) -> str:
    """The common prefix of the tokens of all attempts to publish a load."""
    return f"publication-{load.seq}-{load.load_id}-"


def make_publication_rows(load: Load) -> list[tuple[Any, ...]]:
    """The rows of a published load in the table `loads`, one for each of its datasets."""
    return [
        (
            load.seq, name, load.load_id, load.source, load.covers, load.digest, load.parser, load.rows.get(name, 0),
            load.rejects, list(load.supersedes), load.published_at, load.derived_from,
        )
        for name in load.datasets
    ]  # fmt: skip
