"""A start upgrades tables of 0.1.0, and of builds since, without losing a row, even when it is interrupted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from spotlightd.clients.clickhouse import ddl, schema
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import gaps, loads, lost_frames, rejects, runs
from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset, Retention
from spotlightd.ports.warehouse import Warehouse
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import sec_ftd
from spotlightd.sql.tiers import ArchivedPartitions
from tests.engine.world import DATABASE, client_of, engine_on
from tests.flows.world import CrashError, Fuse, Fused, crash_steps

AT = datetime(2024, 11, 10, tzinfo=UTC)
ROWS: dict[str, Any] = {
    "runs": lambda n, at: (n, at, "constructed", "https://x", "", "unchanged", "", 0, 0, 0, 0.5, ""),
    "rejects": lambda n, at: (n, at, "constructed", "a" * 64, "1", 0, n, "?", "constructed"),
    "gaps": lambda n, at: (n, at, "constructed", "", at - timedelta(days=40), at, "disconnected", "", ""),
    "lost_frames": lambda n, at: (n, at, "constructed", "d", 1, 0, n, "{}", "constructed"),
    "sec_ftd": lambda n, at: (at.date(), f"{n:09}", "GME", n, "GAMESTOP", Decimal("1.5") if n % 2 else None, 7, 0, n),
}
DATASETS = (runs, rejects, gaps, lost_frames, sec_ftd)
PARTITION_KEYS = {
    "runs": "toYYYYMM(at), archive_generation", "rejects": "toYYYYMM(at), archive_generation",
    "gaps": "toYYYYMM(until), archive_generation", "lost_frames": "toYYYYMM(at), archive_generation",
    "sec_ftd": "intDiv(toYear(settlement_date), 10), archive_generation",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClickHouse]:
    async with engine_on(tmp_path_factory.mktemp("state")) as engine, client_of(engine) as warehouse:
        await warehouse.ensure(loads)
        yield warehouse


pytestmark = pytest.mark.asyncio(loop_scope="module")


def old_create_table(dataset: Dataset) -> str:
    """CREATE TABLE of 0.1.0: no partitions for spotlightd's own records, and none by generation."""
    plain = ddl.create_table(replace(dataset, partition="", retention=Retention()), DATABASE)
    if dataset == sec_ftd:
        plain = plain.replace("ENGINE = MergeTree\n", "ENGINE = MergeTree\nPARTITION BY toYear(settlement_date)\n")
    assert "archive_generation" not in plain
    return plain


async def create_old_table(warehouse: ClickHouse, dataset: Dataset) -> list[Any]:
    """Create a table of 0.1.0 with rows of several years; returns those rows."""
    await warehouse.execute(f"DROP TABLE IF EXISTS {dataset.name} SYNC")
    await warehouse.execute(old_create_table(dataset))
    await warehouse.insert(dataset, [ROWS[dataset.name](n, AT + timedelta(days=20 * n)) for n in range(1, 31)])
    return await read_rows(warehouse, dataset)


async def read_rows(warehouse: Warehouse, dataset: Dataset) -> list[Any]:
    names = ", ".join(column.name for column in dataset.stored)
    return list((await warehouse.rows(f"SELECT {names} FROM {dataset.name} ORDER BY ALL")).rows)


