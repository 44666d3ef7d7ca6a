"""The hash of a row as the engine's SQL. The verifier computes the same hash with independent code.

A column gives one or more words of 64 bits. Each word is multiplied by an odd number derived from the column's name. All
are added up modulo 2^64, with one more number for each column, and the sum goes through the finaliser of murmur3 (the
engine's `intHash64`). So swapped values or names are noticed, and so is a missing or additional column.

The words: an integer, a Bool and a Date as they are; a Float64's bits with the bytes reversed, so that its many low zeros
do not swallow the number; a DateTime64 in the unit that Parquet has for it (ms, µs, ns); a Decimal's unscaled number, in
one, two or four words; a UUID's two halves; a text's xxHash64. A null is a number that only this column has. An array
is the sum over its elements of the finaliser of (element + place times a number), so that the order, the length and the
end of each text all count. A map is an array whose elements have two words each: those of the name and of the text.

Fingerprints are stored for years beside the files that they describe, so this computation never changes. A better one
must get another name. It is not a cryptographic hash: it finds lost, doubled or damaged rows. The SHA-256 of a file
shows that the file is unchanged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import Column

_WRAPPED = re.compile(r"^(Array|LowCardinality|Nullable)\((.+)\)$")
_WHOLE = re.compile(r"^(?:U?Int(?:8|16|32|64)|Bool|Date)$")
_SIZED = re.compile(r"^(DateTime64|Decimal)\((\d+)")
_HASH = "_row_hash"  # names of columns start with a letter, so these are free
_KEY, _ELEMENT, _PLACE = "_key", "_element", "_place"
_UNITS = (3, 3, 3, 3, 6, 6, 6, 9, 9, 9)
DECIMAL_DIGITS = (9, 18, 38, 76)


@dataclass(frozen=True, slots=True)
class Shape:
    """A column type: the type of one value (`scalar`), whether it can be null, and whether it is a list or a map of texts."""

    scalar: str
    nullable: bool
    listed: bool
    mapped: bool = False

    @property
    def unit(self) -> int:
        """Of a DateTime64: how many digits of a second Parquet stores (3, 6 or 9)."""
        return _UNITS[self.digits]

    @property
    def digits(self) -> int:
        """Of a DateTime64: digits of a second; of a Decimal: digits in all."""
        match = _SIZED.match(self.scalar)
        if match is None:
            raise ValueError(f"{self.scalar} has no digits")
        return int(match[2])


def shape_of(column: Column) -> Shape:
    if column.kind == "map":
        return Shape("String", nullable=False, listed=False, mapped=True)
    scalar, wrappers = column.type, set()
    while match := _WRAPPED.match(scalar):
        wrappers.add(match[1])
        scalar = match[2]
    shape = Shape(scalar, "Nullable" in wrappers, "Array" in wrappers)
    if scalar.startswith("Decimal") and not 1 <= shape.digits <= DECIMAL_DIGITS[-1]:
        raise SettingsError(f"column {column.name}: {scalar} has more than {DECIMAL_DIGITS[-1]} digits, or none")
    return shape


def column_number(name: str, role: str) -> int:
    """An odd number of 64 bits that only this column has in this role: `word 0` … `word 3`, `here`, `null`, `place`."""
    return int.from_bytes(hashlib.sha256(f"{role} of {name}".encode()).digest()[:8], "little") | 1


def columns_number(columns: Sequence[Column]) -> int:
    """The initial value of a row's sum. It depends on which columns there are, not on their values."""
    return sum(column_number(column.name, "here") for column in columns) % 2**64


def row_hash(columns: Sequence[Column]) -> str:
    """The expression of one row's hash, a UInt64."""
    return f"intHash64({columns_number(columns)} + {' + '.join(map(_term, columns))})"


