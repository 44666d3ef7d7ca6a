"""A dataset by decade: ten years are one partition. A table that an earlier release made by year keeps its years."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse import ddl
from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.datasets.trades import trades
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.restore import restore
from spotlightd.model.archive import Fingerprint
from spotlightd.model.partition import Partition, first_day_after, partition_number
from spotlightd.sources.sec_ftd import sec_ftd
from spotlightd.sql.fingerprint import fingerprint_columns
from spotlightd.sql.visibility import all_rows
from tests.engine.world import DATABASE

from .archive_world import POLICY, ArchiveWorld, archive_world

YEARS = range(2004, 2026)
LEAVING = {"decades": ["200-0", "201-0"], "years": [f"{year}-0" for year in YEARS]}
RELEASES = {"decades": sec_ftd, "years": ddl.by_year(sec_ftd)}


@dataclass
class Decades:
    """The archiver's world with a table of fails, by decade or by year."""

    world: ArchiveWorld
    archiver: Archiver

    async def insert(self, year: int, lines: range) -> None:
        rows = [
            (date(year, 6, 15), f"{line:09}", "GME", line, "GAMESTOP", Decimal("1.5"), 7, 0, line) for line in lines
        ]
        await self.world.warehouse.insert(sec_ftd, rows)

    async def read(self) -> Fingerprint:
        table = all_rows(sec_ftd, self.world.index.archived)
        sql = f"SELECT {fingerprint_columns(sec_ftd.stored, sec_ftd.time)} FROM {table}"
        return Fingerprint(*(await self.world.warehouse.rows(sql)).rows[0])

    async def partitions(self) -> list[str]:
        answer = await self.world.warehouse.rows("SELECT DISTINCT _partition_id FROM sec_ftd ORDER BY 1")
        return [name for (name,) in answer.rows]

    async def leave(self) -> None:
        for pause in (0.0, POLICY.grace_seconds, 0.0, POLICY.rest_seconds):
            self.world.clock.seconds += pause
            await self.archiver.round()


@pytest.fixture(params=RELEASES)
async def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def decades(tmp_path: Path, release: str) -> AsyncIterator[Decades]:
    async with archive_world(tmp_path) as world:
        world.policy = replace(POLICY, hot_days={"sec_ftd": 10, "trades": 0})
        world.index = WarehouseArchives(world.warehouse, (trades, sec_ftd, *SYSTEM_DATASETS), world.bucket.table)
        await world.warehouse.execute(ddl.create_table(RELEASES[release], DATABASE))
        await world.warehouse.ensure(sec_ftd)
        context = world.context()
        context = replace(context, datasets={**context.datasets, "sec_ftd": sec_ftd})
        decades = Decades(world, Archiver(context, clock=world.clock.to_clock()))
        for year in YEARS:
            await decades.insert(year, range(1, 4))
        yield decades


async def test_every_row_of_a_decade_or_a_year_leaves_once_and_comes_back(decades: Decades, release: str) -> None:
    whole = await decades.read()
    await decades.leave()
    stages = await decades.world.stages()
    assert {name: stages[name] for name in sorted(stages)} == dict.fromkeys(LEAVING[release], "dropped")
    assert await decades.partitions() == ([] if release == "years" else ["202-0"])
    assert await decades.read() == whole

    await decades.insert(2004, range(10, 12))
    with_late_rows = await decades.read()
    assert (with_late_rows.rows, whole.rows) == (68, 66)
    assert [name for name in await decades.partitions() if name.endswith("-1")] == [LEAVING[release][0][:-1] + "1"]

    first = next(known for known in await decades.world.archive_ledger.partitions() if known.id == LEAVING[release][0])
    assert (await restore(decades.archiver.context, first)).stage == "restored"
    assert await decades.read() == with_late_rows


async def test_a_lost_table_whose_years_are_archived_is_created_by_year_again(decades: Decades, release: str) -> None:
    await decades.leave()
    await decades.world.warehouse.execute("DROP TABLE sec_ftd SYNC")
    await decades.world.warehouse.ensure(sec_ftd, decades.world.index.archived)
    await decades.insert(2004, range(10, 12))
    assert await decades.partitions() == [LEAVING[release][0]]


@pytest.mark.parametrize(
    ("number", "first", "after"),
    [
        (202, date(2020, 1, 1), date(2030, 1, 1)), (199, date(1990, 1, 1), date(2000, 1, 1)),
        (2021, date(2021, 1, 1), date(2022, 1, 1)), (202112, date(2021, 12, 1), date(2022, 1, 1)),
        (20211231, date(2021, 12, 31), date(2022, 1, 1)),
    ],
)  # fmt: skip
def test_the_number_of_a_partition_tells_its_days(number: int, first: date, after: date) -> None:
    partition = Partition("constructed", number, 0)
    assert (partition.day, partition.end, first_day_after(number)) == (first, after, after)


def test_a_day_is_in_the_partition_of_its_decade() -> None:
    assert [partition_number(sec_ftd, date(year, 12, 31)) for year in (2004, 2019, 2020)] == [200, 201, 202]
    assert partition_number(ddl.by_year(sec_ftd), date(2004, 1, 1)) == 2004
