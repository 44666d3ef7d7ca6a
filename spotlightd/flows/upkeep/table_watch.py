"""The flow `tables`: holds the flows of a table that lost its rows, and lets them go on when the rows are back."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet

from spotlightd.datasets.system import hidden_rows
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Reporter
from spotlightd.flows.upkeep.tables import INDEX_FACT, INDEXES, Kind, StoredRows, TableDefect, TableFacts, list_tables
from spotlightd.log import logger
from spotlightd.model.text import count

EVERY_SECONDS = 15.0
GROWTH = 1.05  # the ledger is told of so many more rows, not at each look
LEFT_SHARE = 0.01
"""A stream's table that has less than this share of its rows was emptied: a stream fills it again between two looks."""


class TableWatch:
    """Looks at the tables, and holds in `gate` what writes into those that lost their rows."""

    def __init__(self, facts: TableFacts, gate: Gate) -> None:
        self._facts, self._gate = facts, gate
        self._defects: tuple[TableDefect, ...] = ()
        self._stale: tuple[TableDefect, ...] = ()
        self._past = ""
        self._most: dict[str, int] | None = None  # as the ledger has it; None before the first look

    @property
    def defects(self) -> tuple[TableDefect, ...]:
        """As of the last look."""
        return self._defects

    @property
    def missing(self) -> frozenset[str]:
        return frozenset(defect.table for defect in self._defects if defect.kind == "missing")

    def describe_missing_index(self, name: str) -> str:
        return self._facts.describe(name, "missing", INDEX_FACT).detail

    def start_from(self, stale: TableDefect | None, past: str) -> None:
        """What the start found: tables that are older than the ledger, until the next start; or a ledger that was older,
        as a sentence.
        """
        self._stale, self._past = (stale,) if stale else (), past
        if past:
            logger(flow="tables").error("state went back", detail=past)

    async def check_again(self) -> None:
        """Look once, with the numbers of rows that the ledger has now: a table was made again."""
        self._most = None
        await self.check()

    async def check(self) -> None:
        """Look once. StoreError while the warehouse does not answer; what is held stays held then."""
        known = (*self._stale, *await self._facts.find_defects())
        found = (*known, *await self._find_shrunk({defect.table for defect in known}))
        await self._put_in_order(self.missing - {defect.table for defect in found})
        for defect in found:
            if (defect.table, defect.kind) not in {(before.table, before.kind) for before in self._defects}:
                event = "state went back" if defect.kind == "stale" else "table lost rows"
                logger(flow="tables").error(event, dataset=defect.table, detail=defect.detail)
        for table in {before.table for before in self._defects} - {defect.table for defect in found}:
            logger(flow="tables").info("table complete", dataset=table)
        self._defects = found
        self._gate.hold_tables(self._find_holds())

    async def __call__(self, report: Reporter) -> None:
        """For ever."""
        report.expect_beats(60.0 / EVERY_SECONDS)
        while True:
            try:
                await self.check()
            except StoreError as problem:
                report.set_holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
            else:
                self._report(report)
            report.beat()
            await asyncio.sleep(EVERY_SECONDS)

    async def _find_shrunk(self, known: AbstractSet[str]) -> list[TableDefect]:
        """The tables that have too few of the rows that they should have, of those whose rows `loads` does not count. Rows that
        left for the archive are not expected in the table.
        """
        if self._most is None:
            self._most = dict(await self._facts.archive_ledger.row_counts())
        shrunk = []
        for table, rows in (await self._facts.count_unannounced()).items():
            expected = await self._note_rows(self._most, table, rows.all) - rows.archived
            least = expected if table == hidden_rows.name else expected / 2  # no row of it is ever deleted
            if rows.hot < least and table not in known:
                fact = f"it had {count(expected, 'row')}, and has {rows.hot:,}"
                shrunk.append(self._facts.describe(table, _judge_loss(rows, expected), fact))
        return shrunk

    async def _note_rows(self, most: dict[str, int], table: str, rows: int) -> int:
        """The most rows that the table is known to have had. The ledger is told when they have grown by much."""
        if rows > most.get(table, 0) * GROWTH:
            await self._facts.archive_ledger.save_row_count(table, rows)
            most[table] = rows
        return max(rows, most.get(table, 0))

    async def _put_in_order(self, returned: frozenset[str]) -> None:
        """A table that came back gets the columns and the view that it missed at the start."""
        present = returned & await list_tables(self._facts.warehouse) if returned else returned
        for dataset in self._facts.datasets:
            if dataset.name in present:
                await self._facts.warehouse.ensure(dataset, self._facts.archives.archived)

    def _find_holds(self) -> dict[str, str]:
        """Why nothing may be written, by table. Without an index nothing at all may be."""
        holding = [defect for defect in self._defects if defect.holds]
        held = {defect.table: defect.detail for defect in holding}
        for defect in holding:
            if defect.table == hidden_rows.name:
                held |= {dataset.name: defect.detail for dataset in self._facts.datasets if dataset.repeats_within}
            if defect.table in INDEXES:
                held |= {dataset.name: defect.detail for dataset in self._facts.datasets}
        return held

    def _report(self, report: Reporter) -> None:
        if self._defects:
            report.set_holding("; ".join(defect.detail for defect in self._defects))
            return
        complete = f"{count(len(self._facts.datasets), 'table has', 'tables have')} the rows that are known of them"
        report.set_waiting(f"{complete}; at the start {self._past}" if self._past else complete)


def _judge_loss(rows: StoredRows, expected: int) -> Kind:
    if not rows.exists:
        return "missing"
    return "empty" if rows.hot < expected * LEFT_SHARE else "short"
