"""Reads comma-separated text with quotes: all fields of a block by whole columns, with the true number of each line.

A line is what a line feed ends: a quote that is not closed on its line makes the line a reject, and no other. Columns are
found by name. Names are compared without regard to case, because publishers mix `-Leg 1` and `-leg 1` in one header.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Reject
from spotlightd.parse.cells import Numbers, make_reject
from spotlightd.parse.lines import Block, read_blocks
from spotlightd.parse.readahead import prefetch

TEXTS = pa.dictionary(pa.int32(), pa.string())
"""Most fields of a message have few different texts, so each text is stored and converted once."""


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


@dataclass(slots=True)
class _Irregular:
    """The lines of a block that are not rows: their numbers and texts, and why not."""

    rejects: list[Reject] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


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
        text = block.text.rstrip(b"\n") if block.text.endswith(b"\n\n") else block.text  # the usual blank line at the end
        if text:
            shorter = block.count - block.text.count(b"\n", len(text)) + 1 if text != block.text else block.count
            yield from _read_fields(replace(block, text=text, count=shorter), header)


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
    table, irregular = _divide(block, header)
    if table.num_rows + len(irregular.numbers) != block.count:
        block, irregular = _blank_open_lines(block, header)
        table, others = _divide(block, header)
        irregular.rejects += others.rejects
        irregular.numbers += others.numbers
        if table.num_rows + len(others.numbers) != block.count:
            raise FormatError("the quotes of its lines do not match", member=header.member, line=block.first)
        numbers = _number_rows(block, others.numbers)
    else:
        numbers = _number_rows(block, irregular.numbers)
    yield from irregular.rejects
    columns = [_combine_chunks(table.column(place)) for place in range(table.num_columns)]
    yield from _drop_blank_lines(Fields(columns, numbers, block))


def _divide(block: Block, header: Header) -> tuple[pa.Table, _Irregular]:
    irregular, count = _Irregular(), len(header.names)

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        number = block.first + row.number - 1
        irregular.numbers.append(number)
        if row.text.strip():
            reason = f"{row.actual_columns} fields where the header has {count}"
            irregular.rejects.append(make_reject(header.member, number, row.text, reason))
        return "skip"

    names = [str(place) for place in range(count)]
    reader = pyarrow.csv.open_csv(  # not read_csv, which starts a thread for each text
        pa.BufferReader(block.text),
        pyarrow.csv.ReadOptions(column_names=names, block_size=len(block.text) + 1, use_threads=False),
        pyarrow.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=keep),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, TEXTS), strings_can_be_null=False, check_utf8=False
        ),
    )
    return reader.read_all(), irregular


def _blank_open_lines(block: Block, header: Header) -> tuple[Block, _Irregular]:
    """The block with blank lines in place of those whose quotes do not match; they are rejects."""
    irregular = _Irregular()
    texts = block.text.split(b"\n")
    for place, text in enumerate(texts):
        if b'"' in text and not _is_closed(text.decode()):
            reject = make_reject(header.member, block.first + place, text.decode(), "a quote is not closed")
            irregular.rejects.append(reject)
            texts[place] = b""
    return replace(block, text=b"\n".join(texts)), irregular


def _is_closed(text: str) -> bool:
    try:
        next(csv.reader([text], strict=True))
    except csv.Error:
        return False
    return True


def _number_rows(block: Block, without: Sequence[int]) -> Numbers:
    numbers = np.arange(block.first, block.first + block.count, dtype="u4")
    return np.delete(numbers, [number - block.first for number in without]) if without else numbers


def _drop_blank_lines(fields: Fields) -> Generator[Fields, None, None]:
    """Arrow reads an empty line as a row of empty texts."""
    ends = np.flatnonzero(np.frombuffer(fields.block.text, "u1") == ord("\n"))
    blank = np.flatnonzero(np.diff(ends, prepend=-1) == 1) + fields.block.first
    keep = ~np.isin(fields.lines, blank) if len(blank) else np.ones(len(fields.lines), bool)
    if keep.all():
        kept = fields
    else:
        mask = pa.array(keep)
        kept = Fields([column.filter(mask) for column in fields.columns], fields.lines[keep], fields.block)
    if len(kept.lines):
        yield kept


def _combine_chunks(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if column.num_chunks == 0:
        return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    return column.chunk(0) if column.num_chunks == 1 else pc.unify_dictionaries(column).combine_chunks()
