"""Documents that are ready together are published as a group; each has the outcome that it would have alone."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from spotlightd import Batch, Dataset, FormatError
from spotlightd.errors import StoreError
from spotlightd.flows.batch import groups
from spotlightd.flows.batch.fetch import Fetched, begin_attempt
from spotlightd.flows.batch.groups import Waiting
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.flows.batch.schedule import Collector, Wakeups
from spotlightd.flows.loads import fill
from spotlightd.flows.loads.context import Candidate, IngestContext, IngestResult
from spotlightd.flows.loads.load import load_documents
from spotlightd.flows.supervise import Board
from spotlightd.model.provenance import Document
from spotlightd.model.source import Link, Period
from spotlightd.model.stream import Stream
from spotlightd.ports.ledger import Job, Ledger
from spotlightd.ports.parser import ParseResult
from spotlightd.sql.visibility import visible_condition

from .world import InlineGroup, InlineParser, World, constructed_counts, repeating, source, url

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def link_of(covers: str) -> Link:
    year = int(covers.split("/", maxsplit=1)[0])
    return Link(url(covers), covers, date(year, 1, 1), date(year, 12, 31))


def candidate(world: World, covers: str, text: str) -> Candidate:
    """A stored document, which has not been loaded."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    world.documents.objects[digest] = text.encode()
    return Candidate(link_of(covers), Document(digest, len(text), "constructed", url(covers), covers, NOW))


async def load(
    world: World, texts: dict[str, str], *, batch: Batch | None = None, context: IngestContext | None = None
) -> list[IngestResult]:
    """Load these documents, by slice, as one group."""
    candidates = [candidate(world, covers, text) for covers, text in texts.items()]
    if context is not None:
        return await load_documents(batch or source(), context, candidates)
    async with world.stores() as stores:
        return await load_documents(batch or source(), stores, candidates)


class CountingWarehouse:
    """The warehouse, and the tables of all inserts."""

    def __init__(self, warehouse: Any) -> None:
        self._warehouse, self.tables = warehouse, list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    async def insert(self, dataset: Dataset, rows: Sequence[Any], *, token: str = "") -> None:
        self.tables.append(dataset.name)
        await self._warehouse.insert(dataset, rows, token=token)

    async def insert_stream(self, dataset: Dataset, blocks: Any, *, token: str = "") -> int:
        self.tables.append(dataset.name)
        return int(await self._warehouse.insert_stream(dataset, blocks, token=token))


async def test_a_group_is_one_insert_and_one_block_of_publications(world: World) -> None:
    world.warehouse = counting = CountingWarehouse(world.warehouse)
    results = await load(world, {f"2021/{day:02}": f"2021-01-{day:02},{day}\n" for day in range(1, 21)})
    assert [(result.outcome, result.rows) for result in results] == [("published", 1)] * 20
    assert counting.tables == ["constructed_counts", "loads"]
    loads = (await world.warehouse.rows("SELECT seq, load_id, covers, rows FROM loads ORDER BY seq")).rows
    assert loads == tuple((day, day, f"2021/{day:02}", 1) for day in range(1, 21))
    own = "SELECT load_id, count FROM constructed_counts ORDER BY load_id"
    assert (await world.warehouse.rows(own)).rows == tuple((day, day) for day in range(1, 21))


async def test_a_refused_document_leaves_the_group_alone(world: World) -> None:
    texts = {"2021/a": "2021-01-01,1\n", "2021/b": "2021-01-02,2\n!\n", "2021/c": "2021-01-03,3\n?odd\n?odder\n", "2021/d": "?x\n2021-01-04,4\n"}  # fmt: skip
    results = await load(world, texts)
    assert [(result.outcome, result.rejects) for result in results] == [
        ("published", 0), ("refused", 0), ("refused", 2), ("published", 1),
    ]  # fmt: skip
    assert results[1].error == "refused as the document asks: ! (line 2)"
    assert results[2].error.startswith("2 of 3 lines could not be parsed")
    assert await world.read_counts() == {"2021-01-01": 1, "2021-01-04": 4}
    async with world.stores() as stores:
        rejects = await stores.ledger.history("rejects", 0, 10)
        assert sorted(row[7] for row in rejects) == ["?odd", "?odder", "?x"]
    assert await world.count_stored() == 2


