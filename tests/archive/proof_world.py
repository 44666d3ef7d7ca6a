"""What the tests of the proof share: constructed tables of any types, their literals in SQL, and their exports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.model.archive import Fingerprint, export_select
from spotlightd.model.dataset import Column
from spotlightd.sql.fingerprint import fingerprint_columns

TIMES = tuple(f"DateTime64({digits}, 'UTC')" for digits in range(10))
DECIMALS = ("Decimal(1, 0)", "Decimal(9, 4)", "Decimal(10, 2)", "Decimal(18, 18)", "Decimal(19, 2)", "Decimal(38, 18)",
            "Decimal(39, 2)", "Decimal(76, 30)")  # fmt: skip
WHOLE = tuple(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
TEXTS = ("String", "FixedString(1)", "FixedString(9)")
PLAIN = (*WHOLE, *TEXTS, "Float64", "Date", "UUID", "Bool", *TIMES, *DECIMALS)
LOW = (*WHOLE, *TEXTS, "Float64", "Date", "UUID", "Bool")  # the engine has no LowCardinality of the others
MAP = "Map(LowCardinality(String), String)"
TYPES = (
    *PLAIN,
    *(f"Nullable({sql_type})" for sql_type in PLAIN),
    *(f"LowCardinality({sql_type})" for sql_type in LOW),
    *(f"LowCardinality(Nullable({sql_type}))" for sql_type in LOW),
    *(f"Array({sql_type})" for sql_type in PLAIN),
    *(f"Array(LowCardinality({sql_type}))" for sql_type in LOW),
    MAP,
)
FLOATS = (0, 1 << 63, 0x7FF8 << 48, 0xFFF8 << 48, 0x7FF0_0000_0000_0001, 0x7FF8_0000_DEAD_BEEF, 0x7FF0 << 48, 1)
BYTES = (b"", b"\0", b"a", b"a,b", b"\xff\xfe\x00", "é".encode(), b"'\\\n", b"x" * 31, b"x" * 32, b"x" * 200)
FIRST_YEAR, LAST_YEAR = -2_208_988_800, 9_214_646_400  # of what nanoseconds and the engine's DateTime64 both hold
TIME = "at"
SUSPICIOUS = "allow_suspicious_low_cardinality_types = 1"


def unwrap_type(sql_type: str) -> str:
    """The type without its wrappers."""
    while wrapped := re.match(r"^(?:Nullable|LowCardinality|Array)\((.+)\)$", sql_type):
        sql_type = wrapped[1]
    return sql_type


def literals(sql_type: str) -> st.SearchStrategy[str]:
    """A value of that type in SQL."""
    if sql_type == MAP:
        pairs = st.dictionaries(st.sampled_from(["a", "b", "c d"]), plain("String"), max_size=3)
        return pairs.map(lambda values: f"map({', '.join(f'{name!r}, {text}' for name, text in values.items())})")
    if sql_type.startswith("Array("):
        return st.lists(plain(unwrap_type(sql_type)), max_size=4).map(lambda elements: f"[{', '.join(elements)}]")
    inner = plain(unwrap_type(sql_type))
    return inner | st.just("NULL") if "Nullable" in sql_type else inner


def plain(sql_type: str) -> st.SearchStrategy[str]:
    return _values(sql_type).map(lambda value: f"CAST({value} AS {sql_type})")


def _values(sql_type: str) -> st.SearchStrategy[Any]:  # noqa: PLR0911  (one return for each kind of value)
    size = int(match[1]) if (match := re.search(r"(?:Int|\()(\d+)", sql_type)) else 0
    if "Int" in sql_type:
        low, high = (0, 2**size - 1) if sql_type.startswith("U") else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)
        return (st.sampled_from([low, high, 0, 1]) | st.integers(low, high)).map(lambda value: f"'{value}'")
    if sql_type == "Float64":
        return (st.sampled_from(FLOATS) | st.integers(0, 2**64 - 1)).map(
            lambda bits: f"reinterpretAsFloat64({bits}::UInt64)"
        )
    if sql_type == "String":
        return (st.sampled_from(BYTES) | st.binary(max_size=40)).map(lambda text: f"unhex('{text.hex()}')")
    if sql_type.startswith("Fixed"):
        return st.binary(min_size=size, max_size=size).map(lambda text: f"unhex('{text.hex()}')")
    if sql_type == "Date":
        return (st.sampled_from([0, 65_535]) | st.integers(0, 65_535)).map(lambda day: f"{day}::UInt16")
    if sql_type == "Bool":
        return st.sampled_from(["true", "false"])
    if sql_type == "UUID":
        return st.uuids().map(lambda value: f"'{value}'")
    if sql_type.startswith("Decimal"):
        scale = int(sql_type.rstrip(")").split(",")[1])
        most = 10**size - 1
        numbers = st.sampled_from([0, most, -most, 1, -1]) | st.integers(-most, most)
        return numbers.map(lambda value: f"'{'-' if value < 0 else ''}{pointed(abs(value), scale)}'")
    ticks = st.sampled_from([0, -1, 1]) | st.integers(FIRST_YEAR * 10**size, LAST_YEAR * 10**size)
    return ticks.map(
        lambda value: f"CAST('{'-' if value < 0 else ''}{pointed(abs(value), size)}' AS Decimal(38, {size}))"
    )


def pointed(number: int, scale: int) -> str:
    digits = str(number).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits


def columns_of(types: Iterable[str]) -> tuple[Column, ...]:
    """A time, and columns of these types."""
    return (
        Column(TIME, "DateTime64(6, 'UTC')", "when"),
        *(Column(f"c{index}", sql_type, "") for index, sql_type in enumerate(types)),
    )


async def filled(
    warehouse: ClickHouse, columns: Sequence[Column], rows: Sequence[Sequence[str]], table: str = "t"
) -> None:
    shape = ", ".join(f"`{column.name}` {column.type}" for column in columns)
    await warehouse.execute(f"CREATE OR REPLACE TABLE {table} ({shape}) ENGINE = Memory SETTINGS {SUSPICIOUS}")
    selects = [
        "SELECT " + ", ".join(f"CAST({value} AS {column.type})" for value, column in zip(row, columns, strict=True))
        for row in rows
    ]
    if selects:
        await warehouse.execute(f"INSERT INTO {table} SETTINGS {SUSPICIOUS} " + " UNION ALL ".join(selects))


async def of_engine(warehouse: ClickHouse, columns: Sequence[Column], rows_of: str = "t") -> Fingerprint:
    answer = await warehouse.rows(f"SELECT {fingerprint_columns(columns, TIME)} FROM {rows_of}")
    return Fingerprint(*map(int, answer.rows[0]))


async def export(
    warehouse: ClickHouse, columns: Sequence[Column], path: Path, rows_of: str = "t", order: Sequence[str] = (TIME,)
) -> Path:
    with path.open("wb") as file:
        async with warehouse.stream(export_select(columns, rows_of, order), "Parquet") as chunks:
            async for chunk in chunks:
                file.write(chunk)
    return path
