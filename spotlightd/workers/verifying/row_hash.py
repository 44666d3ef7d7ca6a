"""The hash of each row of an Arrow batch, by numpy. sql/fingerprint.py defines the 64-bit words of each column type.

Everything is added into one array that stays in the processor's cache, because memory traffic is the main cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.sql.fingerprint import DECIMAL_DIGITS, Shape, column_number, columns_number, shape_of, time_shape

Hashes = NDArray[np.uint64]
MINIMUM_REPEATS = 2  # texts that repeat less than that, on average, are hashed one by one
_SEED = np.uint64(0x4CF2D2BAAE6DA887)
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


class Hasher:
    """Hashes rows of these columns. `time` is the column whose minimum and maximum the fingerprint has."""

    def __init__(self, columns: Sequence[Column], time: str) -> None:
        self.terms = [Term(column) for column in columns]
        self.start = np.uint64(columns_number(columns))
        self.time = next(index for index, column in enumerate(columns) if column.name == time)
        shape = time_shape(columns[self.time])
        self._ticks = 10 ** (shape.unit - shape.digits) if shape.scalar.startswith("DateTime64") else 1

    def fingerprint(self, batch: pa.RecordBatch, cache: HashCache) -> Fingerprint:
        """The fingerprint of a batch, with times in the file's unit. All batches of a row group share one `cache`."""
        if not batch.num_rows:
            return Fingerprint()
        rows = np.full(batch.num_rows, self.start, np.uint64)
        for term, column in zip(self.terms, batch.columns, strict=True):
            term.add(rows, column, cache)
        finalize(rows)
        total, mixed = int(np.add.reduce(rows)), int(np.bitwise_xor.reduce(rows))
        return Fingerprint(batch.num_rows, total, mixed, *_find_bounds(batch.column(self.time)))

    def to_column_ticks(self, fingerprint: Fingerprint) -> Fingerprint:
        """The fingerprint with times in the column's own unit instead of the file's."""
        low, high = fingerprint.low // self._ticks, fingerprint.high // self._ticks
        return Fingerprint(fingerprint.rows, fingerprint.total, fingerprint.mixed, low, high)


@dataclass(slots=True)
class HashCache:
    """Facts from earlier batches of the row group: hashes of the last dictionaries, and columns of mostly distinct
    texts.
    """

    dictionaries: dict[str, tuple[pa.Array, Hashes]] = field(default_factory=dict)
    distinct: set[str] = field(default_factory=set)


class Term:
    """The contribution of one column to the hash of a row."""

    def __init__(self, column: Column) -> None:
        self.name = column.name
        self.shape: Shape = shape_of(column)
        self._factors = [np.uint64(column_number(column.name, f"word {index}")) for index in range(4)]
        self._null = np.uint64(column_number(column.name, "null"))
        self._place = np.uint64(column_number(column.name, "place"))

    def add(self, rows: Hashes, column: pa.Array, cache: HashCache) -> None:
        if self.shape.listed:
            rows += self._hash_lists(column.offsets, column.flatten(), None, cache)
        elif self.shape.mapped:
            start, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
            keys, texts = column.keys[start:end], column.items[start:end]
            rows += self._hash_lists(column.offsets, texts, keys, cache)
        elif _is_constant(column):
            rows += self._hash_dictionary(column, cache)[0]
        else:
            words = self._hash_values(column, cache)
            if column.null_count and not pa.types.is_dictionary(column.type):
                words[column.is_null().to_numpy(zero_copy_only=False)] = self._null
            rows += words

    def _hash_lists(self, offsets: pa.Array, elements: pa.Array, keys: pa.Array | None, cache: HashCache) -> Hashes:
        """The sum over the elements of each list, as differences of one running sum, modulo 2^64. Those of a map have keys."""
        ends = _view(offsets, np.int32).astype(np.int64)
        ends -= ends[0]
        lengths = np.diff(ends)
        if not len(elements):
            return np.zeros(len(lengths), np.uint64)
        places = np.arange(1, len(elements) + 1)
        places -= np.repeat(ends[:-1], lengths)
        running = np.zeros(len(elements) + 1, np.uint64)
        if keys is None:
            hashes = self._hash_elements(elements, places, int(lengths.max()), cache)
        else:
            hashes = self._hash_pairs(keys, elements, places)
        np.cumsum(hashes, out=running[1:])
        at_ends = running.take(ends)
        return at_ends[1:] - at_ends[:-1]

    def _hash_pairs(self, keys: pa.Array, texts: pa.Array, places: NDArray[np.int64]) -> Hashes:
        """The hash of each pair at its place in its map. Names and most texts repeat, so each is hashed once."""
        words = _hash_distinct(keys) * self._factors[0] + _hash_distinct(texts) * self._factors[1]
        words += places.view(np.uint64) * self._place
        finalize(words)
        return words

    def _hash_elements(self, elements: pa.Array, places: NDArray[np.int64], longest: int, cache: HashCache) -> Hashes:
        """The hash of each element at its place in its list. A few distinct values at a few places are hashed once
        each.
        """
        if pa.types.is_dictionary(elements.type):
            known = self._hash_dictionary(elements, cache)
            if known.size * longest < len(elements):
                table = known + (np.arange(1, longest + 1).view(np.uint64) * self._place)[:, None]
                finalize(table)
                places -= 1
                places *= known.size
                places += _view(elements.indices, np.int32)
                return table.ravel().take(places)
        words = self._hash_values(elements, cache)
        words += places.view(np.uint64) * self._place
        finalize(words)
        return words

    def _hash_values(self, column: pa.Array, cache: HashCache) -> Hashes:
        """The words of each value times the factors, in a new array. Null values have any number."""
        if pa.types.is_dictionary(column.type):
            return self._hash_encoded(column, cache)
        if self.shape.scalar.startswith(("String", "FixedString")):
            return self._hash_texts(column, cache)
        return self._combine_words(_split_words(self.shape, column))

    def _hash_texts(self, column: pa.Array, cache: HashCache) -> Hashes:
        """Texts without a dictionary in the file may repeat nevertheless: one attempt for each row group finds out."""
        if self.name not in cache.distinct:
            encoded = column.dictionary_encode()
            if len(encoded.dictionary) <= len(column) // MINIMUM_REPEATS:
                return self._hash_encoded(encoded, cache)
            cache.distinct.add(self.name)
        return _hash_each(column) * self._factors[0]

    def _combine_words(self, words: NDArray[Any]) -> Hashes:
        first: Hashes = np.multiply(words[:, 0], self._factors[0], dtype=np.uint64, casting="unsafe")
        for index in range(1, words.shape[1]):
            first += np.multiply(words[:, index], self._factors[index], dtype=np.uint64, casting="unsafe")
        return first

    def _hash_encoded(self, column: pa.DictionaryArray, cache: HashCache) -> Hashes:
        indices = column.indices.fill_null(len(column.dictionary)) if column.null_count else column.indices
        return self._hash_dictionary(column, cache).take(_view(indices, np.int32))

    def _hash_dictionary(self, column: pa.DictionaryArray, cache: HashCache) -> Hashes:
        """The hashes of the dictionary's entries, followed by the number for null."""
        cached = cache.dictionaries.get(self.name)
        if cached is None or not cached[0].equals(column.dictionary):
            hashes = np.append(_hash_each(column.dictionary) * self._factors[0], self._null)
            cached = cache.dictionaries[self.name] = (column.dictionary, hashes)
        return cached[1]