async def test_documents_of_a_group_that_share_a_key_are_decided_one_after_the_other(world: World) -> None:
    await load(world, {"2022/z": "2022-01-04,1\n"})
    shared = "2021-01-02,2\n2021-01-09,9\n"
    texts = {"2021/a": "2021-01-01,1\n", "2021/b": shared, "2021/c": "2021-01-09,8\n", "2022/a": "2022-01-04,2\n", "2021/d": "2021-01-03,3\n"}  # fmt: skip
    results = await load(world, texts)
    outcomes = {result.link.covers: (result.outcome, result.is_final) for result in results}
    assert outcomes == {
        "2021/a": ("published", True), "2021/b": ("published", True), "2021/c": ("refused", False),
        "2022/a": ("refused", False), "2021/d": ("published", True),
    }  # fmt: skip
    assert "the document for 2021/b of constructed has it too" in results[2].error
    assert "the document for 2022/z of constructed has it too" in results[3].error
    assert await world.read_counts() == {
        "2021-01-01": 1, "2021-01-02": 2, "2021-01-09": 9, "2022-01-04": 1, "2021-01-03": 3,
    }  # fmt: skip


async def test_corrections_of_a_group_replace_their_own_slices(world: World) -> None:
    await load(world, {"2021/a": "2021-01-01,1\n", "2021/b": "2021-01-02,2\n"})
    await load(world, {"2021/a": "2021-01-01,5\n", "2021/c": "2021-01-03,3\n", "2021/b": "2021-01-02,6\n"})
    assert await world.read_counts() == {"2021-01-01": 5, "2021-01-02": 6, "2021-01-03": 3}
    assert await world.read_counts(seq=2) == {"2021-01-01": 1, "2021-01-02": 2}
    assert await world.read_counts(seq=3) == {"2021-01-01": 5, "2021-01-02": 2}


async def test_a_key_that_moves_to_another_document_of_the_group_is_there_once(world: World) -> None:
    """`a` gives up a day that `b` takes: at no publication may it be there twice."""
    await load(world, {"2021/a": "2021-01-01,1\n2021-01-02,2\n"})
    results = await load(world, {"2021/a": "2021-01-01,1\n2021-01-03,3\n", "2021/b": "2021-01-02,2\n"})
    assert [result.outcome for result in results] == ["published", "published"]
    for seq in range(1, 4):
        await world.read_counts(seq)
    assert await world.read_counts() == {"2021-01-01": 1, "2021-01-02": 2, "2021-01-03": 3}


async def test_keys_that_may_repeat_are_published_together(world: World) -> None:
    results = await load(world, {"2021/a": "2021-01-01,1\n", "2021/b": "2021-01-01,2\n"}, batch=repeating())
    assert [result.outcome for result in results] == ["published", "published"]


class FailingGroup(InlineGroup):
    """A group whose child dies on a document that says `poison`, and on all that come after it."""

    async def read(self, path: Path, name: str, *, load_id: int, period: Period | None = None) -> ParseResult:
        if "poison" in path.read_text() or self.problem:
            self.problem = "the child ended"
            self._finished.set()
            raise FormatError(self.problem)
        return await super().read(path, name, load_id=load_id, period=period)


class FailingParser(InlineParser):
    @asynccontextmanager
    async def parse_group(self, source: Batch | Stream) -> AsyncIterator[InlineGroup]:
        yield FailingGroup(source)


async def test_a_document_that_ends_the_child_is_refused_alone(world: World) -> None:
    async with world.stores() as stores:
        results = await load(
            world, {"2021/a": "2021-01-01,1\n", "2021/b": "poison\n", "2021/c": "2021-01-03,3\n"},
            context=replace(stores, parser=FailingParser()),
        )  # fmt: skip
    assert [(result.outcome, result.error) for result in results] == [
        ("published", ""), ("refused", "the child ended"), ("published", ""),
    ]  # fmt: skip
    assert await world.read_counts() == {"2021-01-01": 1, "2021-01-03": 3}


async def test_a_group_that_takes_long_does_not_wait_for_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "GROUP_SECONDS", -1.0)
    results = await load(world, {f"2021/{day}": f"2021-01-0{day},{day}\n" for day in range(1, 5)})
    assert [result.outcome for result in results] == ["published"] * 4
    assert [row[0] for row in (await world.warehouse.rows("SELECT covers FROM loads ORDER BY seq")).rows] == [
        "2021/1", "2021/2", "2021/3", "2021/4",
    ]  # fmt: skip


async def test_a_group_holds_a_bounded_number_of_rejected_lines(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "GROUP_REJECTS", 1)
    world.warehouse = counting = CountingWarehouse(world.warehouse)
    results = await load(world, {f"2021/{day}": f"2021-01-0{day},{day}\n?odd\n" for day in range(1, 6)})
    assert [(result.outcome, result.rejects) for result in results] == [("published", 1)] * 5
    assert counting.tables == ["constructed_counts", "loads"] * 3


