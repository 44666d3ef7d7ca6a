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
TYPES = (
    *PLAIN,
    *(f"Nullable({word})" for word in PLAIN),
    *(f"LowCardinality({word})" for word in LOW),
    *(f"LowCardinality(Nullable({word}))" for word in LOW),
    *(f"Array({word})" for word in PLAIN),
    *(f"Array(LowCardinality({word}))" for word in LOW),
)
FLOATS = (0, 1 << 63, 0x7FF8 << 48, 0xFFF8 << 48, 0x7FF0_0000_0000_0001, 0x7FF8_0000_DEAD_BEEF, 0x7FF0 << 48, 1)
BYTES = (b"", b"\0", b"a", b"a,b", b"\xff\xfe\x00", "é".encode(), b"'\\\n", b"x" * 31, b"x" * 32, b"x" * 200)
FIRST_YEAR, LAST_YEAR = -2_208_988_800, 9_214_646_400  # of what nanoseconds and the engine's DateTime64 both hold
TIME = "at"
SUSPICIOUS = "allow_suspicious_low_cardinality_types = 1"


def core(word: str) -> str:
    """The type without what is wrapped around it."""
    while wrapped := re.match(r"^(?:Nullable|LowCardinality|Array)\((.+)\)$", word):
        word = wrapped[1]
    return word


def literals(word: str) -> st.SearchStrategy[str]:
    """A value of that type in SQL."""
    if word.startswith("Array("):
        return st.lists(plain(core(word)), max_size=4).map(lambda some: f"[{', '.join(some)}]")
    inner = plain(core(word))
    return inner | st.just("NULL") if "Nullable" in word else inner


def plain(word: str) -> st.SearchStrategy[str]:
    return _values(word).map(lambda value: f"CAST({value} AS {word})")


def _values(word: str) -> st.SearchStrategy[Any]:  # noqa: PLR0911  (one return for each kind of value)
    size = int(found[1]) if (found := re.search(r"(?:Int|\()(\d+)", word)) else 0
    if "Int" in word:
        low, high = (0, 2**size - 1) if word.startswith("U") else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)
        return (st.sampled_from([low, high, 0, 1]) | st.integers(low, high)).map(lambda one: f"'{one}'")
    if word == "Float64":
        return (st.sampled_from(FLOATS) | st.integers(0, 2**64 - 1)).map(
            lambda bits: f"reinterpretAsFloat64({bits}::UInt64)"
        )
    if word == "String":
        return (st.sampled_from(BYTES) | st.binary(max_size=40)).map(lambda text: f"unhex('{text.hex()}')")
    if word.startswith("Fixed"):
        return st.binary(min_size=size, max_size=size).map(lambda text: f"unhex('{text.hex()}')")
    if word == "Date":
        return (st.sampled_from([0, 65_535]) | st.integers(0, 65_535)).map(lambda day: f"{day}::UInt16")
    if word == "Bool":
        return st.sampled_from(["true", "false"])
    if word == "UUID":
        return st.uuids().map(lambda one: f"'{one}'")
    if word.startswith("Decimal"):
        scale = int(word.rstrip(")").split(",")[1])
        most = 10**size - 1
        numbers = st.sampled_from([0, most, -most, 1, -1]) | st.integers(-most, most)
        return numbers.map(lambda one: f"'{'-' if one < 0 else ''}{pointed(abs(one), scale)}'")
    ticks = st.sampled_from([0, -1, 1]) | st.integers(FIRST_YEAR * 10**size, LAST_YEAR * 10**size)
    return ticks.map(lambda one: f"CAST('{'-' if one < 0 else ''}{pointed(abs(one), size)}' AS Decimal(38, {size}))")


def pointed(number: int, scale: int) -> str:
    digits = str(number).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits


def columns_of(types: Iterable[str]) -> tuple[Column, ...]:
    """A time, and columns of these types."""
    return (Column(TIME, "DateTime64(6, 'UTC')", "when"), *(Column(f"c{at}", one, "") for at, one in enumerate(types)))


async def filled(
    warehouse: ClickHouse, columns: Sequence[Column], rows: Sequence[Sequence[str]], table: str = "t"
) -> None:
    shape = ", ".join(f"`{column.name}` {column.type}" for column in columns)
    await warehouse.execute(f"CREATE OR REPLACE TABLE {table} ({shape}) ENGINE = Memory SETTINGS {SUSPICIOUS}")
    selects = [
        "SELECT " + ", ".join(f"CAST({value} AS {one.type})" for value, one in zip(row, columns, strict=True))
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
