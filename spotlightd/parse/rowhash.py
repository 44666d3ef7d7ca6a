"""The hash of each row of an Arrow batch, by numpy: what the words of a column are stands in model/fingerprint.py.

Everything is added into one array that stays in the processor's cache, because passing over memory is what costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Column
from spotlightd.model.fingerprint import DECIMAL_DIGITS, Shape, here, number, shape, timed

Words = NDArray[np.uint64]
_SEED = np.uint64(0x4CF2D2BAAE6DA887)
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


class Hasher:
    """For rows of these columns. `time` is the one whose least and greatest are asked for."""

    def __init__(self, columns: Sequence[Column], time: str) -> None:
        self.terms = [Term(column) for column in columns]
        self.start = np.uint64(here(columns))
        self.time = next(at for at, column in enumerate(columns) if column.name == time)
        clock = timed(columns[self.time])
        self._ticks = 10 ** (clock.unit - clock.digits) if clock.word.startswith("DateTime64") else 1

    def remembering(self) -> Remembering:
        return Remembering(self)

    def scaled(self, found: Fingerprint) -> Fingerprint:
        """With the ends in the column's own ticks instead of the file's."""
        low, high = found.low // self._ticks, found.high // self._ticks
        return Fingerprint(found.rows, found.total, found.mixed, low, high)


class Remembering:
    """Hashes batches that follow one another: the hashes of a dictionary serve as long as it stays the same."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._known: dict[str, tuple[pa.Array, Words]] = {}

    def fingerprint(self, batch: pa.RecordBatch) -> Fingerprint:
        if not batch.num_rows:
            return Fingerprint()
        rows = np.full(batch.num_rows, self._hasher.start, np.uint64)
        for term, column in zip(self._hasher.terms, batch.columns, strict=True):
            term.add(rows, column, self._known)
        finish(rows)
        total, mixed = int(np.add.reduce(rows)), int(np.bitwise_xor.reduce(rows))
        return Fingerprint(batch.num_rows, total, mixed, *_ends(batch.column(self._hasher.time)))


class Term:
    """One column's part of the sum."""

    def __init__(self, column: Column) -> None:
        self.name = column.name
        self.shape: Shape = shape(column)
        self._by = [np.uint64(number(column.name, f"word {at}")) for at in range(4)]
        self._null = np.uint64(number(column.name, "null"))
        self._place = np.uint64(number(column.name, "place"))

    def add(self, rows: Words, column: pa.Array, known: dict[str, tuple[pa.Array, Words]]) -> None:
        if self.shape.listed:
            rows += self._lists(column, known)
            return
        words = self._words(column, known)
        if column.null_count and not pa.types.is_dictionary(column.type):
            words[column.is_null().to_numpy(zero_copy_only=False)] = self._null
        rows += words

    def _lists(self, column: pa.Array, known: dict[str, tuple[pa.Array, Words]]) -> Words:
        """Sums over the elements, by differences of one running sum: it wraps, and so do they."""
        ends = _numbers(column.offsets, np.int32).astype(np.int64)
        ends -= ends[0]
        elements = column.flatten()
        if not len(elements):
            return np.zeros(len(column), np.uint64)
        places = np.arange(1, len(elements) + 1) - np.repeat(ends[:-1], np.diff(ends))
        words = self._words(elements, known)
        words += places.view(np.uint64) * self._place
        finish(words)
        running = np.zeros(len(elements) + 1, np.uint64)
        np.cumsum(words, out=running[1:])
        sums: Words = running[ends[1:]] - running[ends[:-1]]
        return sums

    def _words(self, column: pa.Array, known: dict[str, tuple[pa.Array, Words]]) -> Words:
        """Each value's words times their numbers, in a fresh array; anything where there is none."""
        if pa.types.is_dictionary(column.type):
            return self._repeated(column, known)
        if self.shape.word.startswith(("String", "FixedString")):
            return _hashed(column) * self._by[0]
        return self._wide(_split(self.shape, column))

    def _wide(self, words: NDArray[Any]) -> Words:
        first: Words = np.multiply(words[:, 0], self._by[0], dtype=np.uint64, casting="unsafe")
        for at in range(1, words.shape[1]):
            first += np.multiply(words[:, at], self._by[at], dtype=np.uint64, casting="unsafe")
        return first

    def _repeated(self, column: pa.DictionaryArray, known: dict[str, tuple[pa.Array, Words]]) -> Words:
        """By the dictionary, with the null's number behind its last entry."""
        before = known.get(self.name)
        if before is None or not before[0].equals(column.dictionary):
            hashes = np.append(_hashed(column.dictionary) * self._by[0], self._null)
            before = known[self.name] = (column.dictionary, hashes)
        indices = column.indices.fill_null(len(column.dictionary)) if column.null_count else column.indices
        found: Words = before[1].take(_numbers(indices, np.int32))
        return found


def _split(found: Shape, column: pa.Array) -> NDArray[Any]:
    """The words of each value that is no text, side by side."""
    if found.word == "UUID":
        return _numbers(getattr(column, "storage", column), ">u8", 2)
    if found.word.startswith("Decimal"):
        wide = _numbers(column, np.uint64, column.type.byte_width // 8)
        return wide if found.digits > DECIMAL_DIGITS[1] else wide[:, :1]
    if found.word == "Bool":
        return _numbers(column.cast(pa.uint8()), np.uint8)[:, None]
    return _numbers(column, ">u8" if found.word == "Float64" else _native(column.type))[:, None]


def finish(rows: Words) -> None:
    """murmur3's finaliser as the engine's intHash64 has it, in place."""
    shifted = np.empty_like(rows)
    rows ^= _SEED
    for by in (_FIRST, _SECOND):
        np.right_shift(rows, _SHIFT, out=shifted)
        rows ^= shifted
        rows *= by
    np.right_shift(rows, _SHIFT, out=shifted)
    rows ^= shifted


def _hashed(texts: pa.Array) -> Words:
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


def _native(word: pa.DataType) -> str:
    """The numpy type of a number, a day or a moment."""
    sign = "u" if pa.types.is_unsigned_integer(word) else "i"
    return f"{sign}{word.bit_width // 8}"


def _numbers(column: pa.Array, word: Any, width: int = 1) -> NDArray[Any]:
    """The values where they lie, `width` to each; anything where there is none."""
    found = np.frombuffer(column.buffers()[1], word)[column.offset * width : (column.offset + len(column)) * width]
    return found.reshape(-1, width) if width > 1 else found


def _ends(column: pa.Array) -> tuple[int, int]:
    """Least and greatest."""
    numbers = _numbers(column, _native(column.type))
    return int(numbers.min()), int(numbers.max())