def fingerprint_columns(columns: Sequence[Column], time: str) -> str:
    """The list of a SELECT without GROUP BY that returns the five numbers of `Fingerprint`."""
    column = next((column for column in columns if column.name == time), None)
    if column is None:
        raise SettingsError(f"{time}: no such column to take the least and greatest of")
    return (
        f"count(), sumWithOverflow({row_hash(columns)} AS {_HASH}), groupBitXor({_HASH}), "
        f"{_end('min', column)}, {_end('max', column)}"
    )


def time_shape(column: Column) -> Shape:
    """The shape of a time column. SettingsError if its values are not ordered like whole numbers, or may be missing."""
    shape = shape_of(column)
    ordered = _WHOLE.match(shape.scalar) or shape.scalar.startswith("DateTime64")
    if shape.listed or shape.mapped or shape.nullable or shape.scalar == "Bool" or not ordered:
        raise SettingsError(f"column {column.name}: {column.type} is no time; use Date, DateTime64 or a whole number")
    return shape


def _end(which: str, column: Column) -> str:
    """The least or greatest value; zero when there is no row."""
    scalar, end = time_shape(column).scalar, f"{which}(`{column.name}`)"
    if scalar.startswith("DateTime64"):
        return f"reinterpretAsInt64({end})"
    return f"toUInt16({end})" if scalar == "Date" else end


def _term(column: Column) -> str:
    shape, name = shape_of(column), f"`{column.name}`"
    place = f"{_PLACE} * {column_number(column.name, 'place')}"
    if shape.mapped:
        first, second = (column_number(column.name, f"word {index}") for index in range(2))
        words = f"xxHash64({_KEY}) * {first} + xxHash64({_ELEMENT}) * {second}"
        pair = f"({_KEY}, {_ELEMENT}, {_PLACE}) -> intHash64({words} + {place})"
        return f"arraySum({pair}, mapKeys({name}), mapValues({name}), arrayEnumerate(mapKeys({name})))"
    if shape.listed:
        element = f"({_ELEMENT}, {_PLACE}) -> intHash64({_weighted_sum(shape, _ELEMENT, column.name)} + {place})"
        return f"arraySum({element}, {name}, arrayEnumerate({name}))"
    if shape.nullable:
        value = _weighted_sum(shape, f"assumeNotNull({name})", column.name)
        return f"if(isNull({name}), {column_number(column.name, 'null')}, {value})"
    return _weighted_sum(shape, name, column.name)


def _weighted_sum(shape: Shape, value: str, name: str) -> str:
    """The sum of a value's words, each multiplied by its number."""
    words = enumerate(_value_words(shape, value))
    return " + ".join(f"{word} * {column_number(name, f'word {index}')}" for index, word in words)


def _value_words(shape: Shape, value: str) -> list[str]:
    if _WHOLE.match(shape.scalar):
        return [f"toUInt64({value})"]
    if shape.scalar == "Float64":
        return [f"byteSwap(reinterpretAsUInt64({value}))"]
    if shape.scalar == "UUID":
        return _halves(f"reinterpretAsUInt128({value})", 2)
    if shape.scalar.startswith("DateTime64"):
        return [f"toUInt64(reinterpretAsInt64({value}) * {10 ** (shape.unit - shape.digits)})"]
    if shape.scalar.startswith("Decimal"):
        return _unscaled(value, shape.digits)
    return [f"xxHash64({value})"]


def _unscaled(value: str, digits: int) -> list[str]:
    narrow, wide, double, _ = DECIMAL_DIGITS
    if digits <= narrow:
        return [f"toUInt64(reinterpretAsInt32({value}))"]
    if digits <= wide:
        return [f"reinterpretAsUInt64({value})"]
    if digits <= double:
        return _halves(f"reinterpretAsUInt128({value})", 2)
    return _halves(f"reinterpretAsUInt256({value})", 4)


def _halves(value: str, count: int) -> list[str]:
    return [f"toUInt64(bitShiftRight({value}, {64 * index}))" for index in range(count)]
