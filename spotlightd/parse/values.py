"""Texts to typed columns, whole columns at a time, with one grammar for each kind of value.

A value is understood when the grammar matches, and then the conversion cannot fail: so what is understood never
depends on the lines around it. The grammars are narrower than Arrow's own, which takes 0x1F for 31 and 1e2 for 100,
and ClickHouse's, where a Date before 1970 silently becomes another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import Column
from spotlightd.parse import columns

_FIRST_DAY, _LAST_DAY = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2149, 6, 6, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Understood:
    """A converted column, null where it was not understood; `good` says where it was (None: everywhere)."""

    values: pa.Array
    good: pa.BooleanArray | None


def convert(texts: pa.Array, column: Column, *, day_format: str, nulls: tuple[str, ...]) -> Understood:
    """Texts of one column as its Arrow type. `nulls` are the texts that mean "no value" where the column allows none.

    SettingsError for a type that is not read from text.
    """
    empty = pc.is_in(texts, pa.array(nulls, pa.string())) if column.nullable and nulls else None
    if empty is not None and not pc.any(empty).as_py():
        empty = None
    if empty is not None:
        texts = pc.if_else(empty, pa.scalar(None, pa.string()), texts)
    found = _typed(texts, column, day_format)
    if found.good is None or empty is None:
        return found
    return Understood(found.values, _whole(pc.or_(found.good, empty)))


def reason(field: str, text: str, column: Column, day_format: str) -> str:
    """Why a text was not understood, for the reader of the reject."""
    wanted = {
        "integer": "a whole number that fits",
        "decimal": f"a number with a decimal point that fits {column.type}",
        "float": "a number",
        "date": f"a day written as {day_format}, 1970-01-01 or later",
        "text": f"a text of the length of {column.type}",
    }[column.kind]
    return f"{field} is {text[:80]!r}, not {wanted}"


def _typed(texts: pa.Array, column: Column, day_format: str) -> Understood:
    kind, target = column.kind, columns.arrow(column.type)
    if "UUID" in column.type:
        raise SettingsError(f"column {column.name}: {column.type} is not read from text")
    if pa.types.is_dictionary(target) and pa.types.is_string(target.value_type):
        return Understood(pc.dictionary_encode(texts), None)
    if pa.types.is_string(target) and kind == "text":
        return Understood(texts, None)
    if pa.types.is_fixed_size_binary(target):
        return _fixed(texts, target)
    if kind == "date":
        return _days(texts, day_format)
    if kind in ("integer", "decimal", "float"):
        return _numbers(texts, column, target)
    raise SettingsError(f"column {column.name}: {column.type} is not read from text")


def grammar(column: Column) -> str:
    """What a number of that column looks like: no signs but minus, no exponents, no separators of thousands.

    Whole numbers of more than 18 digits (19 for UInt64) are not taken, though a few of them would fit.
    """
    decimal = re.search(r"Decimal\((\d+), ?(\d+)\)", column.type)
    if decimal:
        whole, fraction = int(decimal[1]) - int(decimal[2]), int(decimal[2])
        return rf"^-?([0-9]{{1,{whole}}}(\.[0-9]{{1,{fraction}}})?|\.[0-9]{{1,{fraction}}})$"
    if column.kind == "integer":
        return r"^[0-9]{1,19}$" if "UInt64" in column.type else r"^-?[0-9]{1,18}$"
    return r"^-?[0-9]{1,300}(\.[0-9]{1,300})?$"


def _numbers(texts: pa.Array, column: Column, target: pa.DataType) -> Understood:
    good = _whole(_digits(texts) if column.type == "UInt64" else pc.match_substring_regex(texts, grammar(column)))
    if column.kind != "integer" or target in (pa.uint64(), pa.int64()):
        return Understood(pc.cast(_kept(texts, good), target), good)
    wide = pc.cast(_kept(texts, good), pa.int64())
    bits = target.bit_width
    low, high = (0, 2**bits - 1) if "UInt" in column.type else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    fits = _whole(pc.and_(pc.greater_equal(wide, low), pc.less_equal(wide, high)))
    return Understood(pc.cast(wide if fits is None else pc.if_else(fits, wide, None), target), fits)


def _digits(texts: pa.Array) -> pa.BooleanArray:
    """What the grammar of UInt64 says, in a third of its time."""
    return pc.and_(pc.ascii_is_decimal(texts), pc.less_equal(pc.binary_length(texts), 19))


def _fixed(texts: pa.Array, target: pa.DataType) -> Understood:
    good = _whole(pc.equal(pc.binary_length(texts), target.byte_width))
    return Understood(pc.cast(pc.cast(_kept(texts, good), pa.binary()), target), good)


def _days(texts: pa.Array, day_format: str) -> Understood:
    """Days repeat on thousands of lines, so only the different ones are read; writing them back catches 20210230."""
    coded = pc.dictionary_encode(texts)
    words = coded.dictionary
    times = pc.strptime(words, day_format, "s", error_is_null=True)
    same = pc.fill_null(pc.equal(pc.strftime(times, day_format), words), fill_value=False)
    bounds = [pa.scalar(int(day.timestamp()), pa.timestamp("s")) for day in (_FIRST_DAY, _LAST_DAY)]
    inside = pc.and_(pc.greater_equal(times, bounds[0]), pc.less_equal(times, bounds[1]))
    good = pc.fill_null(pc.and_(same, inside), fill_value=False)
    days = pc.cast(pc.if_else(good, times, pa.scalar(None, times.type)), pa.date32())
    return Understood(days.take(coded.indices), _whole(good.take(coded.indices)))


def _whole(good: pa.BooleanArray) -> pa.BooleanArray | None:
    """None when all are good, the common case; a null (no value at all) is not good until the caller says so."""
    return None if good.null_count == 0 and pc.all(good).as_py() else pc.fill_null(good, fill_value=False)


def _kept(texts: pa.Array, good: pa.BooleanArray | None) -> pa.Array:
    return texts if good is None else pc.if_else(good, texts, pa.scalar(None, pa.string()))
