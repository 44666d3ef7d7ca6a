"""Which loads the ledger finds for a document, compared with the definition of what is visible."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.flows.loads.publish import is_outdated, replaces
from spotlightd.model.derived.transform import Transform
from spotlightd.model.provenance import Load
from spotlightd.model.source import Batch

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SLICES = (
    "2021",
    "2021/1",
    "2021/1/a",
    "2021/10",
    "2021/10/a",
    "2021-x",
    "2021.5",
    "202",
    "2022",
    "2021/1/a/deep",
    "",
    "a%_/b",
)
DIGESTS = tuple(f"{number:064x}" for number in range(8))


def feed(name: str, *datasets: str, parser: str = "1") -> Batch:
    """What the ledger reads of a source."""
    tables = tuple(SimpleNamespace(name=dataset) for dataset in datasets)
    return cast("Batch", SimpleNamespace(name=name, parser=parser, datasets=tables))


def transform(name: str, input_name: str, parser: str = "1") -> Transform:
    values: Any = SimpleNamespace(
        name=name, parser=parser, input=SimpleNamespace(name=input_name), datasets=(SimpleNamespace(name=name),)
    )
    return cast("Transform", values)


SOURCE, OTHER = feed("constructed", "constructed_days"), feed("another", "constructed_days")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    async with SqliteLedger(tmp_path / "ledger.sqlite") as opened:
        yield opened


async def publish(
    ledger: SqliteLedger, source: Batch | Transform, covers: str, digest: str = DIGESTS[0], *,
    supersedes: Iterable[int] = (), derived_from: int = 0,
) -> Load:  # fmt: skip
    load = await ledger.begin_load(source, digest, covers, derived_from=derived_from)
    await ledger.mark_loaded(load.load_id, {"constructed_days": 1}, ())
    await ledger.intend(load.load_id, load.load_id, list(supersedes), NOON)
    return await ledger.mark_published(load.load_id)


def select_current(published: Iterable[Load]) -> list[Load]:
    """The definition: published, and in the list of no other published load."""
    loads = list(published)
    superseded = {load_id for load in loads for load_id in load.supersedes}
    return [load for load in loads if load.load_id not in superseded]


def concerns(load: Load, covers: str, digest: str) -> bool:
    return replaces(load.covers, covers) or replaces(covers, load.covers) or load.digest == digest


async def make_history(ledger: SqliteLedger, randomness: random.Random) -> None:
    """Loads of two sources in every state, each publication superseding what it replaces."""
    for _ in range(120):
        source, covers, digest = (
            randomness.choice((SOURCE, OTHER)),
            randomness.choice(SLICES),
            randomness.choice(DIGESTS),
        )
        published = await ledger.loads(source.name, states=("published",))
        replaced = [
            load.load_id for load in select_current(published) if replaces(covers, load.covers) or load.digest == digest
        ]
        if randomness.random() < 0.7:
            await publish(ledger, source, covers, digest, supersedes=replaced)
            continue
        load = await ledger.begin_load(source, digest, covers)
        if randomness.random() < 0.5:
            await ledger.intend(load.load_id, load.load_id, replaced, NOON)
        if randomness.random() < 0.5:
            await ledger.mark_dead(load.load_id)


@pytest.mark.parametrize("seed", range(3))
async def test_a_look_up_finds_what_the_definition_finds_in_all_loads(ledger: SqliteLedger, seed: int) -> None:
    await make_history(ledger, random.Random(seed))
    for source in (SOURCE.name, OTHER.name):
        published = await ledger.loads(source, states=("published",))
        visible = select_current(published)
        assert list(await ledger.visible_loads(source)) == visible
        for covers in SLICES:
            for digest in DIGESTS:
                found = await ledger.related_loads(source, covers, digest)
                assert list(found) == [load for load in visible if concerns(load, covers, digest)]
            of_slice = await ledger.related_loads(source, covers, superseded=True)
            assert list(of_slice) == [load for load in published if concerns(load, covers, "")]


async def test_a_load_is_outdated_by_a_later_one_even_if_that_is_superseded_under_another_name(
    ledger: SqliteLedger,
) -> None:
    old = await ledger.begin_load(SOURCE, DIGESTS[0], "2021/01")
    newer = await publish(ledger, SOURCE, "2021/01", DIGESTS[1])
    assert await is_outdated(ledger, old)
    await publish(ledger, SOURCE, "2030/01", DIGESTS[1], supersedes=[newer.load_id])
    assert await is_outdated(ledger, old)
    later = await ledger.begin_load(SOURCE, DIGESTS[0], "2021/01")
    assert not await is_outdated(ledger, later)
    await publish(ledger, SOURCE, "2021", DIGESTS[2])
    assert await is_outdated(ledger, later)


async def test_a_load_supersedes_only_once_it_is_published(ledger: SqliteLedger) -> None:
    first = await publish(ledger, SOURCE, "2021")
    second = await ledger.begin_load(SOURCE, DIGESTS[1], "2021")
    await ledger.intend(second.load_id, 2, [first.load_id], NOON)
    assert await ledger.related_loads(SOURCE.name, "2021") == (first,)
    published = await ledger.mark_published(second.load_id)
    assert await ledger.related_loads(SOURCE.name, "2021") == (published,)
    (superseded, _) = await ledger.published_loads([first.load_id, second.load_id, 99])
    assert superseded.superseded_by == second.load_id


async def test_adopted_publications_supersede_in_whatever_order_they_come(ledger: SqliteLedger) -> None:
    first = Load(
        1, "constructed", DIGESTS[0], "1", "2021", "published", ("constructed_days",), {}, seq=1, published_at=NOON
    )
    second = Load(2, "constructed", DIGESTS[1], "1", "2021", "published", ("constructed_days",), {}, 0, 2, (1,), NOON)
    await ledger.adopt([second, first], {})
    assert await ledger.visible_loads("constructed") == (second,)
    await ledger.adopt([first], {})
    assert await ledger.visible_loads("constructed") == (second,)


async def test_a_transform_misses_closed_visible_loads_that_its_version_has_not_computed(ledger: SqliteLedger) -> None:
    ticks, bars = feed("ticks", "trades"), transform("bars", "trades", "2")
    days = [await publish(ledger, ticks, f"2026/03/0{day}/1", f"{day:064x}") for day in range(1, 6)]
    for day in days[:4]:
        await ledger.close_load(day.load_id)
    other = await publish(ledger, feed("elsewhere", "quotes"), "2026/03/01/1", "e" * 64)
    await ledger.close_load(other.load_id)
    await publish(ledger, bars, "ticks/1", "1" * 64, derived_from=days[0].load_id)
    older = transform("bars", "trades", "1")
    of_older = await publish(ledger, older, "ticks/2", "2" * 64, derived_from=days[1].load_id)
    unpublished = await ledger.begin_load(bars, "3" * 64, "ticks/3", derived_from=days[2].load_id)
    await publish(ledger, ticks, "2026/03/04/1", "4" * 64, supersedes=[days[3].load_id])
    assert [load.load_id for load in await ledger.uncomputed_loads(bars)] == [days[1].load_id, days[2].load_id]
    assert [load.load_id for load in await ledger.open_loads("ticks")] == [days[4].load_id, unpublished.load_id + 1]
    derived = await ledger.derived_loads(day.load_id for day in days[1:])
    assert [load.load_id for load in derived] == [of_older.load_id]


async def test_the_newest_publication_is_of_the_states_that_are_asked_for(ledger: SqliteLedger) -> None:
    assert await ledger.newest_seq() is None
    load = await ledger.begin_load(SOURCE, DIGESTS[0], "2021")
    assert await ledger.newest_seq() == 0
    assert await ledger.newest_seq("published") is None
    await publish(ledger, SOURCE, "2022", DIGESTS[1])
    await ledger.intend(load.load_id, 7, [], NOON)
    assert (await ledger.newest_seq(), await ledger.newest_seq("published"), await ledger.newest_seq("dead")) == (
        7,
        2,
        None,
    )
