"""The same rows make the same bytes, which other programs read as they stand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.model.archive import EXPORT_SETTINGS

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