async def test_a_reader_sees_the_whole_group_or_nothing_of_it(world: World) -> None:
    done = asyncio.Event()
    sql = f"SELECT count() FROM constructed_counts WHERE {visible_condition(constructed_counts)}"

    async def read() -> set[int]:
        found = set[int]()
        while not done.is_set():
            seq = (await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0]
            found.add(int((await world.warehouse.rows(sql, {"seq": seq})).rows[0][0]))
        return found

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for year in range(2001, 2009):
        await load(world, {f"{year}/{day}": f"{year}-01-0{day},{day}\n" for day in range(1, 6)})
    done.set()
    seen = set[int]().union(*await asyncio.gather(*readers))
    assert seen <= set(range(0, 41, 5))
    assert len(seen) > 1


async def test_rows_that_the_warehouse_lost_publish_nothing_of_the_group(world: World) -> None:
    class Forgetful(CountingWarehouse):
        async def insert_stream(self, dataset: Dataset, blocks: Any, *, token: str = "") -> int:
            written = await super().insert_stream(dataset, blocks, token=token)
            await self.execute("DELETE FROM constructed_counts WHERE count = 2")
            return written

    async with world.stores() as stores:
        broken = replace(stores, warehouse=Forgetful(stores.warehouse))
        texts = {"2021/a": "2021-01-01,1\n", "2021/b": "2021-01-02,2\n"}
        with pytest.raises(StoreError, match="1 rows of constructed_counts were read, the warehouse holds 0"):
            await load(world, texts, context=broken)
        assert await world.read_counts() == {}
        assert {result.outcome for result in await load(world, texts, context=stores)} == {"published"}


# -- an interrupted publication ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_written", [True, False])
async def test_an_interrupted_group_is_finished_once(world: World, *, is_written: bool) -> None:
    real = world.warehouse.insert

    async def cut_off(dataset: Dataset, rows: Any, *, token: str = "") -> None:
        if is_written:
            await real(dataset, rows, token=token)
        raise StoreError("the answer was lost")

    texts = {"2021/a": "2021-01-01,1\n", "2021/b": "2021-01-02,2\n", "2021/c": "2021-01-03,3\n"}
    async with world.stores() as stores:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.warehouse, "insert", cut_off)
            with pytest.raises(StoreError, match="the answer was lost"):
                await load(world, texts, context=stores)
        assert await stores.publications.resume() == 3
        assert await stores.publications.resume() == 0
        published = await stores.ledger.loads(states=("published",))
    assert [load.seq for load in published] == [1, 2, 3]
    assert (await world.warehouse.rows("SELECT count(), uniqExact(seq) FROM loads")).rows == ((3, 3),)
    assert await world.read_counts() == {"2021-01-01": 1, "2021-01-02": 2, "2021-01-03": 3}


async def test_a_load_of_an_interrupted_group_that_is_outdated_now_is_not_published(world: World) -> None:
    async with world.stores() as stores:
        begun = await stores.ledger.begin_group(source(), [("a" * 64, "2021/a"), ("b" * 64, "2021/b")])
        await stores.ledger.mark_group_loaded([(load.load_id, {"constructed_counts": 0}, ()) for load in begun])
        await stores.ledger.intend_group([(load.load_id, load.load_id, (), NOW) for load in begun])
        newer = await stores.ledger.begin_load(source(), "c" * 64, "2021/a")
        await stores.ledger.mark_loaded(newer.load_id, {"constructed_counts": 0}, ())
        await stores.ledger.intend(newer.load_id, 7, (), NOW)
        await stores.ledger.mark_published(newer.load_id)
        await stores.publications.resume()
        states = {load.covers: load.state for load in await stores.ledger.loads() if load.load_id != newer.load_id}
    assert states == {"2021/a": "dead", "2021/b": "published"}


# -- what is loaded together -------------------------------------------------------------------------------------------


def fetched(covers: str, digest: str = "", size: int = 1) -> Fetched:
    link = link_of(covers)
    document = Document(digest or covers, size, "constructed", link.url, covers, NOW)
    return Fetched(begin_attempt(link, None), document)


async def group_up(*documents: Fetched) -> list[list[str]]:
    waiting = Waiting()
    for document in documents:
        await waiting.put(document)
    await waiting.end()
    taken = list[list[str]]()
    while group := await waiting.take_group():
        taken.append([item.attempt.link.covers for item in group])
    return taken


async def test_documents_that_concern_one_another_are_never_in_one_group() -> None:
    assert await group_up(fetched("2021/a"), fetched("2021/b"), fetched("2022")) == [["2021/a", "2021/b", "2022"]]
    assert await group_up(fetched("2021/a"), fetched("2021/a", "x")) == [["2021/a"], ["2021/a"]]
    assert await group_up(fetched("2021"), fetched("2021/a")) == [["2021"], ["2021/a"]]
    assert await group_up(fetched("2021/a/1"), fetched("2021"), fetched("2020")) == [["2021/a/1"], ["2021", "2020"]]
    assert await group_up(fetched("2021/a", "x"), fetched("2021/b", "x")) == [["2021/a"], ["2021/b"]]