def _is_constant(column: pa.Array) -> bool:
    """Whether a dictionary column has one text in all rows."""
    return pa.types.is_dictionary(column.type) and len(column.dictionary) == 1 and not column.null_count


def _split_words(shape: Shape, column: pa.Array) -> NDArray[Any]:
    """The 64-bit words of each value, side by side; not for texts."""
    if shape.scalar == "UUID":
        return _view(getattr(column, "storage", column), ">u8", 2)
    if shape.scalar.startswith("Decimal"):
        wide = _view(column, np.uint64, column.type.byte_width // 8)
        return wide if shape.digits > DECIMAL_DIGITS[1] else wide[:, :1]
    if shape.scalar == "Bool":
        return _view(column.cast(pa.uint8()), np.uint8)[:, None]
    return _view(column, ">u8" if shape.scalar == "Float64" else _numpy_type(column.type))[:, None]


def finalize(rows: Hashes) -> None:
    """The finalizer of murmur3, as in the engine's intHash64, in place."""
    shifted = np.empty_like(rows)
    rows ^= _SEED
    for factor in (_FIRST, _SECOND):
        np.right_shift(rows, _SHIFT, out=shifted)
        rows ^= shifted
        rows *= factor
    np.right_shift(rows, _SHIFT, out=shifted)
    rows ^= shifted


def _hash_distinct(texts: pa.Array) -> Hashes:
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    return _hash_each(encoded.dictionary).take(_view(encoded.indices, np.int32))


def _hash_each(texts: pa.Array) -> Hashes:
    """xxHash64 of each text, one by one."""
    if pa.types.is_fixed_size_binary(texts.type):
        width = texts.type.byte_width
        ends = range(0, width * len(texts) + 1, width)
        first, data = texts.offset * width, texts.buffers()[1]
    else:
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
        first, data = int(offsets[0]), texts.buffers()[2]
        ends = (offsets - first).tolist()
    text = data.slice(first, ends[-1]).to_pybytes() if data is not None and ends[-1] else b""
    hashes = map(xxhash.xxh64_intdigest, (text[start:end] for start, end in pairwise(ends)))
    return np.fromiter(hashes, np.uint64, len(texts))


def _numpy_type(arrow_type: pa.DataType) -> str:
    """The numpy type of a number, date or time."""
    sign = "u" if pa.types.is_unsigned_integer(arrow_type) else "i"
    return f"{sign}{arrow_type.bit_width // 8}"


def _view(column: pa.Array, numpy_type: Any, width: int = 1) -> NDArray[Any]:
    """The values as a numpy view without a copy, `width` numbers to each. Null values have any number."""
    values = np.frombuffer(column.buffers()[1], numpy_type)[
        column.offset * width : (column.offset + len(column)) * width
    ]
    return values.reshape(-1, width) if width > 1 else values


def _find_bounds(column: pa.Array) -> tuple[int, int]:
    """The minimum and maximum."""
    numbers = _view(column, _numpy_type(column.type))
    return int(numbers.min()), int(numbers.max())
