"""Answers of the warehouse as Python values: whole columns, missing values, lists of tuples, texts that are no UTF-8."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from spotlightd.clients.clickhouse.values import decode_answer, decode_column

DAY = date(2021, 1, 27)
NOON = datetime(2021, 1, 27, 12, 0, 0, 123456, tzinfo=UTC)
BEFORE_1970 = datetime(1912, 6, 23, 1, 2, 3, tzinfo=UTC)
COLUMNS: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {
    "text": (pa.binary(), [b"GME", b"", b"caf\xc3\xa9"], ["GME", "", "café"]),
    "no utf-8": (pa.binary(), [b"a\xff"], ["a\\xff"]),
    "fixed text": (pa.binary(4), [b"USD\0", b"\0\0\0\0", b"a\0b\0"], ["USD", "", "a\0b"]),
    "integer": (pa.uint64(), [0, 2**64 - 1], [0, 2**64 - 1]),
    "number": (pa.float64(), [0.1, -1e300], [0.1, -1e300]),
    "bool": (pa.bool_(), [True, False], [True, False]),
    "amount": (pa.decimal128(38, 18), [Decimal("0E-18"), Decimal("-1.5")], [Decimal(0), Decimal("-1.5")]),
    "long amount": (pa.decimal256(60, 2), [Decimal("1" * 50 + ".25")], [Decimal("1" * 50 + ".25")]),
    "day": (pa.date32(), [DAY, date(1900, 1, 1)], [DAY, date(1900, 1, 1)]),
    "time": (pa.timestamp("us", tz="UTC"), [NOON, BEFORE_1970], [NOON, BEFORE_1970]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_whole_column_is_converted_with_and_without_missing_values(name: str) -> None:
    kind, stored, values = COLUMNS[name]
    assert decode_column(pa.array(stored, type=kind)) == values
    assert decode_column(pa.array([None, *stored, None], type=kind)) == [None, *values, None]
    assert decode_column(pa.array([None], type=kind)) == [None]
    assert decode_column(pa.array([], type=kind)) == []
    assert decode_column(pa.array([stored, [], stored], type=pa.list_(kind))) == [values, [], values]
    assert decode_column(pa.array([None, *stored], type=kind).slice(1)) == values


def test_every_time_is_in_utc_and_every_integer_is_a_plain_int() -> None:
    assert decode_column(pa.array([NOON], type=pa.timestamp("ns", tz="UTC")))[0].tzinfo is UTC
    assert {type(value) for value in decode_column(pa.array([1, None], type=pa.uint8()))} == {int, type(None)}


def test_rows_in_an_array_of_tuples_are_converted_by_their_columns() -> None:
    kind = pa.list_(pa.struct([("1", pa.date32()), ("2", pa.binary()), ("3", pa.list_(pa.uint8()))]))
    rows = [(DAY, b"a", [1, 2]), (None, b"b", [])]
    assert decode_column(pa.array([rows, [], rows[:1]], type=kind)) == [
        [(DAY, "a", [1, 2]), (None, "b", [])],
        [],
        [(DAY, "a", [1, 2])],
    ]


def test_equal_texts_are_decoded_once() -> None:
    texts = decode_column(pa.array([b"GAMESTOP CORP", b"AMC"] * 3, type=pa.binary()))
    assert len({id(text) for text in texts}) == 2


def test_an_answer_of_several_blocks_is_one_answer() -> None:
    schema = pa.schema([("a", pa.binary()), ("b", pa.int64())])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for number in range(3):
            writer.write_batch(pa.record_batch([pa.array([b"x"]), pa.array([number])], schema=schema))
    answer = decode_answer(bytes(sink.getvalue()))
    assert (answer.names, answer.rows) == (("a", "b"), (("x", 0), ("x", 1), ("x", 2)))
