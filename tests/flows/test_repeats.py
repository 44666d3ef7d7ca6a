"""A key that may be in one document only is there once, whoever publishes at the same moment. All constructed."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from spotlightd import Batch, Dataset
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.context import Candidate, IngestContext, IngestResult
from spotlightd.flows.loads.load import load_documents
from spotlightd.flows.upkeep.doubled_keys import DoubledKeys, find_overlapping, list_suspects
from spotlightd.model.provenance import Document
from spotlightd.model.source import Link, Period
from spotlightd.sql.tiers import NoArchives

from .world import World, constructed_counts, repeating, source

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FIRST, SECOND = replace(source(), name="first"), replace(source(), name="second")


def candidate(world: World, batch: Batch, covers: str, text: str) -> Candidate:
    """A stored document, which has not been loaded."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    world.documents.objects[digest] = text.encode()
    link = Link(f"https://example.org/{batch.name}/{covers}", covers, date(2021, 1, 1), date(2021, 12, 31))
    return Candidate(link, Document(digest, len(text), batch.name, link.url, covers, NOW))


async def load(world: World, stores: IngestContext, batch: Batch, covers: str, text: str) -> IngestResult:
    return (await load_documents(batch, stores, [candidate(world, batch, covers, text)]))[0]


async def test_two_sources_of_one_dataset_never_publish_one_key_twice(world: World) -> None:
    """Each finds no key of the other, if both look before either has published."""

    async def load_all(stores: IngestContext, batch: Batch, base: int) -> list[str]:
        days = [f"{day:02}" for day in range(1, 11)]
        return [
            (await load(world, stores, batch, f"2021/{day}", f"2021-01-{day},{base + int(day)}\n")).outcome
            for day in days
        ]

    async with world.stores() as stores:
        outcomes = await asyncio.gather(load_all(stores, FIRST, 0), load_all(stores, SECOND, 100))
    assert len(await world.read_counts()) == 10
    assert sorted(outcomes[0] + outcomes[1]) == ["published"] * 10 + ["refused"] * 10


async def test_groups_of_two_sources_never_publish_one_key_twice(world: World) -> None:
    def make_group(batch: Batch, base: int) -> list[Candidate]:
        return [candidate(world, batch, f"2021/{day:02}", f"2021-01-{day:02},{base + day}\n") for day in range(1, 11)]

    async with world.stores() as stores:
        loaded = await asyncio.gather(
            load_documents(FIRST, stores, make_group(FIRST, 0)),
            load_documents(SECOND, stores, make_group(SECOND, 100)),
        )
    assert len(await world.read_counts()) == 10
    outcomes = [result.outcome for results in loaded for result in results]
    assert sorted(outcomes) == ["published"] * 10 + ["refused"] * 10


@pytest.mark.parametrize("failing", ["begins", "is written and its answer is lost", "is not written"])
async def test_a_publication_that_failed_does_not_double_what_another_source_published_since(
    world: World, failing: str
) -> None:
    real = world.warehouse.insert

    async def cut_off(dataset: Dataset, rows: Any, *, token: str = "") -> None:
        if failing == "is written and its answer is lost":
            await real(dataset, rows, token=token)
        raise StoreError("the store has failed")

    async def refuse(*_: Any) -> Any:
        raise StoreError("the store has failed")

    async with world.stores() as stores:
        with pytest.MonkeyPatch.context() as patch:
            if failing == "begins":
                patch.setattr(stores.ledger, "intend_group", refuse)
            else:
                patch.setattr(world.warehouse, "insert", cut_off)
            with pytest.raises(StoreError, match="the store has failed"):
                await load(world, stores, FIRST, "2021/a", "2021-01-04,1\n")
        second = await load(world, stores, SECOND, "2021/a", "2021-01-04,2\n")
    async with world.stores():  # a start finishes what is unfinished
        counts = await world.read_counts()
    assert (second.outcome, counts) in (("published", {"2021-01-04": 2}), ("refused", {"2021-01-04": 1}))


async def test_a_load_that_ends_while_it_waits_for_its_turn_leaves_nothing(world: World) -> None:
    async with world.stores() as stores:
        async with stores.publications.hold_keys(FIRST.datasets):
            waiting = asyncio.create_task(load(world, stores, FIRST, "2021/a", "2021-01-04,1\n"))
            async with asyncio.timeout(60):
                while not await world.count_stored():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert [load.state for load in await stores.ledger.loads()] == ["dead"]
        assert (await load(world, stores, FIRST, "2021/a", "2021-01-04,1\n")).outcome == "published"


# -- keys that are doubled already -------------------------------------------------------------------------------------


async def double(world: World, stores: IngestContext, first: str, second: str) -> None:
    """Publish two documents as a version did that let keys repeat."""
    await load(world, stores, replace(repeating(), name="first"), "2021/a", first)
    await load(world, stores, replace(repeating(), name="second"), "2021/b", second)


async def test_keys_that_are_doubled_already_are_named_until_they_are_not_doubled(world: World) -> None:
    watch = DoubledKeys(world.warehouse, NoArchives(), (constructed_counts,), Gate())
    async with world.stores() as stores:
        await watch.check()
        assert watch.sentences == {}
        await double(world, stores, "2021-01-04,1\n2021-02-05,2\n", "2021-02-05,3\n2021-03-06,4\n")
        with capture_logs() as events:
            await watch.check()
            await watch.check()
        assert [event["event"] for event in events] == ["keys doubled"]
        assert watch.sentences["constructed_counts"].startswith(
            "constructed_counts: 1 key is visible from two documents, such as day 2021-02-05: the documents for 2021/a of"
            " first and 2021/b of second. A sum over them counts twice."
        )
        await load(world, stores, FIRST, "2021/a", "2021-01-04,1\n")
        await watch.check()
        assert watch.sentences == {}
        await load(world, stores, FIRST, "2021/c", "2021-02-06,1\n")
        await double(world, stores, "2021-02-06,2\n", "2021-02-07,3\n")
        await watch.check()
        assert "such as day 2021-02-06" in watch.sentences["constructed_counts"]


async def test_a_start_looks_at_all_keys(world: World) -> None:
    async with world.stores() as stores:
        await double(world, stores, "2021-01-04,1\n", "2021-01-04,3\n")
        await load(world, stores, FIRST, "2021/x", "2021-07-04,3\n")
    watch = DoubledKeys(world.warehouse, NoArchives(), (constructed_counts,), Gate())
    await watch.check()
    assert "1 key is visible from two documents, such as day 2021-01-04" in watch.sentences["constructed_counts"]


def test_keys_are_compared_only_where_days_overlap() -> None:
    def days(first: int, last: int) -> Period:
        return Period(date(2021, 1, first), date(2021, 1, last))

    assert find_overlapping({1: days(1, 14), 2: days(15, 31)}) == set()
    assert find_overlapping({1: days(1, 20), 2: days(2, 3), 3: days(19, 25), 4: days(26, 27)}) == {1, 2, 3}
    year = Period(date(2021, 1, 5), date(2021, 3, 2))
    spans = {1: days(1, 14), 2: year, 3: Period(date(2021, 2, 3), date(2021, 2, 5))}
    assert list(list_suspects(spans)) == [
        (Period(date(2021, 1, 1), date(2021, 1, 31)), [1, 2]),
        (Period(date(2021, 2, 1), date(2021, 2, 28)), [2, 3]),
    ]
