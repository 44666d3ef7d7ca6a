"""The same rows make the same bytes, which other programs read as they stand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.trades import trades
from spotlightd.flows.archive.export import total_order
from spotlightd.model.archive import EXPORT_SETTINGS
from spotlightd.model.bucket import quote
from spotlightd.model.stream import frames_of
from spotlightd.sources.finnhub import finnhub
from spotlightd.sources.sec_ftd import sec_ftd

from .proof_world import TIME, columns_of, export, filled

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_same_rows_make_the_same_bytes(warehouse: ClickHouse, tmp_path: Path) -> None:
    columns = columns_of(["LowCardinality(String)", "UInt64", "Float64", "Array(String)"])
    digests = set()
    for turn, order in enumerate(("n", "cityHash64(n)", "-toInt64(n)")):
        names = ", ".join(f"`{column.name}` {column.type}" for column in columns)
        await warehouse.execute(f"CREATE OR REPLACE TABLE same{turn} ({names}) ENGINE = MergeTree ORDER BY c0")
        for half in range(2):
            await warehouse.execute(
                f"INSERT INTO same{turn} SELECT toDateTime64(intDiv(n, 7), 6, 'UTC'), toString(n % 50), n, n / 3, "
                f"[toString(n % 9)] FROM (SELECT number AS n FROM numbers(200000)) WHERE n % 2 = {half ^ (turn % 2)} "
                f"ORDER BY {order}"
            )
        path = await export(warehouse, columns, tmp_path / f"{turn}", f"same{turn}", ("c0", TIME, "c1"))
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
    groups = pq.read_metadata(path)
    sizes = [groups.row_group(at).num_rows for at in range(groups.num_row_groups - 1)]
    assert all(25_000 <= size <= 100_000 for size in sizes), sizes
    assert {groups.row_group(0).column(at).compression for at in range(len(columns))} == {"ZSTD"}


async def test_each_type_is_written_in_the_form_that_other_programs_expect(
    warehouse: ClickHouse, tmp_path: Path
) -> None:
    parquet_types = {
        "String": "STRING", "LowCardinality(String)": "STRING", "UInt32": "INT", "Date": "DATE", "UUID": "UUID",
        "DateTime64(9, 'UTC')": "TIMESTAMP", "Decimal(18, 2)": "DECIMAL", "FixedString(9)": "NONE", "Bool": "NONE",
    }  # fmt: skip
    columns = columns_of(parquet_types)
    await filled(warehouse, columns, [])
    schema = pq.read_schema(await export(warehouse, columns, tmp_path / "t"))
    file = pq.ParquetFile(tmp_path / "t").schema
    assert [file.column(at).logical_type.type for at in range(1, len(columns))] == list(parquet_types.values())
    assert schema.field("c5").type == pa.timestamp("ns", "UTC")
    assert schema.field("c7").type == pa.binary(9)
    assert EXPORT_SETTINGS["output_format_parquet_string_as_string"] == 1


async def test_rows_are_sorted_by_no_column_beyond_those_that_tell_all_rows_apart() -> None:
    place = ["epoch", "partition", "offset"]
    assert total_order(frames_of(finnhub), frames_of(finnhub).stored) == place
    assert total_order(trades, trades.stored) == ["symbol", "time", *place, "frame_index", "source", "load_id"]
    assert set(total_order(sec_ftd, sec_ftd.stored)) == {
        column.name for column in sec_ftd.stored
    }  # two lines may be equal


async def test_rows_of_one_place_in_two_loads_make_the_same_bytes(warehouse: ClickHouse, tmp_path: Path) -> None:
    names = ", ".join(f"{column.name} {column.type}" for column in trades.stored)
    digests = set()
    for direction in ("ASC", "DESC"):
        await warehouse.execute(f"CREATE OR REPLACE TABLE placed ({names}) ENGINE = Memory")
        await warehouse.execute(
            f"INSERT INTO placed SELECT * REPLACE ('A' AS symbol, toDateTime64(0, 6, 'UTC') AS time, 'x' AS source, "
            "1 AS epoch, 0 AS partition, 0 AS frame_index, intDiv(rowNumberInAllBlocks(), 2) AS offset, "
            f"rowNumberInAllBlocks() % 2 AS load_id) FROM (SELECT * FROM generateRandom({quote(names)}, 7)"
            f" LIMIT 20000) ORDER BY offset {direction}, load_id {direction} SETTINGS max_threads = 1"
        )
        path = await export(
            warehouse, trades.stored, tmp_path / direction, "placed", total_order(trades, trades.stored)
        )
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
