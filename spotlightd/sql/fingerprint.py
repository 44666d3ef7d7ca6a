"""The hash of a row that the engine and the verifier compute apart from each other, as the engine's SQL.

A column gives one or more words of 64 bits; each is multiplied by an odd number made from the column's name, all are
added up modulo 2^64, with one more number for each column that is there, and the sum goes through murmur3's finaliser
(the engine's `intHash64`). So values or names that change places are noticed, and so is a column more or less.

What a word is: an integer, a Bool and a Date as they are; a Float64's bits with the bytes turned round, so that its
many low zeros do not swallow the number; a DateTime64 in the unit that Parquet has for it (ms, µs, ns); a Decimal's
unscaled number, in one, two or four words; a UUID's two halves; a text's xxHash64. A null is a number of the column's own
in place of all that. An array is the sum over its elements of the finaliser of (element + place times a number), so that
order, length and where one text ends all count.

Fingerprints are kept for years beside the files they are of: what is computed here never changes. Something better
gets another name. It is no cryptographic hash: it finds what was lost, doubled or damaged; that a file is the same
file is what its SHA-256 is for.
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
_HASH = "_row_hash"  # names of columns begin with a letter, so these are free
_ELEMENT, _PLACE = "_element", "_place"
_UNITS = (3, 3, 3, 3, 6, 6, 6, 9, 9, 9)
DECIMAL_DIGITS = (9, 18, 38, 76)


@dataclass(frozen=True, slots=True)
class Shape:
    """A type taken apart: what a value is (`word` without its wrapping), whether it can be null, whether it is a list."""

    word: str
    nullable: bool
    listed: bool

    @property
    def unit(self) -> int:
        """Of a DateTime64: how many digits of a second Parquet keeps (3, 6 or 9)."""
        return _UNITS[self.digits]

    @property
    def digits(self) -> int:
        """Of a DateTime64: digits of a second; of a Decimal: digits in all."""
        sized = _SIZED.match(self.word)
        if sized is None:
            raise ValueError(f"{self.word} has no digits")
        return int(sized[2])


def shape_of(column: Column) -> Shape:
    word, wrapping = column.type, set()
    while wrapped := _WRAPPED.match(word):
        wrapping.add(wrapped[1])
        word = wrapped[2]
    found = Shape(word, "Nullable" in wrapping, "Array" in wrapping)
    if word.startswith("Decimal") and not 1 <= found.digits <= DECIMAL_DIGITS[-1]:
        raise SettingsError(f"column {column.name}: {word} has more than {DECIMAL_DIGITS[-1]} digits, or none")
    return found


def column_number(name: str, role: str) -> int:
    """An odd number of 64 bits that only this column has in this role: `word 0` … `word 3`, `here`, `null`, `place`."""
    return int.from_bytes(hashlib.sha256(f"{role} of {name}".encode()).digest()[:8], "little") | 1


def columns_number(columns: Sequence[Column]) -> int:
    """What a row's sum begins with: that these columns are there, whatever they hold."""
    return sum(column_number(column.name, "here") for column in columns) % 2**64


def row_hash(columns: Sequence[Column]) -> str:
    """The expression of one row's hash, a UInt64."""
    return f"intHash64({columns_number(columns)} + {' + '.join(map(_term, columns))})"


def fingerprint_columns(columns: Sequence[Column], time: str) -> str:
    """The list of a SELECT without GROUP BY that answers with the five numbers of `Fingerprint`."""
    column = next((one for one in columns if one.name == time), None)
    if column is None:
        raise SettingsError(f"{time}: no such column to take the least and greatest of")
    return (
        f"count(), sumWithOverflow({row_hash(columns)} AS {_HASH}), groupBitXor({_HASH}), "
        f"{_end('min', column)}, {_end('max', column)}"
    )


def time_shape(column: Column) -> Shape:
    """The shape of a time column. SettingsError if its values have no order of whole numbers, or may be missing."""
    found = shape_of(column)
    counted = _WHOLE.match(found.word) or found.word.startswith("DateTime64")
    if found.listed or found.nullable or found.word == "Bool" or not counted:
        raise SettingsError(f"column {column.name}: {column.type} is no time; use Date, DateTime64 or a whole number")
    return found


def _end(which: str, column: Column) -> str:
    """The least or greatest; zero when there is no row."""
    found, end = time_shape(column), f"{which}(`{column.name}`)"
    if found.word.startswith("DateTime64"):
        return f"reinterpretAsInt64({end})"
    return f"toUInt16({end})" if found.word == "Date" else end


def _term(column: Column) -> str:
    found, name = shape_of(column), f"`{column.name}`"
    if found.listed:
        place = f"{_PLACE} * {column_number(column.name, 'place')}"
        element = f"({_ELEMENT}, {_PLACE}) -> intHash64({_weighted_sum(found, _ELEMENT, column.name)} + {place})"
        return f"arraySum({element}, {name}, arrayEnumerate({name}))"
    if found.nullable:
        value = _weighted_sum(found, f"assumeNotNull({name})", column.name)
        return f"if(isNull({name}), {column_number(column.name, 'null')}, {value})"
    return _weighted_sum(found, name, column.name)


def _weighted_sum(found: Shape, value: str, name: str) -> str:
    """A value's words, each times its number, added up."""
    words = (f"{word} * {column_number(name, f'word {at}')}" for at, word in enumerate(_value_words(found, value)))
    return " + ".join(words)


def _value_words(found: Shape, value: str) -> list[str]:
    if _WHOLE.match(found.word):
        return [f"toUInt64({value})"]
    if found.word == "Float64":
        return [f"byteSwap(reinterpretAsUInt64({value}))"]
    if found.word == "UUID":
        return _halves(f"reinterpretAsUInt128({value})", 2)
    if found.word.startswith("DateTime64"):
        return [f"toUInt64(reinterpretAsInt64({value}) * {10 ** (found.unit - found.digits)})"]
    if found.word.startswith("Decimal"):
        return _unscaled(value, found.digits)
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
    return [f"toUInt64(bitShiftRight({value}, {64 * at}))" for at in range(count)]
