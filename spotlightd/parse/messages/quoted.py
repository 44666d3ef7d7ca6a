"""Reads comma-separated text with quotes: all fields of a block by whole columns, with the true number of each line.

A line is what a line feed ends: a quote that is not closed on its line makes the line a reject, and no other. Columns are
found by name. Names are compared without regard to case, because publishers mix `-Leg 1` and `-leg 1` in one header.

Arrow divides large blocks, and the csv module small ones: of a slice of five messages that takes a hundredth of Arrow's time,
because Arrow prepares each of 110 columns first. Where anything is irregular, each line of the block is divided alone, so what
becomes of a line never depends on the lines around it.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.csv

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Reject
from spotlightd.parse.cells import Numbers, make_reject
from spotlightd.parse.lines import Block, read_blocks
from spotlightd.parse.readahead import prefetch

SMALL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """The names of a header as printed, and the line that it is on."""

    names: tuple[str, ...]
    line: int
    member: int
    places: Mapping[str, int] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return name.casefold() in self.places

    def place(self, name: str) -> int:
        """The place of the field with that name, whatever its case is. KeyError if there is none."""
        return self.places[name.casefold()]


@dataclass(frozen=True, slots=True)
class Fields:
    """The texts of a block: one column for each field of the header, and the number of each line."""

    columns: Sequence[pa.DictionaryArray]
    lines: Numbers
    block: Block


def open_text(
    pieces: Generator[bytes, None, None], *, member: int = 0
) -> tuple[Header, Generator[Fields | Reject, None, None]]:
    """The header, and the fields of each block. Lines that cannot be divided into fields are rejects.

    FormatError for a text without a header, and for a header that names a field twice.
    """
    blocks = prefetch(read_blocks(pieces, "utf-8", member=member))
    for block in blocks:
        header, rest = _read_header(block, member)
        if header is not None:
            return header, _read_blocks(chain([rest], blocks), header)
    raise FormatError("the text is empty: there is not even a header", member=member)


def is_blank(texts: pa.DictionaryArray) -> bool:
    """Whether all texts are empty, as those of most fields are."""
    return len(texts.dictionary) == 0 or (len(texts.dictionary) == 1 and not texts.dictionary[0].as_py())


def _read_blocks(blocks: Iterable[Block], header: Header) -> Generator[Fields | Reject, None, None]:
    for block in blocks:
        if block.text:
            yield from _read_fields(block, header)


def _read_header(block: Block, member: int) -> tuple[Header | None, Block]:
    """The names in the first line that is not blank, and the rest of the block."""
    before = len(block.text) - len(block.text.lstrip(b"\n"))
    if before == len(block.text):
        return None, Block(block.first, 0, b"")
    text, _, rest = block.text[before:].partition(b"\n")
    number = block.first + before
    names = tuple(name.strip() for name in next(csv.reader([text.decode()])))
    places = {name.casefold(): place for place, name in enumerate(names)}
    if len(places) < len(names):
        twice = next(name for place, name in enumerate(names) if places[name.casefold()] != place)
        raise FormatError(f"the header names {twice[:80]!r} twice", member=member, line=number)
    return Header(names, number, member, places), Block(number + 1, block.count - before - 1, rest)


def _read_fields(block: Block, header: Header) -> Generator[Fields | Reject, None, None]:
    numbers = np.arange(block.first, block.first + block.count, dtype="u4")
    columns = _divide(block, len(header.names))
    if columns is not None:
        yield Fields(columns, numbers, block)
        return
    kept, rows = list[int](), list[list[str]]()
    for place, text in enumerate(block.text.decode().split("\n")[: block.count]):
        fields = _divide_line(text, len(header.names))
        if isinstance(fields, str):
            yield make_reject(header.member, block.first + place, text, fields)
        elif fields:
            rows.append(fields)
            kept.append(place)
    if rows:
        yield Fields(_encode(rows), numbers[kept], block)


def _divide(block: Block, count: int) -> list[pa.DictionaryArray] | None:
    """The fields of a block; None when a line is blank, or has more or fewer fields, or a quote that is not closed."""
    if len(block.text) < SMALL_BYTES:
        *rows, end = csv.reader([*block.text.decode().split("\n")[: block.count], ""])
        return _encode(rows) if not end and len(rows) == block.count and {count} == set(map(len, rows)) else None
    last = block.text[block.text.rfind(b"\n", 0, -1) + 1 :].decode().rstrip("\n")
    if b"\n\n" in block.text or block.text.startswith(b"\n") or isinstance(_divide_line(last, count), str):
        return None
    try:
        table = pyarrow.csv.open_csv(  # not read_csv, which starts a thread for each text
            pa.BufferReader(block.text),
            pyarrow.csv.ReadOptions(column_names=_names(count), block_size=len(block.text) + 1, use_threads=False),
            convert_options=_options(count),
        ).read_all()
    except pa.ArrowInvalid:
        return None
    return [column.combine_chunks() for column in table.columns] if table.num_rows == block.count else None


def _divide_line(text: str, count: int) -> list[str] | str:
    """The fields of one line, none for a blank one, or why it has no such fields."""
    if not text.strip():
        return []
    reader = csv.reader([text, ""])
    fields = next(reader)
    if reader.line_num > 1:
        return "a quote is not closed"
    return fields if len(fields) == count else f"{len(fields)} fields where the header has {count}"


def _encode(rows: Sequence[Sequence[str]]) -> list[pa.DictionaryArray]:
    blank = pa.array([""] * len(rows), pa.string()).dictionary_encode()
    columns = zip(*rows, strict=True)
    return [pa.array(texts, pa.string()).dictionary_encode() if any(texts) else blank for texts in columns]


@cache
def _names(count: int) -> list[str]:
    return [str(place) for place in range(count)]


@cache
def _options(count: int) -> pyarrow.csv.ConvertOptions:
    coded = pa.dictionary(pa.int32(), pa.string())
    return pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(_names(count), coded), strings_can_be_null=False, check_utf8=False
    )
