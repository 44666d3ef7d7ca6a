"""A reading gets the rows of its tables in place of their names, so its layout does not matter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spotlightd.datasets.bars import bars, minutely
from spotlightd.errors import SettingsError
from spotlightd.sql.visibility import Snapshot, table_expression

from .archive_world import ArchiveWorld, archive_world

BROKEN_LINES = """
SELECT symbol, source, toStartOfMinute(time) AS minute, 0. AS open, 0. AS high, 0. AS low, 0. AS close, 0 AS volume,
    0 AS turnover, count() AS trades
FROM
    {trades}
WHERE
    {seq} >= 0
GROUP BY symbol, source, minute"""
counted = replace(bars, name="counted", reading=BROKEN_LINES)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ArchiveWorld]:
    async with archive_world(tmp_path) as world:
        yield world


async def count_trades(world: ArchiveWorld, snapshot: Snapshot) -> int:
    sql = f"SELECT sum(trades) FROM {table_expression(counted, snapshot)}"
    return int((await world.warehouse.rows(sql, {"seq": snapshot.seq})).rows[0][0])


async def test_a_reading_that_breaks_its_lines_counts_each_row_once(world: ArchiveWorld) -> None:
    """Two of the three days of 1,000 trades are read from the archive while their rows are still in the table too."""
    archiver = world.archiver()
    for pause in (0.0, world.policy.grace_seconds, 0.0):
        world.clock.seconds += pause
        await archiver.round()
    assert sorted((await world.stages()).values()) == ["switched", "switched"]
    assert sum((await world.hot()).values()) == 3000
    archived = world.index.archived
    assert await count_trades(world, Snapshot(0, archived=archived)) == 1000
    earlier = Snapshot(0, as_of=datetime(2026, 3, 1, tzinfo=UTC), archived=archived)
    assert await count_trades(world, earlier) == 3000


@pytest.mark.parametrize(
    "reading", ["SELECT {seq:UInt64} FROM {trades}", "SELECT 1 FROM {}", "SELECT '{' FROM {trades}"]
)
def test_braces_that_name_no_table_are_an_error_of_the_declaration(reading: str) -> None:
    with pytest.raises(SettingsError, match=r"dataset counted: .*SELECT"):
        replace(counted, reading=reading)
    with pytest.raises(SettingsError, match=r"transform bars: .*SELECT"):
        replace(minutely, select=reading)