async def partition_key(warehouse: ClickHouse, table: str) -> str:
    answer = await warehouse.rows(
        "SELECT partition_key FROM system.tables WHERE name = {table:String}", {"table": table}
    )
    return str(answer.rows[0][0])


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
async def test_a_table_of_an_older_release_gets_its_partitions_and_keeps_every_row(
    warehouse: ClickHouse, dataset: Dataset
) -> None:
    before = await create_old_table(warehouse, dataset)
    await warehouse.ensure(dataset)
    assert await read_rows(warehouse, dataset) == before
    assert (await partition_key(warehouse, dataset.name)).strip("()") == PARTITION_KEYS[dataset.name]
    assert (await warehouse.rows("SHOW TABLES LIKE 'anew%'")).rows == ()
    await warehouse.insert(dataset, [ROWS[dataset.name](31, AT)])
    await warehouse.ensure(dataset)
    assert len(await read_rows(warehouse, dataset)) == 31
    create_sql = (await warehouse.rows(f"SHOW CREATE TABLE {dataset.name}")).rows[0][0]
    assert "non_replicated_deduplication_window = 1000" in create_sql


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [runs, sec_ftd], ids=lambda dataset: dataset.name)
async def test_a_start_that_is_cut_off_is_finished_by_the_next(warehouse: ClickHouse, dataset: Dataset) -> None:
    before = await create_old_table(warehouse, dataset)
    for steps in crash_steps():
        await create_old_table(warehouse, dataset)
        try:
            await schema.ensure(Fused(warehouse, Fuse(steps), ("execute",)), dataset, DATABASE, ArchivedPartitions())
        except CrashError:
            is_over = False
            assert await read_rows(warehouse, dataset) == before, f"ended at step {steps}"
            await warehouse.ensure(dataset)
        else:
            is_over = True
        assert await read_rows(warehouse, dataset) == before, f"ended at step {steps}"
        assert (await partition_key(warehouse, dataset.name)).strip("()") == PARTITION_KEYS[dataset.name]
        assert (await warehouse.rows("SHOW TABLES LIKE 'anew%'")).rows == ()
        if is_over:
            break
    assert steps > 10


class FullDiskWarehouse:
    """A warehouse with a full disk: it reports inserts as written that are not."""

    def __init__(self, warehouse: ClickHouse) -> None:
        self._warehouse = warehouse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    async def execute(self, sql: str, params: Any = None, *, token: str = "") -> int:
        return 0 if sql.startswith("INSERT") else await self._warehouse.execute(sql, params, token=token)


async def test_a_copy_that_is_not_the_same_takes_nobodys_place(warehouse: ClickHouse) -> None:
    before = await create_old_table(warehouse, runs)
    full_disk: Any = FullDiskWarehouse(warehouse)
    with pytest.raises(StoreError, match=r"table spotlightd.runs was copied into new partitions, and the copy differs"):
        await schema.ensure(full_disk, runs, DATABASE, ArchivedPartitions())
    assert await read_rows(warehouse, runs) == before
    await warehouse.ensure(runs)
    assert await read_rows(warehouse, runs) == before


async def test_a_table_that_may_have_been_archived_is_refused_and_not_touched(warehouse: ClickHouse) -> None:
    daily = replace(runs, name="daily_runs", partition="toYYYYMMDD(at)")
    await warehouse.ensure(daily)
    with pytest.raises(StoreError, match=r"daily_runs is partitioned by .*toYYYYMMDD.* copy the table by hand"):
        await warehouse.ensure(replace(daily, partition="toYYYYMM(at)"))
    assert (await partition_key(warehouse, "daily_runs")).strip("()") == "toYYYYMMDD(at), archive_generation"


async def test_a_table_with_a_column_that_nobody_declares_is_refused_and_not_touched(warehouse: ClickHouse) -> None:
    await create_old_table(warehouse, runs)
    await warehouse.execute("ALTER TABLE runs ADD COLUMN more String DEFAULT 'kept'")
    with pytest.raises(StoreError, match=r"runs is partitioned by nothing, but the dataset declares"):
        await warehouse.ensure(runs)
    assert (await warehouse.rows("SELECT count(), any(more) FROM runs")).rows == ((30, "kept"),)
    await warehouse.execute("DROP TABLE runs SYNC")


