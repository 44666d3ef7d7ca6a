"""The one serial publisher. Only its row in the warehouse's dataset `loads` makes a load visible.

The ledger holds the intent (seq and superseded loads) before that row is written, and the outcome after it. A
publication in an unknown state is finished before the next one begins: earlier attempts are ended, the row is looked
up, and written if it is missing. So every seq is used by exactly one load. Each attempt has its own token: the engine
records a token before the rows are in the table, so if it dies in between, it would ignore every repeat with the same
token as a duplicate.

Loads of a group are published in one insert, which is one block: all of its rows are there or none. Each load has a seq of
its own. A reader takes the highest seq, so it sees the whole group or nothing of it; `as_of` an earlier seq or time it sees
the first loads of the group, as if they had been published one after the other.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from spotlightd.backoff import Clock
from spotlightd.datasets.system import loads as publications
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Load
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.warehouse import Warehouse

NEWEST = "SELECT max(seq) AS seq, max(published_at) AS at FROM loads"
WRITTEN = (
    "SELECT load_id, count() FROM loads WHERE load_id IN {ids:Array(UInt64)} AND seq >= {seq:UInt64} GROUP BY load_id"
)
TICK = timedelta(microseconds=1)


class Publications:
    """Publishes loads one after the other. One object per state folder, made by the holder of its lock."""

    def __init__(self, ledger: Ledger, warehouse: Warehouse, clock: Clock | None = None) -> None:
        self._ledger = ledger
        self._warehouse = warehouse
        self._clock = clock or Clock()
        self._lock = asyncio.Lock()
        self._newest: tuple[int, datetime] | None = None  # seq and time; None when only the warehouse knows
        self._turns: dict[str, asyncio.Lock] = {}  # by dataset

    @asynccontextmanager
    async def hold_keys(self, datasets: Iterable[Dataset]) -> AsyncIterator[None]:
        """Compare the keys of loads with those that are visible, and publish them, within this block: nothing else of these
        datasets is published meanwhile. Two sources of one dataset would otherwise each miss the keys of the other.

        What an earlier block left is settled first: what may be written already is published, and what is only complete
        is given up, because its keys were compared with an older state. Its document is still due.
        """
        names = sorted(dataset.name for dataset in datasets)
        async with AsyncExitStack() as turns:
            for name in names:  # all in one order, so that no two wait for each other
                await turns.enter_async_context(self._turns.setdefault(name, asyncio.Lock()))
            if names:
                await self._settle(names)
            yield

    async def _settle(self, datasets: Sequence[str]) -> None:
        async with self._lock:
            if self._newest is None:
                await self._finish_intended()
        complete = await self._ledger.loads(states=("loaded",))
        stale = [load.load_id for load in complete if not set(datasets).isdisjoint(load.datasets)]
        if stale:
            await self._ledger.mark_group_dead([(load_id, ()) for load_id in stale])

    async def publish(self, load: Load) -> Load:
        """Make a `loaded` load visible. After a StoreError it stays `publishing` or `loaded`; `resume` finishes it."""
        return (await self.publish_group([load]))[0]

    async def publish_group(self, loads: Sequence[Load]) -> tuple[Load, ...]:
        """As `publish` for loads of which none supersedes another: a reader sees all of them or none."""
        async with self._lock:
            if self._newest is None:
                await self._finish_intended()
            return await self._write(await self._intend(loads))

    async def resume(self) -> int:
        """Finish publications that were intended and then interrupted. Returns their number."""
        async with self._lock:
            return await self._finish_intended()

    async def _finish_intended(self) -> int:
        """Note what is written, and write the others under new numbers: nobody has seen them under the intended ones."""
        intended = await self._ledger.loads(states=("publishing",))
        for load in intended:
            await self._warehouse.end_statements(_token_prefix(load))
        written = await self._count_publication_rows(intended)
        await self._ledger.mark_group_published([load.load_id for load in intended if load.load_id in written])
        missing = [load for load in intended if load.load_id not in written]
        outdated = {load.load_id for load in missing if await is_outdated(self._ledger, load)}
        await self._ledger.mark_group_dead([(load_id, ()) for load_id in sorted(outdated)])
        if remaining := [load for load in missing if load.load_id not in outdated]:
            await self._write(await self._intend(remaining))
        return len(intended)

    async def _write(self, loads: Sequence[Load]) -> tuple[Load, ...]:
        """Write the rows of the publications. After any failure the next publication asks the warehouse first."""
        self._newest = None
        rows = [row for load in loads for row in make_publication_rows(load)]
        await self._warehouse.insert(publications, rows, token=f"{_token_prefix(loads[0])}{secrets.token_hex(4)}")
        written = await self._count_publication_rows(loads)
        for load in loads:
            if written.get(load.load_id) != len(load.datasets):
                message = f"publication {load.seq} was written, but `loads` lacks it: is the warehouse's disk full?"
                raise StoreError(message)
        published = await self._ledger.mark_group_published([load.load_id for load in loads])
        if loads[-1].published_at is not None:
            self._newest = loads[-1].seq, loads[-1].published_at
        for load in loads:
            logger(source=load.source).info(
                "load published", covers=load.covers, rows=sum(load.rows.values()), rejects=load.rejects, seq=load.seq,
                load_id=load.load_id,
            )  # fmt: skip
        return published

    async def _count_publication_rows(self, loads: Sequence[Load]) -> dict[int, int]:
        """The number of rows in `loads` of each of these loads that has any."""
        if not loads:
            return {}
        values = {"ids": [load.load_id for load in loads], "seq": min(load.seq for load in loads)}
        return {int(load_id): int(rows) for load_id, rows in (await self._warehouse.rows(WRITTEN, values)).rows}

    async def _intend(self, loads: Sequence[Load]) -> tuple[Load, ...]:
        seq, newest = self._newest or await self._read_newest()
        at = max(self._clock.utc(), newest + TICK)
        superseded = await self.find_superseded(loads)
        return await self._ledger.intend_group(
            [
                (load.load_id, seq + number, superseded[load.load_id], at + (number - 1) * TICK)
                for number, load in enumerate(loads, 1)
            ]
        )

    async def _read_newest(self) -> tuple[int, datetime]:
        newest = (await self._warehouse.rows(NEWEST)).dicts()[0]
        return newest["seq"], newest["at"]

    async def find_superseded(self, loads: Sequence[Load]) -> dict[int, list[int]]:
        """The visible loads that the publication of each load replaces."""
        superseded = dict[int, list[int]]()
        for source in {load.source for load in loads}:
            own = [load for load in loads if load.source == source]
            related = await self._ledger.related_groups(source, [(load.digest, load.covers) for load in own])
            superseded |= {
                load.load_id: _list_replaced(load, visible) for load, visible in zip(own, related, strict=True)
            }
        return superseded


def _list_replaced(load: Load, visible: Iterable[Load]) -> list[int]:
    """Those of the same slice, of a part of it, and of the same bytes. But all days without rows may have the same bytes."""
    others = [other for other in visible if other.load_id != load.load_id]
    return [
        other.load_id
        for other in others
        if replaces(load.covers, other.covers) or (other.digest == load.digest and other.has_rows)
    ]


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
