"""A derivation gives what its SELECT gives over all visible rows, whatever was corrected, withdrawn, repeated or killed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd import Column, Dataset, Derivation, Rhythm, RowsOf, SettingsError, StoreError
from spotlightd.backoff import Clock
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.flows.derive.context import DeriveContext
from spotlightd.flows.derive.slices import SliceRunner
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.sql.tiers import NoArchives
from spotlightd.sql.visibility import visible_condition
from tests.manual_clock import ManualClock

from .world import CrashError, Fuse, Fused, World, constructed_counts, crash_steps

sums = Dataset(
    name="constructed_sums", title="Constructed sums", publisher="nobody", about="Sums of counts by month.",
    columns=(Column("month", "Date", "the month"), Column("total", "UInt64", "sum"), Column("days", "UInt64", "days")),
    key=("month",), order=("month",), time="month", rhythm=Rhythm("daily", 1), pointer=(),
)  # fmt: skip
MONTH = "substring(toString(day), 1, 7)"
by_month = Derivation(
    name="constructed_sums",
    inputs=(constructed_counts,),
    dataset=sums,
    version="1",
    slices=f"SELECT {MONTH} AS slice FROM {{constructed_counts}}",
    select=f"""SELECT {MONTH} AS slice, toStartOfMonth(day) AS month, sum(count) AS total, count() AS days
        FROM {{constructed_counts}} WHERE slice IN (SELECT arrayJoin({{{{slices:Array(String)}}}})) GROUP BY slice, month""",
    origins=(RowsOf(constructed_counts, "toStartOfMonth(day) = {month:Date}"),),
    at_once=3,
)
Sums = dict[str, tuple[int, int]]


@pytest.fixture
async def tables(warehouse: ClickHouse) -> None:
    await warehouse.ensure(sums)


@asynccontextmanager
async def open_runner(
    world: World, derivation: Derivation = by_month, fuse: Fuse | None = None, clock: ManualClock | None = None
) -> AsyncIterator[SliceRunner]:
    """The runner after a start of the daemon, recovery included."""
    async with SqliteLedger(world.folder / "ledger.sqlite") as ledger:
        warehouse = Fused(world.warehouse, fuse) if fuse else world.warehouse
        fused = Fused(ledger, fuse) if fuse else ledger
        publications = Publications(fused, warehouse)
        datasets = (constructed_counts, sums, *SYSTEM_DATASETS)
        await recover(fused, warehouse, publications, datasets, NoArchives())
        timing = clock.to_clock() if clock else Clock()
        yield SliceRunner(derivation, DeriveContext(fused, warehouse, publications), timing)


async def derive(world: World, derivation: Derivation = by_month, fuse: Fuse | None = None) -> int:
    async with open_runner(world, derivation, fuse) as runner:
        return await runner.run_round()


async def read_sums(world: World, seq: int = 2**63) -> Sums:
    sql = f"SELECT month, total, days FROM constructed_sums WHERE {visible_condition(sums)}"
    rows = (await world.warehouse.rows(sql, {"seq": seq})).rows
    assert len({month for month, *_ in rows}) == len(rows), rows
    return {f"{month:%Y-%m}": (total, days) for month, total, days in rows}


async def sum_counts(world: World, seq: int = 2**63) -> Sums:
    """The same, computed here."""
    expected: Sums = {}
    for day, count in (await world.read_counts(seq)).items():
        total, days = expected.get(day[:7], (0, 0))
        expected[day[:7]] = total + count, days + 1
    return expected


async def newest_seq(world: World) -> int:
    return int((await world.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0])


@pytest.mark.usefixtures("tables")
async def test_only_touched_slices_are_computed_and_a_withdrawn_one_is_emptied(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n2021-01-05,2\n2021-02-01,3\n", "2022/a": "2022-01-04,7\n"})
    await world.ingest()
    assert await derive(world) == 3
    assert await derive(world) == 0
    before = await newest_seq(world)
    world.serve({"2021/a": "2021-01-04,5\n2021-03-01,1\n", "2022/a": "2022-01-04,7\n"})
    await world.ingest()
    assert await derive(world) == 3, "January, February, from which the rows went, and March"
    assert await read_sums(world) == {"2021-01": (5, 1), "2021-03": (1, 1), "2022-01": (7, 1)}
    assert await read_sums(world, before) == {"2021-01": (3, 2), "2021-02": (3, 1), "2022-01": (7, 1)}, "as of then"
    assert await derive(world) == 0


@pytest.mark.usefixtures("tables")
async def test_a_slice_that_changes_again_and_again_is_computed_less_and_less_often(world: World) -> None:
    clock = ManualClock()
    async with open_runner(world, clock=clock) as runner:
        computed = list[float]()
        for number in range(60):
            world.serve({"2021/a": f"2021-01-04,{number}\n"})
            await world.ingest()
            if await runner.run_round():
                computed.append(clock.seconds)
            clock.seconds += 10
        assert computed == [0, 10, 30, 70, 150, 310]
        clock.seconds += 3_600
        assert await runner.run_round() == 1
        assert await read_sums(world) == {"2021-01": (59, 1)}
    assert await derive(world) == 0, "the publications that were waited for are noted"


@pytest.mark.usefixtures("tables")
async def test_any_order_of_documents_corrections_and_rounds_gives_what_a_rebuild_gives(world: World) -> None:
    chance = random.Random(14)
    for _ in range(5):
        texts = {
            f"{year}/{part}": "".join(
                f"{year}-{month:02}-{day:02},{chance.randrange(9)}\n"
                for month in chance.sample(range(1, 13), 3)
                for day in [days[part] + chance.randrange(9)]
            )
            for year in chance.sample((2020, 2021, 2022), 2)
            for days in [{"a": 1, "b": 11}]
            for part in days
        }
        world.serve(texts)
        await world.ingest()
        if chance.random() < 0.7:
            await derive(world)
            assert await read_sums(world) == await sum_counts(world)
    await derive(world)
    incremental = await read_sums(world)
    async with open_runner(world) as runner:
        assert await runner.compute_again() >= len(incremental)
    assert await read_sums(world) == incremental == await sum_counts(world)


@pytest.mark.usefixtures("tables")
async def test_a_new_version_computes_all_slices_again(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n2021-02-05,2\n"})
    await world.ingest()
    await derive(world)
    doubled = replace(by_month, version="2", select=by_month.select.replace("sum(count)", "sum(count) * 2"))
    assert await derive(world, doubled) == 2
    assert await read_sums(world) == {"2021-01": (2, 1), "2021-02": (4, 1)}
    only_january = replace(doubled, version="3", slices=by_month.slices + " WHERE toMonth(day) = 1")
    only_january = replace(only_january, select=only_january.select.replace(" WHERE ", " WHERE toMonth(day) = 1 AND "))
    await derive(world, only_january)
    assert await read_sums(world) == {"2021-01": (2, 1)}, "a slice that the new version does not have is emptied"


@pytest.mark.usefixtures("tables")
async def test_a_derivation_of_a_derivation_follows_it(world: World) -> None:
    totals = replace(sums, name="constructed_totals")
    await world.warehouse.ensure(totals)
    by_year = Derivation(
        name="constructed_totals", inputs=(sums,), dataset=totals, version="1",
        slices="SELECT toString(toYear(month)) AS slice FROM {constructed_sums}",
        select="""SELECT toString(toYear(month)) AS slice, toStartOfYear(constructed_sums.month) AS month,
            sum(constructed_sums.total) AS total, sum(constructed_sums.days) AS days
            FROM {constructed_sums} WHERE slice IN (SELECT arrayJoin({{slices:Array(String)}})) GROUP BY 1, 2""",
    )  # fmt: skip
    world.serve({"2021/a": "2021-01-04,1\n2021-02-05,2\n"})
    await world.ingest()
    await derive(world)
    assert await derive(world, by_year) == 1
    rows = (await world.warehouse.rows("SELECT toYear(month), total, days FROM constructed_totals")).rows
    assert rows == ((2021, 3, 2),)


@pytest.mark.usefixtures("tables")
async def test_a_row_of_another_slice_is_refused_and_leaves_nothing(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n"})
    await world.ingest()
    wrong = replace(by_month, select=by_month.select.replace(f"SELECT {MONTH} AS slice", "SELECT '1999-01' AS slice"))
    wrong = replace(
        wrong, select=wrong.select.replace("WHERE slice IN (SELECT arrayJoin({{slices:Array(String)}}))", "")
    )
    with pytest.raises(StoreError, match="slice that was not to be computed"):
        await derive(world, wrong)
    assert await read_sums(world) == {}
    await derive(world)
    assert await read_sums(world) == {"2021-01": (1, 1)}


@pytest.mark.usefixtures("tables")
async def test_a_slice_that_is_no_path_names_the_derivation(world: World) -> None:
    world.serve({"2021/a": "2021-01-04,1\n"})
    await world.ingest()
    with pytest.raises(SettingsError, match="constructed_sums: slice 'GME'"):
        await derive(world, replace(by_month, slices="SELECT 'GME' AS slice FROM {constructed_counts}"))


@pytest.mark.slow
@pytest.mark.usefixtures("tables")
async def test_a_crash_at_each_step_loses_and_doubles_nothing(world: World, tmp_path: Path) -> None:
    first = {"2021/a": "2021-01-04,1\n2021-02-05,2\n2021-03-05,3\n2021-04-05,4\n"}
    then = {"2021/a": "2021-01-04,9\n2021-02-05,2\n2021-03-05,3\n2021-05-05,4\n"}
    for step in crash_steps():
        for dataset in (*SYSTEM_DATASETS, constructed_counts, sums):
            await world.warehouse.execute(f"TRUNCATE TABLE {dataset.name}")
        folder = tmp_path / f"step-{step}"
        folder.mkdir()
        fresh = World(folder, world.warehouse)
        fresh.serve(first)
        await fresh.ingest()
        await derive(fresh)
        fresh.serve(then)
        await fresh.ingest()
        fuse = Fuse(step)
        with suppress(CrashError, BaseExceptionGroup):
            await derive(fresh, fuse=fuse)
        if fuse.steps < step:
            break
        before, after = await sum_counts(fresh, 1), await sum_counts(fresh)
        assert set((await read_sums(fresh)).items()) <= {*before.items(), *after.items()}
        await derive(fresh)
        assert await read_sums(fresh) == after
        dead = "SELECT count() FROM constructed_sums WHERE load_id NOT IN (SELECT load_id FROM loads)"
        await derive(fresh)
        assert (await fresh.warehouse.rows(dead)).rows[0][0] == 0
    assert step > 20


def test_declarations_that_cannot_work_are_refused() -> None:
    with pytest.raises(SettingsError, match="needs at least one input"):
        replace(by_month, inputs=())
    with pytest.raises(SettingsError, match="grows without publications"):
        replace(by_month, inputs=(replace(constructed_counts, is_growing=True),))
    with pytest.raises(SettingsError, match="computed from itself"):
        replace(by_month, inputs=(sums,))
    with pytest.raises(SettingsError, match=r"pointer=\(\)"):
        replace(by_month, dataset=constructed_counts, inputs=(sums,))
    with pytest.raises(SettingsError, match=r"weight.* is no column"):
        replace(by_month, origins=(RowsOf(constructed_counts, "count = {weight:UInt64}"),))
    with pytest.raises(SettingsError, match="names no table"):
        replace(by_month, slices="SELECT {day:Date} AS slice")
