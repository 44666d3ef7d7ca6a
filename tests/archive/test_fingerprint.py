"""Engine and numpy say the same of the same rows, whatever their types and values, and something else of other rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.sql.fingerprint import fingerprint_columns, row_hash
from spotlightd.workers.verifying.parquet import fingerprint_file

from .proof_world import MAP, TIME, TYPES, columns_of, export, filled, literals, of_engine

pytestmark = pytest.mark.asyncio(loop_scope="session")
SLOWLY = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
MOMENT = "CAST(1700000000.123456 AS DateTime64(6, 'UTC'))"


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[Column, ...], list[list[str]]]:
    columns = columns_of(draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=6)))
    return columns, draw(st.lists(st.tuples(*(literals(column.type) for column in columns)).map(list), max_size=12))


async def both(
    warehouse: ClickHouse, columns: Sequence[Column], rows: Sequence[Sequence[str]], folder: Path
) -> tuple[Fingerprint, Fingerprint]:
    await filled(warehouse, columns, rows)
    path = await export(warehouse, columns, folder / "t.parquet")
    return await of_engine(warehouse, columns), fingerprint_file(path, columns, TIME)


@SLOWLY
@given(table=tables())
async def test_engine_and_numpy_agree_on_any_rows(
    warehouse: ClickHouse, tmp_path: Path, table: tuple[tuple[Column, ...], list[list[str]]]
) -> None:
    columns, rows = table
    engine, numpy = await both(warehouse, columns, rows, tmp_path)
    assert engine == numpy
    assert engine.rows == len(rows)


@pytest.mark.parametrize("type_name", TYPES)
async def test_they_agree_on_each_type(warehouse: ClickHouse, tmp_path: Path, type_name: str) -> None:
    columns = columns_of([type_name])
    inner = (
        type_name.removeprefix("LowCardinality(").removesuffix(")")
        if type_name.startswith("LowCardinality(")
        else type_name
    )
    await warehouse.execute(
        f"CREATE OR REPLACE TABLE t (at DateTime64(6, 'UTC'), c0 {type_name}) ENGINE = Memory "
        "SETTINGS allow_suspicious_low_cardinality_types = 1"
    )
    inner = inner.replace("LowCardinality(", "").replace("))", ")") if inner.startswith("Array(Low") else inner
    inner = "Map(String, String)" if type_name == MAP else inner
    await warehouse.execute(
        f"INSERT INTO t SELECT fromUnixTimestamp64Micro(toInt64(rand(1))), c FROM "
        f"generateRandom($$c {inner}$$, 7, 60, 5) LIMIT 70000"
    )
    path = await export(warehouse, columns, tmp_path / "t.parquet")
    assert await of_engine(warehouse, columns) == fingerprint_file(path, columns, TIME)
    assert pq.read_metadata(path).num_row_groups > 1


async def test_no_rows_are_zeros(warehouse: ClickHouse, tmp_path: Path) -> None:
    assert await both(warehouse, columns_of(["String"]), [], tmp_path) == (Fingerprint(), Fingerprint())


async def test_parts_add_up_to_the_whole(warehouse: ClickHouse, tmp_path: Path) -> None:
    columns = columns_of(["UInt64"])
    await warehouse.execute("CREATE OR REPLACE TABLE t (at DateTime64(6, 'UTC'), c0 UInt64) ENGINE = Memory")
    await warehouse.execute("INSERT INTO t SELECT toDateTime64(number, 6, 'UTC'), number * number FROM numbers(1000)")
    parts = [
        fingerprint_file(await export(warehouse, columns, tmp_path / str(at), f"t WHERE c0 % 3 = {at}"), columns, TIME)
        for at in range(3)
    ]
    assert sum(parts, Fingerprint()) == await of_engine(warehouse, columns)
    assert parts[2] == Fingerprint()


@pytest.mark.parametrize(
    ("type_name", "value", "other"),
    [
        ("Nullable(UInt64)", "NULL", "0"),
        ("Nullable(String)", "NULL", "''"),
        ("LowCardinality(Nullable(String))", "NULL", "''"),
        ("Array(String)", "['a,b']", "['a', 'b']"),
        ("Array(String)", "[]", "['']"),
        ("Array(String)", "['', 'a']", "['a', '']"),
        ("Array(UInt64)", "[0]", "[0, 0]"),
        (MAP, "map('a', 'b')", "map('b', 'a')"),
        (MAP, "map('a', 'b')", "map('a', 'b', 'c', '')"),
        (MAP, "map('a', '1', 'b', '2')", "map('a', '2', 'b', '1')"),
        ("Float64", "0.", "-0."),
        ("Float64", "reinterpretAsFloat64(9221120237041090561)", "reinterpretAsFloat64(9221120237041090562)"),
        ("String", "'a'", "'a\\0'"),
        ("Decimal(38, 0)", "1", "18446744073709551617"),
        ("Decimal(76, 0)", "'1'", "'340282366920938463463374607431768211457'"),
        ("UUID", "'00000000-0000-0001-0000-000000000002'", "'00000000-0000-0002-0000-000000000001'"),
    ],
)
async def test_values_that_look_alike_differ(
    warehouse: ClickHouse, tmp_path: Path, type_name: str, value: str, other: str
) -> None:
    columns = columns_of([type_name])
    first, second = [await both(warehouse, columns, [[MOMENT, text]], tmp_path) for text in (value, other)]
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert first[0] != second[0]


async def test_names_places_and_number_of_columns_count(warehouse: ClickHouse) -> None:
    hashes = set()
    for names in (["a", "b"], ["b", "a"], ["a"], ["a", "c"], ["a", "b", "c"]):
        columns = [Column(name, "UInt8", "") for name in names]
        values = ", ".join(f"toUInt8({at}) AS {name}" for at, name in enumerate(names))
        hashes.add((await warehouse.rows(f"SELECT {row_hash(columns)} FROM (SELECT {values})")).rows[0][0])
    assert len(hashes) == 5


async def test_the_hash_never_changes(warehouse: ClickHouse) -> None:
    """Fingerprints stand beside files for years. If this fails, give the new hash a new name instead."""
    columns = [
        Column("at", "Date", ""), Column("n", "UInt64", ""), Column("text", "String", ""), Column("price", "Float64", ""),
        Column("amount", "Nullable(Decimal(38, 4))", ""), Column("codes", "Array(String)", ""), Column("id", "UUID", ""),
    ]  # fmt: skip
    row = (
        "SELECT toDate('2021-01-27') AS at, 42::UInt64 AS n, 'GME' AS text, 347.51 AS price, "
        "CAST('-1.5' AS Nullable(Decimal(38, 4))) AS amount, ['a', ''] AS codes, "
        "toUUID('00112233-4455-6677-8899-aabbccddeeff') AS id"
    )
    fingerprint = (await warehouse.rows(f"SELECT {fingerprint_columns(columns, 'at')} FROM ({row})")).rows[0]
    assert tuple(map(int, fingerprint)) == (1, GOLDEN, GOLDEN, 18_654, 18_654)


GOLDEN = 17_808_340_394_576_330_156