async def test_a_table_too_large_for_a_start_is_refused(warehouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    await create_old_table(warehouse, runs)
    monkeypatch.setattr(schema, "MAX_COPY_BYTES", 10)
    with pytest.raises(StoreError, match="too many to copy"):
        await warehouse.ensure(runs)
    await warehouse.execute("DROP TABLE runs SYNC")


async def test_a_state_folder_of_0_1_0_is_opened_with_all_its_rows(tmp_path: Path) -> None:
    """The tables as that release made them, and a ledger that was lost: the records come back from the copies."""
    settings = replace(Settings(), state_dir=tmp_path)
    before = {}
    async with engine_on(tmp_path) as engine, client_of(engine) as warehouse:
        for dataset in DATASETS:
            before[dataset.name] = await create_old_table(warehouse, dataset)
        await warehouse.ensure(loads)
        await warehouse.insert(loads, [(1, "sec_ftd", 7, "sec_ftd", "2024", "a" * 64, "1", 30, 0, [], AT, 0)])
        await warehouse.execute(ddl.create_current_view(sec_ftd, DATABASE))
    for _ in range(2):
        async with open_instance(settings) as instance:
            for dataset in DATASETS:
                assert await read_rows(instance.warehouse, dataset) == before[dataset.name]
            assert [row[0] for row in await instance.ledger.history("runs", 0, 100)] == list(range(1, 31))
            answer = await instance.warehouse.rows("SELECT count(), min(settlement_date) FROM sec_ftd_current")
            assert answer.rows == ((30, date(2024, 11, 30)),)
            assert (await instance.warehouse.rows("SELECT count() FROM runs_all")).rows == ((30,),)


CODECS = (
    "SELECT name, compression_codec FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
)
PART_NAMES = "SELECT name FROM system.parts WHERE database = currentDatabase() AND table = {table:String} AND active"


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
async def test_a_table_gets_the_codecs_that_are_declared_now_and_no_row_is_rewritten(
    warehouse: ClickHouse, dataset: Dataset
) -> None:
    await warehouse.execute(f"DROP TABLE IF EXISTS {dataset.name} SYNC")
    await warehouse.execute(re.sub(r" CODEC\([^']*\)(?= COMMENT)", "", ddl.create_table(dataset, DATABASE)))
    await warehouse.execute(f"SYSTEM STOP MERGES {dataset.name}")
    table = {"table": dataset.name}
    await warehouse.insert(dataset, [ROWS[dataset.name](n, AT + timedelta(days=20 * n)) for n in range(1, 31)])
    rows, parts = await read_rows(warehouse, dataset), (await warehouse.rows(PART_NAMES, table)).rows
    assert not any(codec for _, codec in (await warehouse.rows(CODECS, table)).rows)
    with capture_logs() as lines:
        await warehouse.ensure(dataset)
        await warehouse.ensure(dataset)
    assert [line["event"] for line in lines] == ["codecs changed"]
    codecs = dict((await warehouse.rows(CODECS, table)).rows)
    assert {name for name, codec in codecs.items() if "ZSTD(1)" not in codec} <= {"archive_generation"}
    assert (await read_rows(warehouse, dataset), (await warehouse.rows(PART_NAMES, table)).rows) == (rows, parts)
    await warehouse.execute(f"SYSTEM START MERGES {dataset.name}")
    await warehouse.execute(f"OPTIMIZE TABLE {dataset.name} FINAL")
    assert await read_rows(warehouse, dataset) == rows


async def test_a_table_by_year_of_an_earlier_release_keeps_its_years(warehouse: ClickHouse) -> None:
    await warehouse.execute(f"DROP TABLE IF EXISTS {sec_ftd.name} SYNC")
    await warehouse.execute(ddl.create_table(ddl.by_year(sec_ftd), DATABASE))
    await warehouse.insert(sec_ftd, [ROWS["sec_ftd"](n, AT + timedelta(days=20 * n)) for n in range(1, 31)])
    rows = await read_rows(warehouse, sec_ftd)
    with capture_logs() as lines:
        await warehouse.ensure(sec_ftd)
    key = (await partition_key(warehouse, "sec_ftd")).strip("()")
    assert (key, lines) == ("toYear(settlement_date), archive_generation", [])
    assert await read_rows(warehouse, sec_ftd) == rows
    await warehouse.seal(sec_ftd, {2024: 1})
    await warehouse.insert(sec_ftd, [ROWS["sec_ftd"](99, AT)])
    sql = "SELECT _partition_id FROM sec_ftd WHERE quantity = 99"
    assert (await warehouse.rows(sql)).rows == (("2024-1",),)
