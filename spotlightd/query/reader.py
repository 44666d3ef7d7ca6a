"""How a page reads: pinned to one publication, within its limits, a bounded number of queries at a time."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Answer, Limits, Warehouse
from spotlightd.query.errors import HttpProblem
from spotlightd.query.outage import MARK, Outage
from spotlightd.query.select import Query
from spotlightd.sql.tiers import STATEMENT_START_SECONDS, Archives, NoArchives
from spotlightd.sql.visibility import Snapshot
from spotlightd.tasks import run_together


@dataclass(frozen=True, slots=True)
class Reader:
    """One request's way to the warehouse. `spent` collects the seconds of its queries, for Server-Timing."""

    warehouse: Warehouse
    limits: Limits
    gate: asyncio.Semaphore
    wait_seconds: float
    archives: Archives = NoArchives()
    outage: Outage = field(default_factory=lambda: Outage(asyncio.Semaphore()))
    query_seconds: list[float] = field(default_factory=list)

    async def rows(self, query: Query) -> Answer:
        """The whole answer. StoreError as the warehouse says; HttpProblem(503) when no turn came in time."""
        async with AsyncExitStack() as held:
            if MARK not in query.sql:
                await self._turn(held, self.gate)
                return await self._answer(query)
            await self._turn(held, self.outage.slots, self.gate)
            return await self._archived(query)

    async def _turn(self, held: AsyncExitStack, *gates: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self.wait_seconds):
                for gate in gates:
                    await held.enter_async_context(gate)
        except TimeoutError:
            raise HttpProblem(
                503,
                "Too many pages are being read at the moment.",
                "Try again in a few seconds.",
                retry_after_seconds=5,
            ) from None

    async def _archived(self, query: Query) -> Answer:
        """As `_answer`, of a question that reads objects: what became of it is remembered."""
        self.outage.check(query.created_at)
        try:
            answer = await self._answer(query)
        except StoreError as problem:
            self.outage.record_failure(problem)
            raise
        self.outage.record_success()
        return answer

    async def _answer(self, query: Query) -> Answer:
        started = time.perf_counter()
        try:
            if time.monotonic() - query.created_at > STATEMENT_START_SECONDS:
                raise HttpProblem(503, "This page took too long to begin.", "Load it again.", retry_after_seconds=5)
            return await self.warehouse.rows(query.sql, query.params, limits=self.limits)
        finally:
            self.query_seconds.append(time.perf_counter() - started)

    async def all(self, *queries: Query) -> list[Answer]:
        """Several answers side by side; the first failure ends the others."""
        answers = await run_together(
            {str(at): self.rows(query) for at, query in enumerate(queries)}, prefix="page query "
        )
        return list(answers.values())

    async def snapshot(self, dataset: Dataset | None = None, asked: datetime | None = None) -> Snapshot:
        """The newest publication at or before `asked`, of one dataset or of all: read once, then bound to every query.

        A dataset's own newest publication sees the same of it as the newest of all, and changes less often: what an
        ETag wants.
        """
        query = snapshot_query(dataset, asked)
        seq, at = (await self.rows(query)).rows[0]
        return Snapshot(seq, at if seq else None, asked, self.archives.archived)

    def current(self) -> Snapshot:
        """For what is not read through publications."""
        return Snapshot(0, archived=self.archives.archived)


def snapshot_query(dataset: Dataset | None, asked: datetime | None) -> Query:
    """The newest publication and its time, of a dataset or of all, up to a time or until now."""
    parts: list[str] = ["1"]
    params: dict[str, str] = {}
    if dataset is not None:
        parts.append("dataset IN ({dataset:String}, {made_of:String})")
        params |= {"dataset": dataset.name, "made_of": dataset.computed_from}
    if asked is not None:
        parts.append("published_at <= {asked:DateTime64(6, 'UTC')}")
        params["asked"] = f"{asked:%Y-%m-%d %H:%M:%S.%f}"
    return Query(f"SELECT max(seq), max(published_at) FROM loads WHERE {' AND '.join(parts)}", params)
