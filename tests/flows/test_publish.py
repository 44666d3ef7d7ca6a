"""Publications are serial; a reader with a snapshot sees only complete states, whatever is published meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from spotlightd.backoff import Clock
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import MIRRORED, hidden_rows
from spotlightd.errors import StoreError
from spotlightd.flows.batch.ingest import ingest
from spotlightd.flows.loads.mirror import mirror_records, rebuild_mirror
from spotlightd.flows.loads.publish import Publications, replaces
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Run
from spotlightd.sql.tiers import NoArchives
from spotlightd.sql.visibility import visible_condition

from .world import World, back_up, constructed_counts, source

READERS = 8
PUBLICATIONS = 40
TORN_VIEW = "SELECT count(), uniqExact(load_id) FROM constructed_counts_current"


async def _publish_fast(world: World, done: asyncio.Event) -> None:
    """The same slice again and again, each time with 3 rows of one count: a reader must see 3 equal rows."""
    async with world.stores() as stores:
        for number in range(PUBLICATIONS):
            load = await stores.ledger.begin_load(source(), f"{number:064x}", "2021/a")
            rows = [(datetime(2021, 1, day, tzinfo=UTC).date(), number, load.load_id, 0, day) for day in (1, 2, 3)]
            await stores.warehouse.insert(constructed_counts, rows)
            loaded = await stores.ledger.mark_loaded(load.load_id, {"constructed_counts": 3}, [])
            await stores.publications.publish(loaded)
    done.set()


async def _read(world: World, done: asyncio.Event) -> list[tuple[int, Any]]:
    """Pairs of queries in one snapshot, as a page runs them."""
    answers = []
    sql = (
        f"SELECT count(), min(count), max(count) FROM constructed_counts WHERE {visible_condition(constructed_counts)}"
    )
    while not done.is_set():
        seq = (await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0]
        first, second = [(await world.warehouse.rows(sql, {"seq": seq})).rows[0] for _ in range(2)]
        assert first == second
        answers.append((seq, first))
    return answers


async def test_eight_readers_with_a_snapshot_never_see_a_torn_mixed_or_empty_state(world: World) -> None:
    done = asyncio.Event()
    publishing = asyncio.create_task(_publish_fast(world, done))
    batches = await asyncio.gather(*(_read(world, done) for _ in range(READERS)))
    answers = [answer for batch in batches for answer in batch]
    await publishing
    torn = [(seq, row) for seq, row in answers if seq and (row[0] != 3 or row[1] != row[2])]
    assert torn == []
    assert len({seq for seq, _ in answers}) > PUBLICATIONS / 4


async def test_the_unpinned_view_can_tear_which_is_why_no_page_uses_it(world: World) -> None:
    """The engine is told to wait between its two snapshots, so that what is rare becomes certain."""
    done = asyncio.Event()
    publishing = asyncio.create_task(_publish_fast(world, done))
    torn = 0
    sql = f"{TORN_VIEW} SETTINGS merge_tree_storage_snapshot_sleep_ms = 60"
    while not done.is_set():
        rows, loads = (await world.warehouse.rows(sql)).rows[0]
        torn += (rows, loads) != (3, 1)
    await publishing
    assert torn > 0


async def test_a_publication_whose_answer_was_lost_is_not_written_twice(world: World) -> None:
    async with world.stores() as stores:
        load = await stores.ledger.begin_load(source(), "a" * 64, "2021/a")
        loaded = await stores.ledger.mark_loaded(load.load_id, {"constructed_counts": 0}, [])
        real = world.warehouse.insert

        async def lost(dataset: Dataset, rows: Any, *, token: str = "") -> None:
            await real(dataset, rows, token=token)
            raise StoreError("the answer was lost")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.warehouse, "insert", lost)
            with pytest.raises(StoreError, match="the answer was lost"):
                await stores.publications.publish(loaded)
        assert await stores.publications.resume() == 1
        assert await stores.publications.resume() == 0
    assert (await world.warehouse.rows("SELECT count() FROM loads")).rows[0][0] == 1


async def test_a_publication_of_which_the_engine_stored_only_the_token_is_written_again(world: World) -> None:
    """The engine died between token and rows: a repeat under the same token would be ignored for ever."""
    async with world.stores() as stores:
        load = await stores.ledger.begin_load(source(), "a" * 64, "2021/a")
        loaded = await stores.ledger.mark_loaded(load.load_id, {"constructed_counts": 0}, [])
        real = world.warehouse.insert

        async def died(dataset: Dataset, rows: Any, *, token: str = "") -> None:
            await real(dataset, rows, token=token)
            await world.warehouse.execute("DELETE FROM loads WHERE true")
            raise StoreError("the engine died")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.warehouse, "insert", died)
            with pytest.raises(StoreError, match="the engine died"):
                await stores.publications.publish(loaded)
        assert await stores.publications.resume() == 1
    assert (await world.warehouse.rows("SELECT load_id FROM loads")).rows == ((load.load_id,),)


async def test_the_clock_of_publications_never_goes_back(world: World) -> None:
    moments = iter([datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)])
    clock = Clock(wall=lambda: int(next(moments).timestamp()) * 10**9)
    async with world.stores() as stores:
        stores.publications._clock = clock
        for number in range(2):
            load = await stores.ledger.begin_load(source(), f"{number:064x}", f"202{number}")
            await stores.publications.publish(await stores.ledger.mark_loaded(load.load_id, {}, []))
    first, second = [row[0] for row in (await world.warehouse.rows("SELECT published_at FROM loads ORDER BY seq")).rows]
    assert second == first + timedelta(microseconds=1)


async def test_a_lost_ledger_adopts_the_loads_of_the_warehouse(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n", "2022/a": "2022-01-04,7\n"})
    await world.ingest()
    await world.warehouse.insert(constructed_counts, [(datetime(2023, 1, 1, tzinfo=UTC).date(), 9, 4711, 0, 1)])
    for file in world.folder.glob("ledger.sqlite*"):
        file.unlink()
    world.serve({"2021/a": "2021-01-04,3\n", "2022/a": "2022-01-04,7\n"})
    assert [result.outcome for result in await world.ingest()] == ["unchanged", "published"]
    assert await world.read_counts() == {"2021-01-04": 3, "2022-01-04": 7}
    async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        assert max(load.load_id for load in await ledger.loads()) > 4711
    assert await world.count_stored() == 3


async def test_a_lost_ledger_gives_no_number_again_for_which_hidden_rows_are_noted(world: World) -> None:
    """They would be hidden by a load that does not have their keys. The load that noted them ended before its publication."""
    world.serve({"2021/a": "2021-01-04,1\n"})
    await world.ingest()
    await world.warehouse.insert(hidden_rows, [("constructed_counts", 1, 0, 1, 4711, datetime(2026, 3, 1, tzinfo=UTC))])
    for file in world.folder.glob("ledger.sqlite*"):
        file.unlink()
    world.serve({"2021/a": "2021-01-04,3\n"})
    await world.ingest()
    async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        assert max(load.load_id for load in await ledger.loads()) > 4711


async def test_a_ledger_from_a_backup_does_not_take_a_number_again_or_sweep_what_is_visible(world: World) -> None:
    ledger, backup = world.folder / "ledger.sqlite", world.folder / "backup.sqlite"
    async with world.stores() as stores:
        begun = await stores.ledger.begin_load(source(), "a" * 64, "2021/a")
        back_up(ledger, backup)
        await stores.warehouse.insert(
            constructed_counts, [(datetime(2021, 1, 4, tzinfo=UTC).date(), 1, begun.load_id, 0, 1)]
        )
        await stores.publications.publish(await stores.ledger.mark_loaded(begun.load_id, {"constructed_counts": 1}, []))
    for file in world.folder.glob("ledger.sqlite*"):
        file.unlink()
    backup.rename(ledger)
    world.serve({"2022/a": "2022-01-04,7\n"})
    await world.ingest()
    assert await world.read_counts() == {"2021-01-04": 1, "2022-01-04": 7}


async def test_a_load_that_was_left_before_its_publication_does_not_come_back_over_a_correction(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n"})

    async def full(*_: object) -> None:
        raise StoreError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteLedger, "intend_group", full)
        with pytest.raises(StoreError, match="the disk is full"):
            async with world.stores() as stores:
                await ingest(source(), world.publishers.for_source(source()), stores)
    async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        (left,) = await ledger.loads(states=("loaded",))
        newer = await ledger.begin_load(source(), "b" * 64, "2021/a")
        await world.warehouse.insert(constructed_counts, [(date(2021, 1, 4), 2, newer.load_id, 0, 1)])
        await Publications(ledger, world.warehouse).publish(
            await ledger.mark_loaded(newer.load_id, {"constructed_counts": 1}, [])
        )
    async with world.stores() as stores:
        assert [load.load_id for load in await stores.ledger.loads(states=("swept",))] == [left.load_id]
    assert await world.read_counts() == {"2021-01-04": 2}


async def test_a_lost_ledger_takes_its_records_back_from_their_copies(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n?odd\n", "2022/a": "!\n"})
    await world.ingest()
    async with world.stores() as stores:
        await mirror_records(stores.ledger, stores.warehouse, NoArchives())
    before = [(await world.warehouse.rows(f"SELECT * FROM {dataset.name} ORDER BY id")).rows for dataset in MIRRORED]
    for file in world.folder.glob("ledger.sqlite*"):
        file.unlink()
    async with world.stores() as stores:
        assert await rebuild_mirror(stores.ledger, stores.warehouse, NoArchives(), ()) == 2 + 3 + 1
    after = [(await world.warehouse.rows(f"SELECT * FROM {dataset.name} ORDER BY id")).rows for dataset in MIRRORED]
    assert after == before


async def test_records_are_mirrored_once_and_can_be_made_again(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n?odd\n", "2022/a": "!\n"})
    await world.ingest()
    async with world.stores() as stores:
        assert await mirror_records(stores.ledger, stores.warehouse, NoArchives()) == 2 + 3 + 1
        assert await mirror_records(stores.ledger, stores.warehouse, NoArchives()) == 0
        await stores.ledger.record(Run(datetime.now(UTC), "constructed", "", "", "discovered"))
        assert await mirror_records(stores.ledger, stores.warehouse, NoArchives()) == 1
        before = [
            (await stores.warehouse.rows(f"SELECT * FROM {dataset.name} ORDER BY id")).rows for dataset in MIRRORED
        ]
        assert await rebuild_mirror(stores.ledger, stores.warehouse, NoArchives(), ()) == 7
        after = [
            (await stores.warehouse.rows(f"SELECT * FROM {dataset.name} ORDER BY id")).rows for dataset in MIRRORED
        ]
    assert after == before


@pytest.mark.parametrize(
    ("newer", "older", "yes"),
    [("2021", "2021/01", True), ("2021/01", "2021/01", True), ("2021/01", "2021", False), ("2021/1", "2021/10", False)],
)
def test_a_slice_replaces_itself_and_its_parts(newer: str, older: str, yes: bool) -> None:
    assert replaces(newer, older) is yes
