"""Computes chains: adds what was published since the last round to what is stored, or puts all together from nothing.

A round reads the new messages, follows their pointers, withdraws the stored rows of the chains that changed and writes their
new rows: as one load, counted and published like any other. The cost is that of the new messages and of the chains that they
belong to, whatever else is stored. Only a chain with a message that changed or is gone is put together from all of its
messages.

From nothing, the messages are taken in steps of STEP_ROWS, and the loads of all steps are published together: a reader sees
the former rows until the new ones are complete. A start without any progress, a new version and `spotlightd rebuild` do so.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from spotlightd.errors import StoreError
from spotlightd.flows.derive.chains.links import find_link_changes
from spotlightd.flows.derive.chains.messages import LOAD, Messages
from spotlightd.flows.derive.chains.statements import LinkStatements, RowStatements
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.derived.chains import Chains
from spotlightd.model.provenance import Load

STEP_ROWS = 300_000
NEXT = """
SELECT min(seq) FROM (
    SELECT seq, sum(rows) OVER (ORDER BY seq) AS total FROM loads
    WHERE dataset = {name:String} AND seq > {since:UInt64} AND seq <= {seq:UInt64}
) WHERE total >= {rows:UInt64}
"""
PUBLICATIONS = (
    "SELECT sum(rows), countIf(notEmpty(supersedes)) FROM loads"
    " WHERE dataset = {name:String} AND seq > {since:UInt64} AND seq <= {until:UInt64}"
)
ROWS_AT_ONCE = 50_000
SCRATCH = ("new", "gone", "placed", "linked", "pieces")


@dataclass(frozen=True, slots=True)
class _Step:
    """The publications of one load, the snapshot at which their messages are read, and the loads of a rebuild before it."""

    since: int
    until: int
    seq: int
    is_rebuild: bool = False
    own: tuple[int, ...] = ()


class ChainRunner:
    """Computes the chains of one declaration."""

    def __init__(self, chains: Chains, context: DeriveContext, step_rows: int = STEP_ROWS) -> None:
        self._chains = chains
        self._context = context
        self._step_rows = step_rows

    async def run_round(self, report: Reporter | None = None) -> int:
        """Add the messages of all publications since the last round. Returns how many rows these publications have."""
        since, seq = await self._context.ledger.derived_until(self._chains), await self._context.newest_seq()
        backlog = await self._context.read_backlog(self._chains.inputs, since, seq)
        if report:
            report.beat(lag_seconds=backlog.lag_seconds, queue=backlog.publications, did_something=False)
        if not backlog.publications:
            return 0
        async with self._context.publications.hold_keys(self._chains.datasets):
            left = await self._context.ledger.loads(self._chains.name, states=("loaded", "loading"))
            await self._context.ledger.mark_group_dead([(load.load_id, ()) for load in left])
            return await (self._add(since, seq, report) if since else self._rebuild(seq, report))

    async def compute_again(self) -> int:
        await self._context.ledger.save_derived(self._chains, 0)
        return await self.run_round()

    async def _add(self, since: int, seq: int, report: Reporter | None) -> int:
        done, rows = since, 0
        while done < seq:
            until = await self._next_stop(done, seq)
            await self._wait(report, done - since, seq - since)
            load, messages = await self._fill(_Step(done, until, until), f"all/{until}")
            await self._publish([load] if any(load.rows.values()) else [], [load])
            await self._context.ledger.save_derived(self._chains, until)
            done, rows = until, rows + messages
        return rows

    async def _rebuild(self, seq: int, report: Reporter | None) -> int:
        """All messages that are visible now. The first load replaces all earlier ones, the others are parts beside it."""
        done, rows, loads = 0, 0, list[Load]()
        while done < seq:
            until = await self._next_stop(done, seq)
            await self._wait(report, done, seq)
            step = _Step(done, until, seq, True, tuple(load.load_id for load in loads))
            load, messages = await self._fill(step, f"all/{until}" if loads else "all")
            loads.append(load)
            done, rows = until, rows + messages
        await self._publish(loads, loads)
        await self._context.ledger.save_derived(self._chains, seq)
        return rows

    async def _next_stop(self, since: int, seq: int) -> int:
        values = {"name": self._chains.messages.name, "since": since, "seq": seq, "rows": self._step_rows}
        stop = int((await self._context.warehouse.rows(NEXT, values)).rows[0][0])
        return stop or seq

    async def _wait(self, report: Reporter | None, done: int, total: int) -> None:
        if report:
            await self._context.gate.wait_until_open("the sink", report, self._chains.datasets)
            report.set_working(f"{self._chains.name}: publications", done, total)

    async def _publish(self, filled: Sequence[Load], begun: Sequence[Load]) -> None:
        ledger = self._context.ledger
        await ledger.mark_group_dead([(load.load_id, ()) for load in begun[len(filled) :]])
        if filled:
            loaded = await ledger.mark_group_loaded([(load.load_id, load.rows, ()) for load in filled])
            await self._context.publications.publish_group(loaded)

    async def _fill(self, step: _Step, covers: str) -> tuple[Load, int]:
        """The load of a step, with the numbers of its rows, and how many rows its publications have."""
        ledger, chains = self._context.ledger, self._chains
        text = f"{chains.name} version {chains.version} of publications {step.since} to {step.until} at {step.seq}"
        load = await ledger.begin_load(chains, hashlib.sha256(text.encode()).hexdigest(), covers)
        try:
            rows, replaced = await self._read_publications(step)
            messages = Messages(
                chains, self._context.archives.archived, bool(replaced) and not step.is_rebuild, step.is_rebuild
            )
            counts = await _Writer(self._context, messages, load, step).write()
        except (StoreError, asyncio.CancelledError):
            logger(source=chains.name).warning("load failed", covers=covers, load_id=load.load_id, loads=1)
            with suppress(StoreError):  # the next round marks it dead
                await ledger.mark_dead(load.load_id)
            raise
        return replace(load, rows=counts), rows

    async def _read_publications(self, step: _Step) -> tuple[int, int]:
        """How many rows the publications of a step have, and how many of them replaced others."""
        values = {"name": self._chains.messages.name, "since": step.since, "until": step.until}
        rows, replaced = (await self._context.warehouse.rows(PUBLICATIONS, values)).rows[0]
        return int(rows), int(replaced)


class _Writer:
    """Writes the rows of one load."""

    def __init__(self, context: DeriveContext, messages: Messages, load: Load, step: _Step) -> None:
        self._warehouse, self._messages, self._load = context.warehouse, messages, load
        self._numbers = count(1)
        self._values: dict[str, Any] = {
            "since": step.since, "until": step.until, "seq": step.seq, "own": list(step.own), "load_id": load.load_id,
        }  # fmt: skip
        self._written = dict.fromkeys(load.datasets, 0)

    async def write(self) -> dict[str, int]:
        """Returns how many rows each dataset has of the load."""
        chains, links = self._messages.chains, LinkStatements(self._messages)
        await self._warehouse.execute(self._messages.create_new, self._values)
        await self._warehouse.execute(self._messages.create_gone, self._values)
        await self._warehouse.execute(links.create_placed, self._values)
        rows = RowStatements(self._messages, await self._write_tangled(links))
        await self._insert(chains.roots, links.insert_simple)
        await self._insert(chains.steps, links.insert_steps)
        await self._insert(chains.dataset, rows.insert_withdrawn)
        await self._warehouse.execute(rows.create_linked, self._values)
        has_slow = (await self._warehouse.rows(f"SELECT count() FROM ({rows.slow_roots})", self._values)).rows[0][0]
        await self._warehouse.execute(rows.create_pieces(without_slow=bool(has_slow)), self._values)
        await self._insert(chains.dataset, rows.insert_rows)
        if has_slow:
            await self._warehouse.execute(rows.create_slow_pieces, self._values)
            await self._insert(chains.dataset, rows.insert_rows)
        for part in SCRATCH:
            await self._warehouse.execute(f"DROP TABLE IF EXISTS {self._messages.scratch(part)} SYNC")
        return {dataset.name: await self._count(dataset) for dataset in chains.datasets}

    async def _write_tangled(self, links: LinkStatements) -> Sequence[int]:
        """Returns the digests of messages whose chains must be put together from all of their messages."""
        tangled = (await self._warehouse.rows(links.tangled, self._values)).dicts()
        gone = (await self._warehouse.rows(links.gone, self._values)).dicts()
        if not tangled and not gone:
            return ()
        members = (await self._warehouse.rows(links.members, self._values)).dicts()
        changes = await asyncio.to_thread(find_link_changes, self._messages.chains.scope, tangled, gone, members)
        roots, load_id = self._messages.chains.roots, self._load.load_id
        stored = [(*row[:-1], load_id, row[-1]) for row in changes.rows()]
        for first in range(0, len(stored), ROWS_AT_ONCE):
            part = stored[first : first + ROWS_AT_ONCE]
            await self._warehouse.insert(roots, part, token=self._next_token())
        self._written[roots.name] += len(stored)
        return changes.slow

    async def _insert(self, dataset: Dataset, sql: str) -> None:
        self._written[dataset.name] += await self._warehouse.execute(sql, self._values, token=self._next_token())

    def _next_token(self) -> str:
        return f"{self._messages.chains.name}-{self._load.load_id}-{next(self._numbers)}"

    async def _count(self, dataset: Dataset) -> int:
        """How many rows of the load are stored. StoreError when they are not those that were written."""
        answer = await self._warehouse.rows(f"SELECT count() FROM {dataset.name} WHERE {LOAD}", self._values)
        stored, written = int(answer.rows[0][0]), self._written[dataset.name]
        if stored != written:
            raise StoreError(f"{stored} of {written} rows of {dataset.name} are stored: is the warehouse's disk full?")
        return stored