async def test_a_group_has_at_most_so_many_documents_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "GROUP_DOCUMENTS", 2)
    assert await group_up(fetched("2021/a")) == [["2021/a"]]
    large = groups.GROUP_BYTES
    assert await group_up(fetched("2021/a", size=large + 1)) == [["2021/a"]]
    monkeypatch.setattr(groups, "GROUP_DOCUMENTS", 20)
    assert await group_up(fetched("2021/a", size=large), fetched("2021/b")) == [["2021/a"], ["2021/b"]]
    monkeypatch.setattr(groups, "GROUP_DOCUMENTS", 100)
    many = [fetched(f"2021/{number}") for number in range(90)]
    assert await group_up(*many) == [[item.attempt.link.covers for item in many]]


async def test_a_group_never_waits_for_more() -> None:
    waiting = Waiting()
    await waiting.put(fetched("2021/a"))
    assert len(await waiting.take_group()) == 1
    taking = asyncio.create_task(waiting.take_group())
    await asyncio.sleep(0)
    assert not taking.done()
    await waiting.put(fetched("2021/b"))
    assert [item.attempt.link.covers for item in await taking] == ["2021/b"]


async def test_the_next_documents_are_fetched_while_the_first_is_loaded(world: World) -> None:
    names = [f"2021/{day:02}" for day in range(1, 10)]
    world.serve({name: f"2021-01-{number:02},{number}\n" for number, name in enumerate(names, 1)})
    documents = {url(name) for name in names}

    class Slow(InlineParser):
        @asynccontextmanager
        async def parse_group(self, source: Batch | Stream) -> AsyncIterator[InlineGroup]:
            async with asyncio.timeout(60):
                while not documents <= set(world.publishers.requests):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            yield InlineGroup(source)

    async with world.stores() as stores:
        context = replace(stores, parser=Slow())
        results = await ingest(source(), world.publishers.for_source(source()), context, span=IngestRange(again=True))
    assert [result.outcome for result in results] == ["published"] * 9
    assert (await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0] == 9


async def test_what_was_fetched_before_a_store_failed_is_loaded(world: World) -> None:
    """Otherwise a document that cannot be stored would hold back, at each attempt, those that are."""
    world.serve({"2021/a": "2021-01-04,1\n", "2022/a": "2022-01-04,7\n"})

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.documents, name)

        async def put(self, chunks: AsyncIterator[bytes]) -> Any:
            if not world.documents.objects:
                return await world.documents.put(chunks)
            raise StoreError("the disk is full")

    async with world.stores() as stores:
        context = replace(stores, documents=Full())
        with pytest.raises(StoreError, match="the disk is full"):
            await ingest(source(), world.publishers.for_source(source()), context)
    assert await world.read_counts() == {"2022-01-04": 7}


async def test_each_document_of_a_group_has_its_own_run_and_address(world: World) -> None:
    texts = {f"2021/{day:02}": f"2021-01-{day:02},{day}\n" for day in range(1, 8)} | {"2021/08": "!\n"}
    world.serve(texts)
    await world.ingest()
    runs = [(covers, outcome) for outcome, covers, _ in await world.runs() if covers]
    assert sorted(runs) == sorted(
        (covers, "refused" if text == "!\n" else "published") for covers, text in texts.items()
    )
    async with world.stores() as stores:
        known = await stores.ledger.known_addresses("constructed", map(url, texts))
    assert {address.covers: address.outcome for address in known.values()} == dict(runs)
    assert await world.ingest(again=False) == []


async def test_the_progress_of_a_backfill_is_not_saved_for_each_document(world: World) -> None:
    names = [f"2021/{day:02}" for day in range(1, 29)]
    world.serve({name: f"2021-01-{number:02},{number}\n" for number, name in enumerate(names, 1)})
    saved = list[Job]()

    class CountingLedger:
        def __getattr__(self, name: str) -> Any:
            return getattr(stores.ledger, name)

        async def update_job(self, job: Job) -> None:
            saved.append(job)
            await stores.ledger.update_job(job)

    async with world.stores() as stores:
        job = await stores.ledger.add_job(Job("backfill", "constructed"))
        context = replace(stores, ledger=cast("Ledger", CountingLedger()))
        running = asyncio.create_task(
            Collector(source(), world.publishers, context, Wakeups())(Board().reporter("collect"))
        )
        try:
            async with asyncio.timeout(120):
                while not (await stores.ledger.job(job.number)).has_ended:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            running.cancel()
            await asyncio.wait([running])
        assert (await stores.ledger.job(job.number)).detail.startswith("28 documents: 28 published")
    assert len(saved) < len(names) / 2
