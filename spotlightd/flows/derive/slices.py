"""Computes a derivation slice by slice. The slices of a round share each step, as documents of a group do.

A round looks at what was published of the inputs since the last one, and computes each touched slice again at one
publication. The steps are those of every load: begun in the ledger, inserted, counted, published, and the former load of
the slice is superseded. If anything ends in between, the slices are due again, because the ledger notes the publication
that was looked at only when all of its slices are there.

4,000 slices cost as much as ten statements and not as 4,000: a statement computes `at_once` of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress

from spotlightd.backoff import Clock
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.derive.pacing import Pacing
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.derivation import Derivation
from spotlightd.model.provenance import Load
from spotlightd.model.source import COVERS
from spotlightd.sql.changes import visible_rows
from spotlightd.sql.visibility import Snapshot

OWNER = "transform(slice, {slices:Array(String)}, {ids:Array(UInt64)}, toUInt64(0))"
"""The load of a row: that of its slice."""


class SliceRunner:
    """Computes one derivation. It remembers which slices are still due, so that a failure of one group does not have the
    others computed again.
    """

    def __init__(self, derivation: Derivation, context: DeriveContext, clock: Clock | None = None) -> None:
        self._derivation = derivation
        self._clock = clock or Clock()
        self._pacing = Pacing(self._clock)
        self._context = context
        self._saved = self._looked_until = -1  # publications; -1 when only the ledger knows
        self._due = set[str]()

    async def run_round(self, report: Reporter | None = None) -> int:
        """Compute the touched slices, newest first, but none too often. Returns how many."""
        if self._saved < 0:
            self._saved = self._looked_until = await self._context.ledger.derived_until(self._derivation)
        seq = await self._context.newest_seq()
        await self._look(seq, report)
        if slices := sorted(filter(self._pacing.is_ready, self._due), reverse=True):
            async with self._context.publications.hold_keys(self._derivation.datasets):
                await self._mark_unfinished_dead()
                await self._compute_all(slices, seq, report)
        if not self._due and self._saved != self._looked_until:
            await self._context.ledger.save_derived(self._derivation, self._looked_until)
            self._saved = self._looked_until
        return len(slices)

    async def compute_again(self) -> int:
        await self._context.ledger.save_derived(self._derivation, 0)
        self._saved = self._looked_until = 0
        self._pacing = Pacing(self._clock)
        return await self.run_round()

    async def _look(self, seq: int, report: Reporter | None) -> None:
        """Add the slices that publications up to `seq` touched to those that are due."""
        since = self._looked_until
        backlog = await self._context.read_backlog(self._derivation.inputs, since, seq)
        if report:
            report.beat(lag_seconds=backlog.lag_seconds, queue=backlog.publications, did_something=False)
        if not backlog.publications:
            return
        if not since:  # a new version, or the first: also slices that have no rows any more
            own = await self._context.ledger.visible_loads(self._derivation.name)
            self._due |= {load.covers for load in own}
        self._due |= await self._list_touched(since, seq)
        self._looked_until = seq

    async def _list_touched(self, since: int, seq: int) -> set[str]:
        derivation = self._derivation
        rows = {source.name: await self._context.changed_rows(source, since, seq) for source in derivation.inputs}
        sql = f"SELECT DISTINCT slice FROM ({derivation.slices.format_map(rows)})"
        answer = await self._context.warehouse.rows(sql, {"since": since, "seq": seq})
        slices = {str(name) for (name,) in answer.rows}
        if wrong := [name for name in slices if not COVERS.match(name)]:
            raise SettingsError(f"derivation {derivation.name}: slice {wrong[0]!r} is not a path of lower-case words")
        return slices

    async def _mark_unfinished_dead(self) -> None:
        """Loads that a failure left are swept, and their slices are due."""
        left = await self._context.ledger.loads(self._derivation.name, states=("loaded", "loading"))
        await self._context.ledger.mark_group_dead([(load.load_id, ()) for load in left])

    async def _compute_all(self, slices: Sequence[str], seq: int, report: Reporter | None) -> None:
        for first in range(0, len(slices), self._derivation.at_once):
            group = slices[first : first + self._derivation.at_once]
            if report:
                await self._context.gate.wait_until_open("the sink", report, self._derivation.datasets)
                report.set_working(f"{self._derivation.name} {group[0]}", first, len(slices))
            await self._compute(group, seq)
            self._due.difference_update(group)
            self._pacing.note(group)

    async def _compute(self, slices: Sequence[str], seq: int) -> None:
        ledger, publications = self._context.ledger, self._context.publications
        loads = await ledger.begin_group(self._derivation, [(self._digest(name, seq), name) for name in slices])
        try:
            counts = await self._fill(loads, seq)
        except (StoreError, asyncio.CancelledError):
            logger(source=self._derivation.name).warning(
                "load failed", covers=slices[0], load_id=loads[0].load_id, loads=len(loads)
            )
            with suppress(StoreError):  # the next round marks them dead
                await ledger.mark_group_dead([(load.load_id, ()) for load in loads])
            raise
        replaced = await publications.find_superseded(loads)
        empty = [load for load in loads if not counts.get(load.load_id) and not replaced[load.load_id]]
        await ledger.mark_group_dead([(load.load_id, ()) for load in empty])
        name = self._derivation.dataset.name
        filled = [(load.load_id, {name: counts.get(load.load_id, 0)}, ()) for load in loads if load not in empty]
        if filled:
            await publications.publish_group(await ledger.mark_group_loaded(filled))

    async def _fill(self, loads: Sequence[Load], seq: int) -> dict[int, int]:
        """Insert the rows of these slices. Returns how many each load has in the table."""
        dataset, warehouse = self._derivation.dataset, self._context.warehouse
        ids = [load.load_id for load in loads]
        names = ", ".join(f"`{column.name}`" for column in dataset.columns)
        snapshot = Snapshot(seq, archived=self._context.archives.archived)
        rows = {source.name: visible_rows(source, snapshot) for source in self._derivation.inputs}
        select = self._derivation.select.format_map(rows)
        written = await warehouse.execute(
            f"INSERT INTO {dataset.name} ({names}, load_id)"
            f" SELECT {names}, owner + throwIf(owner = 0, 'a row is of a slice that was not to be computed')"
            f" FROM (SELECT {names}, {OWNER} AS owner FROM ({select}))",
            {"seq": seq, "slices": [load.covers for load in loads], "ids": ids},
            token=f"{self._derivation.name}-{ids[0]}-{ids[-1]}",
        )
        sql = f"SELECT load_id, count() FROM {dataset.name} WHERE load_id IN {{ids:Array(UInt64)}} GROUP BY load_id"
        counts = {int(load_id): int(number) for load_id, number in (await warehouse.rows(sql, {"ids": ids})).rows}
        if (stored := sum(counts.values())) != written:
            raise StoreError(f"{stored} of {written} rows of {dataset.name} are stored: is the warehouse's disk full?")
        return counts

    def _digest(self, name: str, seq: int) -> str:
        """A digest in place of a document's: of the text that names what was computed."""
        text = f"{self._derivation.name} version {self._derivation.version} of {name} at publication {seq}"
        return hashlib.sha256(text.encode()).hexdigest()
