"""A store that swallows questions: hot rows are read as always, and nobody waits for it twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.backoff import Clock
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.errors import StoreError
from spotlightd.ports.warehouse import Answer
from spotlightd.query import outage
from spotlightd.query.outage import ArchiveUnavailableError, Outage, OutageAwareArchives
from spotlightd.settings.serving import WebSettings
from spotlightd.sql.tiers import Archived, ArchivedPartitions
from spotlightd.turns import Turns
from tests.web.test_left_out import BOUNDS, NOTE, Index
from tests.web.world import FAILS, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
AT_ONCE, CROWD, TIMEOUT_SECONDS = 4, 24, 20.0
TABLE = f"/data/{FAILS.name}"
MISSING = Archived(FAILS, "20090601-0", ("sec_ftd/gone.parquet",), 1234, BOUNDS)
SILENT = "Timeout exceeded: connect timed out"


def no_rows(keys: Sequence[str], structure: str) -> str:
    assert structure
    return f"(SELECT * FROM `{FAILS.name}` WHERE 0 /* {keys[0]} */)"


@dataclass
class Silent:
    """The real warehouse. Queries that read the archive hang until `released`; then they fail, or with `is_back` are answered."""

    real: ClickHouse
    released: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    is_back: bool = False
    queries: int = 0
    most: int = 0
    hanging: int = 0

    async def _read(self, sql: str) -> None:
        if MISSING.keys[0] not in sql:
            return
        self.queries, self.hanging = self.queries + 1, self.hanging + 1
        self.most = max(self.most, self.hanging)
        if self.hanging == AT_ONCE // 2:
            self.full.set()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self.released.wait()
        finally:
            self.hanging -= 1
        if not self.is_back:
            raise StoreError(SILENT, code=209)

    async def rows(self, sql: str, *args: Any, **more: Any) -> Answer:
        await self._read(sql)
        return await self.real.rows(sql, *args, **more)

    @asynccontextmanager
    async def stream(self, sql: str, *args: Any, **more: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._read(sql)
        async with self.real.stream(sql, *args, **more) as chunks:
            yield chunks


@dataclass
class Place:
    world: World
    store: Silent


@pytest_asyncio.fixture(loop_scope="session")
async def place(world: World) -> AsyncIterator[Place]:
    store = Silent(world.warehouse)
    index = Index(ArchivedPartitions({FAILS.name: (MISSING,)}, no_rows))
    settings = WebSettings(at_once=AT_ONCE, query_seconds=TIMEOUT_SECONDS)
    async with world.served(warehouse=store, archives=index, settings=settings) as served:
        yield Place(served, store)


async def test_many_queries_to_a_silent_archive_leave_slots_for_other_queries(place: Place) -> None:
    crowd = [asyncio.create_task(place.world.get(TABLE)) for _ in range(CROWD)]
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await place.store.full.wait()
        for path in ("/data/loads", f"{TABLE}?settlement_date__gte=2021-01-01", "/"):
            assert (await place.world.get(path))[0] == 200
    assert place.store.most == AT_ONCE // 2
    assert not any(request.done() for request in crowd)
    place.store.released.set()
    answers = await asyncio.gather(*crowd)
    assert [status for status, _, _ in answers] == [200] * CROWD
    assert all(f"The archive cannot be reached now, so this page leaves these rows out: {NOTE}" in text
               for _, text, _ in answers)  # fmt: skip
    assert all("No data is lost" in text for _, text, _ in answers)
    assert place.store.queries == AT_ONCE // 2


async def test_later_requests_do_not_wait_for_the_archive(place: Place) -> None:
    place.store.released.set()
    assert (await place.world.get(TABLE))[0] == 200
    queries = place.store.queries
    place.store.released.clear()
    for path in (TABLE, "/s/GME", "/search?q=g"):
        status, text, _ = await place.world.get(path)
        assert (status, NOTE in text) == (200, True), path
    for path in (f"{TABLE}.csv", f"{TABLE}.json", f"{TABLE}.json?_size=10", f"/cite?address={TABLE}"):
        status, text, answer = await place.world.get(path)
        assert (status, SILENT in text) == (503, True), path
        assert answer.headers["Retry-After"] == "30"
    assert place.store.queries == queries


@pytest.mark.parametrize("path", [TABLE, f"{TABLE}.csv", f"/cite?address={TABLE}"])
async def test_the_archive_is_retried_after_a_while(place: Place, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(outage, "RETRY_SECONDS", 0.0)
    place.store.released.set()
    assert (await place.world.get(f"{TABLE}.csv"))[0] == 503
    place.store.is_back = True
    assert (await place.world.get(path))[0] == 200
    monkeypatch.undo()
    status, text, _ = await place.world.get(TABLE)
    assert (status, NOTE in text) == (200, False)


async def test_one_request_at_a_time_tries_again() -> None:
    now = 100.0
    known = Outage(Turns(1), Clock(now=lambda: now))
    index = Index(ArchivedPartitions({FAILS.name: (MISSING,)}, no_rows))

    def tries() -> bool:
        cold = OutageAwareArchives(index, known).archived
        try:
            return all(cold.table(MISSING.keys, "symbol String") for _ in range(3))
        except ArchiveUnavailableError:
            return False

    assert tries()
    known.record_failure(StoreError("HTTP response code: 404: while reading", code=499))
    assert tries()
    known.record_failure(StoreError(SILENT, code=209))
    assert not tries()
    now += outage.RETRY_SECONDS
    assert [tries(), tries(), tries()] == [True, False, False]
    now += outage.RETRY_SECONDS
    assert [tries(), tries()] == [True, False]
    known.record_success()
    assert [tries(), tries()] == [True, True]


@pytest.mark.parametrize(
    ("code", "message", "is_missing", "is_silent"),
    [(107, "File x doesn't exist", True, False), (499, "No response body.. HTTP response code: 404: while reading 'a' in bucket 'b'", True, False),
     (499, "The specified key does not exist.", True, False), (499, "HTTP response code: 503: while reading '404/a'", False, True),
     (209, SILENT, False, True), (60, "no such table", False, False)],
)  # fmt: skip
async def test_missing_objects_are_distinguished_from_an_outage(
    code: int, message: str, is_missing: bool, is_silent: bool
) -> None:
    problem = StoreError(message, code=code)
    assert (outage.is_object_missing(problem), outage.is_unavailable(problem)) == (is_missing, is_silent)
