"""How a page reads: at one publication, within its limits, with a bounded number of queries at a time."""

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
from spotlightd.query.together import join_queries, split_answer
from spotlightd.sql.tiers import STATEMENT_START_SECONDS, Archives, NoArchives
from spotlightd.sql.visibility import Snapshot
from spotlightd.tasks import run_together
from spotlightd.turns import TooManyWaitingError, Turn, Turns


@dataclass(frozen=True, slots=True)
class Reader:
    """One request's access to the warehouse. `kind` is the kind of its page, which takes turns with others.

    `query_seconds` collects the times of its queries, for Server-Timing.
    """

    warehouse: Warehouse
    limits: Limits
    turns: Turns
    wait_seconds: float
    kind: str = ""
    archives: Archives = NoArchives()
    outage: Outage = field(default_factory=lambda: Outage(Turns(1)))
    query_seconds: list[float] = field(default_factory=list)

    async def rows(self, query: Query) -> Answer:
        """The whole answer. StoreError of the warehouse; HttpProblem(503) when no slot became free in time."""
        turn = self.turns.of(self.kind, id(self))
        async with AsyncExitStack() as held:
            if MARK not in query.sql:
                await take_turns(held, self.wait_seconds, turn)
                return await self._answer(query)
            await take_turns(held, self.wait_seconds, self.outage.turns.of(self.kind, id(self)), turn)
            return await self._archived(query)

    async def _archived(self, query: Query) -> Answer:
        """As `_answer`, for a query that reads objects: its success or failure is recorded."""
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
        """Several answers at the same time; the first failure ends the other queries."""
        answers = await run_together(
            {str(index): self.rows(query) for index, query in enumerate(queries)}, prefix="page query "
        )
        return list(answers.values())

    async def together(self, *queries: Query) -> list[Answer]:
        """Several small answers by one statement; they fail together."""
        if len(queries) == 1:
            return [await self.rows(queries[0])]
        return split_answer(await self.rows(join_queries(queries))) if queries else []

    async def snapshot(self, dataset: Dataset | None = None, as_of: datetime | None = None) -> Snapshot:
        """The newest publication at or before `as_of`, of one dataset or of all. It is read once and bound to every query.

        A dataset's own newest publication shows the same rows of it as the newest of all, and changes less often, which
        suits ETags.
        """
        query = snapshot_query(dataset, as_of)
        seq, at, published = (await self.rows(query)).rows[0]
        names = frozenset(published) if dataset is None else frozenset()
        return Snapshot(seq, at if seq else None, as_of, self.archives.archived, names)

    def current(self) -> Snapshot:
        """A snapshot for data that is not read through publications."""
        return Snapshot(0, archived=self.archives.archived)


async def take_turns(held: AsyncExitStack, seconds: float, *turns: Turn) -> None:
    """Take these places one after the other. HttpProblem(503) when they are not free within that time."""
    try:
        async with asyncio.timeout(seconds):
            for turn in turns:
                await held.enter_async_context(turn)
    except (TimeoutError, TooManyWaitingError):
        raise HttpProblem(
            503, "Too many pages are being read at the moment.", "Try again in a few seconds.", retry_after_seconds=5
        ) from None


def snapshot_query(dataset: Dataset | None, as_of: datetime | None) -> Query:
    """The newest publication, its time, and the datasets that have one: of a dataset or of all, up to a time or until now."""
    parts: list[str] = ["1"]
    params: dict[str, str] = {}
    if dataset is not None:
        parts.append("dataset IN ({dataset:String}, {computed_from:String})")
        params |= {"dataset": dataset.name, "computed_from": dataset.computed_from}
    if as_of is not None:
        parts.append("published_at <= {as_of:DateTime64(6, 'UTC')}")
        params["as_of"] = f"{as_of:%Y-%m-%d %H:%M:%S.%f}"
    return Query(
        f"SELECT max(seq), max(published_at), groupUniqArray(dataset) FROM loads WHERE {' AND '.join(parts)}", params
    )
