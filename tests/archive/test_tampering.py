"""A file that does not hold the same rows is noticed, whatever the counts and sums say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.errors import FormatError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.workers.verifying.parquet import fingerprint_file

from .proof_world import MAP, TIME, columns_of, export, of_engine

pytestmark = pytest.mark.asyncio(loop_scope="session")


def rewritten(path: Path, table: pa.Table) -> Path:
    """The same file as another writer makes it; decimals keep their widths, for those here are all of 16 bytes."""
    pq.write_table(table, path, compression="zstd", row_group_size=50_000, store_schema=False)
    return path


@pytest_asyncio.fixture(loop_scope="session")
async def tampered(warehouse: ClickHouse, tmp_path: Path) -> tuple[tuple[Column, ...], Path, Fingerprint]:
    types = [
        "LowCardinality(String)", "UInt64", "Float64", "Array(String)", "Decimal(38, 2)", "Bool", "Date", "Nullable(Int32)",
        MAP, "FixedString(3)",
    ]  # fmt: skip
    columns = columns_of(types)
    names = ", ".join(f"`{column.name}` {column.type}" for column in columns)
    await warehouse.execute(f"CREATE OR REPLACE TABLE t ({names}) ENGINE = Memory")
    await warehouse.execute(
        "INSERT INTO t SELECT toDateTime64(number, 6, 'UTC'), toString(number % 50), number, number / 3, "
        "[toString(number % 9)], number, number % 2, toDate(number % 90), if(number % 3 = 0, NULL, number), "
        "map('a', toString(number % 7)), toFixedString(toString(100 + number % 800), 3) FROM numbers(120000)"
    )
    path = await export(warehouse, columns, tmp_path / "t.parquet")
    return columns, path, await of_engine(warehouse, columns)


async def test_two_values_that_change_places_are_noticed_in_each_column(
    tampered: tuple[tuple[Column, ...], Path, Fingerprint],
) -> None:
    columns, path, truth = tampered
    whole = pq.read_table(path)
    assert fingerprint_file(rewritten(path, whole), columns, TIME) == truth
    for at, column in enumerate(columns):
        values: Any = whole.column(at).combine_chunks()
        other = next(row for row in range(1, len(values)) if values[row] != values[0])
        order = [other, *range(1, other), 0, *range(other + 1, len(values))]
        swapped = whole.set_column(at, whole.schema.field(at), values.take(pa.array(order)))
        fingerprint = fingerprint_file(rewritten(path, swapped), columns, TIME)
        assert fingerprint != truth, column
        assert (fingerprint.rows, fingerprint.low, fingerprint.high) == (truth.rows, truth.low, truth.high)


async def test_a_row_twice_for_another_is_noticed(tampered: tuple[tuple[Column, ...], Path, Fingerprint]) -> None:
    columns, path, truth = tampered
    whole = pq.read_table(path)
    rows = pa.array([*range(119_999), 119_998])
    assert fingerprint_file(rewritten(path, whole.take(rows)), columns, TIME) != truth


async def test_each_flipped_byte_is_noticed(tampered: tuple[tuple[Column, ...], Path, Fingerprint]) -> None:
    """Or does not matter: statistics and the page index are not what is read."""
    columns, path, truth = tampered
    whole = path.read_bytes()
    pages = pq.read_metadata(path).row_group(1)
    data = sum(pages.column(at).total_compressed_size for at in range(pages.num_columns))
    first = pages.column(0).dictionary_page_offset or pages.column(0).data_page_offset
    noticed = 0
    for place in range(first, first + data, data // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            noticed += fingerprint_file(path, columns, TIME) != truth
        except FormatError:
            noticed += 1
    assert noticed >= 58


@pytest.mark.parametrize("left", [0, 3, 100, 5_000, -1])
async def test_a_file_that_was_cut_off_is_refused(
    tampered: tuple[tuple[Column, ...], Path, Fingerprint], left: int
) -> None:
    columns, path, _ = tampered
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(FormatError, match=r"t\.parquet cannot be read as Parquet"):
        fingerprint_file(path, columns, TIME)


async def test_a_column_that_is_missing_added_moved_or_of_another_type_is_named(
    tampered: tuple[tuple[Column, ...], Path, Fingerprint],
) -> None:
    columns, path, _ = tampered
    for declared, names in (
        (columns[:-1], "c9"),
        ((*columns, Column("more", "UInt8", "")), "more"),
        ((columns[0], columns[2], columns[1], *columns[3:]), "their order"),
        ((*columns[:-1], Column("c9", "String", "")), "column c9 is .*, declared as String"),
        ((*columns[:-1], Column("c9", "Nullable(FixedString(3))", "")), "column c9 is"),
        ((Column(TIME, "DateTime64(3, 'UTC')", ""), *columns[1:]), "column at is"),
    ):
        with pytest.raises(FormatError, match=names):
            fingerprint_file(path, declared, TIME)
