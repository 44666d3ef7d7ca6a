"""The flow that makes transforms of closed loads: one-minute bars of the trades of a day, and whatever comes after them.

Each load of the source dataset gives one load of the transform, derived from it: inserted, counted, published. Whatever
ends in between leaves a dead load, which is swept, and the next round begins anew. Nothing here decides what a reader
is shown: until a load has its bars, and wherever they should be missing, they are computed at reading.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.publish import Publications, select_current
from spotlightd.flows.stream.parts import day_of
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.provenance import Load
from spotlightd.model.transform import Transform
from spotlightd.ports.ledger import Ledger, Positions
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives, NoArchives, Span
from spotlightd.sql.visibility import all_rows as stored

EVERY_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 600.0
LONGEST_LOAD_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class TransformRunner:
    """Makes one transform. Call it as a flow, or `round` once."""

    transform: Transform
    ledger: Ledger
    warehouse: Warehouse
    publications: Publications
    positions: Positions
    every_seconds: float = EVERY_SECONDS
    gate: Gate = field(default_factory=Gate)
    archives: Archives = NoArchives()

    async def __call__(self, report: Reporter) -> None:
        """For ever; holds while our stores fail."""
        report.expect_beats(60.0 / LONGEST_LOAD_SECONDS)
        failures = 0
        while True:
            try:
                made = await self.round(report)
            except StoreError as problem:
                failures += 1
                report.set_holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
            else:
                failures = 0
                report.set_waiting(f"{made} loads made" if made else "all closed loads are made")
            report.beat(did_something=not failures)
            pause = min(LONGEST_PAUSE_SECONDS, self.every_seconds * 2 ** min(failures, 10))
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311

    async def round(self, report: Reporter | None = None) -> int:
        """Make all that is missing, oldest first; how many loads that were. One that fails does not hold up the others;
        the first failure is raised when all were tried.
        """
        await self._give_up_stale()
        missing = await self.missing()
        failed: StoreError | None = None
        for done, load in enumerate(missing):
            if report:
                await self.gate.wait_until_open("the sink", report)
                report.set_working(f"{self.transform.name} of {load.source} {load.covers}", done, len(missing))
            try:
                await self._make(load)
            except StoreError as problem:
                failed = failed or problem
        if failed:
            raise failed
        return len(missing)

    async def missing(self) -> list[Load]:
        """Visible loads of the source dataset, whole by now, of which nothing is made with this version.

        A load that is closed takes no new intents; those from before still bring rows, and are waited for.
        """
        published = await self.ledger.loads(states=("published",))
        mine = [one for one in published if one.source == self.transform.name]
        made = {one.derived_from for one in mine if one.parser == self.transform.parser}
        closed = [one for one in select_current(published) if one.closed and self.transform.input.name in one.datasets]
        wanted = [one for one in closed if one.load_id not in made]
        moving = {one.load_id for name in {one.source for one in wanted} for one in await self.positions.intents(name)}
        return [one for one in wanted if one.load_id not in moving]

    async def _give_up_stale(self) -> None:
        """What was whole when our stores failed, before its publication was intended, is made again."""
        for stale in await self.ledger.loads(self.transform.name, states=("loaded", "loading")):
            await self.ledger.mark_dead(stale.load_id)

    async def _make(self, of: Load) -> None:
        covers = f"{of.source}/{of.covers}/{of.load_id}"
        digest = hashlib.sha256(
            f"{self.transform.name} of load {of.load_id}, {of.source} {of.covers}".encode()
        ).hexdigest()
        begun = await self.ledger.begin_load(self.transform, digest, covers, derived_from=of.load_id)
        try:
            rows = await self._fill(begun, of)
        except (StoreError, asyncio.CancelledError):
            logger(source=self.transform.name).warning("load failed", covers=covers, load_id=begun.load_id)
            with suppress(StoreError):
                await self.ledger.mark_dead(begun.load_id)
            raise
        loaded = await self.ledger.mark_loaded(begun.load_id, {self.transform.dataset.name: rows}, ())
        await self.publications.publish(loaded)

    async def _fill(self, load: Load, of: Load) -> int:
        """Insert, and count what is really there: the rows, and what they were made of."""
        dataset = self.transform.dataset
        made = [one.name for one in (*dataset.columns, *dataset.pointer)]
        names = ", ".join(f"`{name}`" for name in made)
        values = {"load_id": load.load_id, "of": of.load_id, "day": day_of(of)}
        select = self._select(day_of(of))
        await self.warehouse.execute(
            f"INSERT INTO {dataset.name} ({names}, load_id) SELECT {names}, {{load_id:UInt64}} FROM ({select})",
            values,
            token=f"{self.transform.name}-{load.load_id}",
        )
        wanted = f"SELECT count() FROM ({select})"
        here = f"SELECT count() FROM {dataset.name} WHERE load_id = {{load_id:UInt64}}"
        want, have = [int((await self.warehouse.rows(sql, values)).rows[0][0]) for sql in (wanted, here)]
        if want != have:
            raise StoreError(
                f"{have} of {want} {dataset.name} of load {of.load_id} are there: is the warehouse's disk full?"
            )
        return have

    def _select(self, day: date) -> str:
        """The transform's SELECT over all rows of that received day, those included that have left the warehouse."""
        since = datetime.combine(day, time(), UTC)
        span = Span({self.transform.input.split_by: (since, since + timedelta(days=1, microseconds=-1))})
        rows = stored(self.transform.input, self.archives.archived, span)
        return self.transform.format_select(rows)
