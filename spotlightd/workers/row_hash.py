"""The hash of each row of an Arrow batch, by numpy: what the words of a column are stands in sql/fingerprint.py.

Everything is added into one array that stays in the processor's cache, because passing over memory is what costs.
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
from spotlightd.sql.fingerprint import DECIMAL_DIGITS, Shape, here, number, shape, timed

Words = NDArray[np.uint64]
MOSTLY = 2  # texts that come fewer times than that, on average, are hashed one by one
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

    def fingerprint(self, batch: pa.RecordBatch, memory: Memory) -> Fingerprint:
        """Of a batch; `memory` is of those before it in the same row group. The ends are as the file has them."""
        if not batch.num_rows:
            return Fingerprint()
        rows = np.full(batch.num_rows, self.start, np.uint64)
        for term, column in zip(self.terms, batch.columns, strict=True):
            term.add(rows, column, memory)
        finish(rows)
        total, mixed = int(np.add.reduce(rows)), int(np.bitwise_xor.reduce(rows))
        return Fingerprint(batch.num_rows, total, mixed, *_ends(batch.column(self.time)))

    def scaled(self, found: Fingerprint) -> Fingerprint:
        """With the ends in the column's own ticks instead of the file's."""
        low, high = found.low // self._ticks, found.high // self._ticks
        return Fingerprint(found.rows, found.total, found.mixed, low, high)


@dataclass(slots=True)
class Memory:
    """What is known from the batches before: hashes of the last dictionaries, and where nearly each text is another."""

    hashed: dict[str, tuple[pa.Array, Words]] = field(default_factory=dict)
    distinct: set[str] = field(default_factory=set)


class Term:
    """One column's part of the sum."""

    def __init__(self, column: Column) -> None:
        self.name = column.name
        self.shape: Shape = shape(column)
        self._by = [np.uint64(number(column.name, f"word {at}")) for at in range(4)]
        self._null = np.uint64(number(column.name, "null"))
        self._place = np.uint64(number(column.name, "place"))

    def add(self, rows: Words, column: pa.Array, memory: Memory) -> None:
        if self.shape.listed:
            rows += self._lists(column, memory)
        elif _is_one(column):
            rows += self._hashes(column, memory)[0]
        else:
            words = self._words(column, memory)
            if column.null_count and not pa.types.is_dictionary(column.type):
                words[column.is_null().to_numpy(zero_copy_only=False)] = self._null
            rows += words

    def _lists(self, column: pa.Array, memory: Memory) -> Words:
        """Sums over the elements, by differences of one running sum: it wraps, and so do they."""
        ends = _numbers(column.offsets, np.int32).astype(np.int64)
        ends -= ends[0]
        elements, lengths = column.flatten(), np.diff(ends)
        if not len(elements):
            return np.zeros(len(column), np.uint64)
        places = np.arange(1, len(elements) + 1)
        places -= np.repeat(ends[:-1], lengths)
        running = np.zeros(len(elements) + 1, np.uint64)
        np.cumsum(self._placed(elements, places, int(lengths.max()), memory), out=running[1:])
        at_ends = running.take(ends)
        return at_ends[1:] - at_ends[:-1]

    def _placed(self, elements: pa.Array, places: NDArray[np.int64], most: int, memory: Memory) -> Words:
        """The hash of each element at its place. Few different ones at few places are hashed once each."""
        if pa.types.is_dictionary(elements.type):
            known = self._hashes(elements, memory)
            if known.size * most < len(elements):
                table = known + (np.arange(1, most + 1).view(np.uint64) * self._place)[:, None]
                finish(table)
                places -= 1
                places *= known.size
                places += _numbers(elements.indices, np.int32)
                return table.ravel().take(places)
        words = self._words(elements, memory)
        words += places.view(np.uint64) * self._place
        finish(words)
        return words

    def _words(self, column: pa.Array, memory: Memory) -> Words:
        """Each value's words times their numbers, in a fresh array; anything where there is none."""
        if pa.types.is_dictionary(column.type):
            return self._repeated(column, memory)
        if self.shape.word.startswith(("String", "FixedString")):
            return self._texts(column, memory)
        return self._wide(_split(self.shape, column))

    def _texts(self, column: pa.Array, memory: Memory) -> Words:
        """Texts that the file does not hold in a dictionary may be repeated all the same: it is tried once a group."""
        if self.name not in memory.distinct:
            encoded = column.dictionary_encode()
            if len(encoded.dictionary) <= len(column) // MOSTLY:
                return self._repeated(encoded, memory)
            memory.distinct.add(self.name)
        return _hashed(column) * self._by[0]

    def _wide(self, words: NDArray[Any]) -> Words:
        first: Words = np.multiply(words[:, 0], self._by[0], dtype=np.uint64, casting="unsafe")
        for at in range(1, words.shape[1]):
            first += np.multiply(words[:, at], self._by[at], dtype=np.uint64, casting="unsafe")
        return first

    def _repeated(self, column: pa.DictionaryArray, memory: Memory) -> Words:
        indices = column.indices.fill_null(len(column.dictionary)) if column.null_count else column.indices
        return self._hashes(column, memory).take(_numbers(indices, np.int32))

    def _hashes(self, column: pa.DictionaryArray, memory: Memory) -> Words:
        """Of the dictionary's entries, with the null's number behind the last."""
        before = memory.hashed.get(self.name)
        if before is None or not before[0].equals(column.dictionary):
            hashes = np.append(_hashed(column.dictionary) * self._by[0], self._null)
            before = memory.hashed[self.name] = (column.dictionary, hashes)
        return before[1]


def _is_one(column: pa.Array) -> bool:
    """Whether it says itself that it is one text again and again."""
    return pa.types.is_dictionary(column.type) and len(column.dictionary) == 1 and not column.null_count


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
