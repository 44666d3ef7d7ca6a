"""The flow that computes transforms of closed loads: one-minute bars of the trades of a day, and any other transform.

Each load of the input dataset gives one load of the transform, derived from it: inserted, counted, published. If anything
ends in between, a dead load is left, which is swept, and the next round computes it again. This flow does not decide what
readers see: where a load has no bars, they are computed at reading.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from spotlightd.backoff import Backoff
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.stream.parts import day_of
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.derived.transform import Transform
from spotlightd.model.provenance import Load
from spotlightd.ports.ledger import Ledger, Positions
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives, NoArchives, Span
from spotlightd.sql.visibility import all_rows

ROUND_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 600.0
LONGEST_LOAD_SECONDS = 900.0
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class TransformRunner:
    """Computes one transform. Call it as a flow, or `run_round` once."""

    transform: Transform
    ledger: Ledger
    warehouse: Warehouse
    publications: Publications
    positions: Positions
    every_seconds: float = ROUND_SECONDS
    gate: Gate = field(default_factory=Gate)
    archives: Archives = NoArchives()

    async def __call__(self, report: Reporter) -> None:
        """For ever; holds while a store fails."""
        report.expect_beats(60.0 / LONGEST_LOAD_SECONDS)
        backoff, failures = Backoff(self.every_seconds, LONGEST_PAUSE_SECONDS, JITTER), 0
        while True:
            try:
                loads = await self.run_round(report)
            except StoreError as problem:
                failures += 1
                report.set_holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
            else:
                failures = 0
                report.set_waiting(f"{loads} loads computed" if loads else "all closed loads are computed")
            report.beat(did_something=not failures)
            await asyncio.sleep(backoff.pause(failures + 1))

    async def run_round(self, report: Reporter | None = None) -> int:
        """Compute all missing loads, oldest first. Returns how many. A load that fails does not stop the others; the
        first failure is raised after all were tried.
        """
        await self._mark_unfinished_dead()
        missing = await self.list_missing()
        failure: StoreError | None = None
        for done, load in enumerate(missing):
            if report:
                await self.gate.wait_until_open("the sink", report, (self.transform.input, self.transform.dataset))
                report.set_working(f"{self.transform.name} of {load.source} {load.covers}", done, len(missing))
            try:
                await self._compute(load)
            except StoreError as problem:
                failure = failure or problem
        if failure:
            raise failure
        return len(missing)

    async def list_missing(self) -> list[Load]:
        """Closed visible loads of the input dataset of which this version has computed nothing.

        A closed load takes no new intents. Open intents still add rows, so their loads are left for a later round.
        """
        missing = await self.ledger.uncomputed_loads(self.transform)
        sources = {load.source for load in missing}
        in_motion = {intent.load_id for source in sources for intent in await self.positions.intents(source)}
        return [load for load in missing if load.load_id not in in_motion]

    async def compute_again(self) -> int:
        """Compute all visible loads again, for a table that lost them. Returns how many."""
        own = await self.ledger.visible_loads(self.transform.name)
        published = await self.ledger.published_loads(load.derived_from for load in own)
        inputs = {load.load_id: load for load in published if not load.superseded_by}
        computed = [load.derived_from for load in own if load.derived_from in inputs]
        for load_id in computed:
            await self._compute(inputs[load_id])
        return len(computed)

    async def _mark_unfinished_dead(self) -> None:
        """Loads that were not yet intended to be published when a store failed are computed again."""
        for load in await self.ledger.loads(self.transform.name, states=("loaded", "loading")):
            await self.ledger.mark_dead(load.load_id)

    async def _compute(self, source_load: Load) -> None:
        covers = f"{source_load.source}/{source_load.covers}/{source_load.load_id}"
        text = f"{self.transform.name} of load {source_load.load_id}, {source_load.source} {source_load.covers}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        load = await self.ledger.begin_load(self.transform, digest, covers, derived_from=source_load.load_id)
        try:
            rows = await self._fill(load, source_load)
        except (StoreError, asyncio.CancelledError):
            logger(source=self.transform.name).warning("load failed", covers=covers, load_id=load.load_id)
            with suppress(StoreError):
                await self.ledger.mark_dead(load.load_id)
            raise
        loaded = await self.ledger.mark_loaded(load.load_id, {self.transform.dataset.name: rows}, ())
        await self.publications.publish(loaded)

    async def _fill(self, load: Load, source_load: Load) -> int:
        """Insert the rows, and compare the number that is stored with the number that the SELECT gives."""
        dataset, day = self.transform.dataset, day_of(source_load)
        names = ", ".join(f"`{column.name}`" for column in (*dataset.columns, *dataset.pointer))
        values = {"load_id": load.load_id, "of": source_load.load_id, "day": day}
        select = self._select(day)
        await self.warehouse.execute(
            f"INSERT INTO {dataset.name} ({names}, load_id) SELECT {names}, {{load_id:UInt64}} FROM ({select})",
            values,
            token=f"{self.transform.name}-{load.load_id}",
        )
        count_expected = f"SELECT count() FROM ({select})"
        count_stored = f"SELECT count() FROM {dataset.name} WHERE load_id = {{load_id:UInt64}}"
        expected, stored = [
            int((await self.warehouse.rows(sql, values)).rows[0][0]) for sql in (count_expected, count_stored)
        ]
        if expected != stored:
            raise StoreError(
                f"{stored} of {expected} {dataset.name} of load {source_load.load_id} are stored: is the warehouse's"
                " disk full?"
            )
        return stored

    def _select(self, day: date) -> str:
        """The transform's SELECT over all rows of that received day, including archived ones."""
        since = datetime.combine(day, time(), UTC)
        span = Span({self.transform.input.split_by: (since, since + timedelta(days=1, microseconds=-1))})
        return self.transform.format_select(all_rows(self.transform.input, self.archives.archived, span))
