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
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from spotlightd.flows.mirror import newest, restore
from spotlightd.log import logger
from spotlightd.model.cold import Archives
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import StoreError
from spotlightd.model.house import MIRRORED
from spotlightd.model.house import loads as publications
from spotlightd.model.ledger import Ledger
from spotlightd.model.ports import Warehouse
from spotlightd.model.provenance import Load

NEWEST = "SELECT max(seq) AS seq, max(published_at) AS at FROM loads"
PRESENT = "SELECT countIf(load_id = {load_id:UInt64}) AS mine, max(seq) AS newest FROM loads"
MISSING = """
SELECT seq, groupArray(dataset) AS datasets, groupArray(rows) AS rows, any(load_id) AS load_id, any(source) AS source,
    any(covers) AS covers, any(document) AS document, any(parser) AS parser, any(rejects) AS rejects,
    any(supersedes) AS supersedes, any(published_at) AS published_at, any(derived_from) AS derived_from
FROM loads WHERE seq > {seq:UInt64} GROUP BY seq ORDER BY seq
"""


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


async def recover(
    ledger: Ledger, warehouse: Warehouse, publications: Publications, datasets: Sequence[Dataset], archives: Archives
) -> None:
    """Before anything else is loaded: finish what was intended, give up what was begun, sweep what will never show."""
    await restore(ledger, warehouse, archives)
    adopted = await _adopt(ledger, warehouse, datasets, archives)
    settled = await publications.settle()
    for load in await ledger.loads(states=("loaded",)):
        if is_outdated(load, await ledger.loads(load.source, states=("published",))):
            await ledger.dead(load.load_id)
        else:
            await publications.publish(load)
            settled += 1
    interrupted = await ledger.loads(states=("loading",))
    for load in interrupted:
        await ledger.dead(load.load_id)
    swept = await sweep(ledger, warehouse, datasets)
    if adopted or settled or interrupted or swept:
        logger().info("loads recovered", adopted=adopted, published=settled, given_up=len(interrupted), swept=swept)


async def sweep(ledger: Ledger, warehouse: Warehouse, datasets: Iterable[Dataset]) -> int:
    """Delete the rows of dead loads. They were never visible; this only frees the disk."""
    here = {dataset.name for dataset in datasets}
    dead = [load for load in await ledger.loads(states=("dead",)) if here.issuperset(load.datasets)]
    for name in {name for load in dead for name in load.datasets}:
        ids = [load.load_id for load in dead if name in load.datasets]
        await warehouse.execute(f"DELETE FROM {name} WHERE load_id IN {{ids:Array(UInt64)}}", {"ids": ids})
    if dead:
        await ledger.swept([load.load_id for load in dead])
        logger().info("loads swept", loads=len(dead))
    return len(dead)


async def _adopt(ledger: Ledger, warehouse: Warehouse, datasets: Sequence[Dataset], archives: Archives) -> int:
    """Take over what the warehouse knows and the ledger does not: its file was lost, or put back from a backup."""
    known = await ledger.loads()
    last = max((load.seq for load in known), default=0)
    missing = (await warehouse.rows(MISSING, {"seq": last})).dicts()
    if not missing:
        return 0
    taken = {one.name: await newest(warehouse, one, archives.cold) for one in MIRRORED}
    loaded = [await _highest_load(warehouse, one.name) for one in datasets if one.by_load]
    taken["loads"] = max([*loaded, *(row["load_id"] for row in missing)])
    await ledger.adopt([_adopted(row) for row in missing], taken)
    for one in datasets:
        if one.by_load and not known:
            await warehouse.execute(f"DELETE FROM {one.name} WHERE load_id NOT IN (SELECT load_id FROM loads)")
    return len(missing)


async def _highest_load(warehouse: Warehouse, table: str) -> int:
    return int((await warehouse.rows(f"SELECT max(load_id) FROM {table}")).rows[0][0])


def _adopted(row: dict[str, Any]) -> Load:
    if len(row["document"]) != len("0" * 64):
        raise StoreError(f"publication {row['seq']} in the warehouse names no document: {row['document']!r}")
    return Load(
        load_id=row["load_id"], source=row["source"], digest=row["document"], parser=row["parser"], covers=row["covers"],
        state="published", datasets=tuple(row["datasets"]), rows=dict(zip(row["datasets"], row["rows"], strict=True)),
        rejects=row["rejects"], seq=row["seq"], supersedes=tuple(row["supersedes"]), published_at=row["published_at"],
        derived_from=row["derived_from"], closed=True,
    )  # fmt: skip
