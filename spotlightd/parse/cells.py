"""Converts a block of lines to typed columns. Arrow splits the fields, and each column is converted as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from spotlightd.model.provenance import Reject
from spotlightd.parse import columns, values
from spotlightd.parse.layout import Layout
from spotlightd.parse.lines import Block

TEXT_CHARACTERS = 2_000
MOST_ERRORS = 10_001  # per block: one more than a document may have

Numbers = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class IrregularLine:
    """A line with another number of fields than the header."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Cells:
    """Texts by field, and the number of each line."""

    texts: Mapping[str, pa.Array]
    lines: Numbers


@dataclass(frozen=True, slots=True)
class ParsedBlock:
    """Rows with the dataset's columns and pointer, and the lines that could not be read."""

    batch: pa.RecordBatch
    rejects: Sequence[Reject]


def split_fields(block: Block, names: tuple[str, ...], layout: Layout) -> tuple[Cells, Sequence[IrregularLine]]:
    """The taken fields of all lines that have as many fields as the header, without blank lines; and the other lines."""
    irregular: list[IrregularLine] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        irregular.append(IrregularLine(block.first + row.number - 1, row.text))
        return "skip"

    reader = pyarrow.csv.open_csv(  # not read_csv, which starts a thread for each text
        pa.BufferReader(block.text),
        # one chunk and no threads: otherwise Arrow does not number the rows for `keep`
        pyarrow.csv.ReadOptions(column_names=names, block_size=len(block.text) + 1, use_threads=False),
        pyarrow.csv.ParseOptions(
            delimiter=layout.separator, quote_char=False, ignore_empty_lines=False, invalid_row_handler=keep
        ),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(layout.take),
            strings_can_be_null=False,
            check_utf8=False,
        ),
    )
    table = reader.read_all()
    numbers = np.arange(block.first, block.first + block.count, dtype="u4")
    if irregular:
        numbers = np.delete(numbers, [line.line - block.first for line in irregular])
    texts = {name: _combine_chunks(table[name]) for name in layout.take}
    return _drop_blank_lines(Cells(texts, numbers), block), irregular


def rejoin_fields(line: IrregularLine, names: tuple[str, ...], layout: Layout) -> list[str] | None:
    """The fields of a line whose loose field holds separators. None if it has another number of fields for another reason."""
    fields = line.text.split(layout.separator)
    extra = len(fields) - len(names)
    if not layout.loose or extra <= 0:
        return None
    start = names.index(layout.loose)
    end = start + extra + 1
    return [*fields[:start], layout.separator.join(fields[start:end]), *fields[end:]]


def convert_cells(cells: Cells, layout: Layout, member: int, block: Block) -> ParsedBlock:
    """Convert the cells to the types of their columns. `block` holds the text of rejected lines."""
    arrays: dict[str, pa.Array] = {}
    masks: list[pa.BooleanArray] = []
    errors: dict[int, str] = {}
    for name, field, texts in _list_texts(cells, layout):
        column = layout.dataset.column(name)
        converted = values.convert(texts, column, day_format=layout.days, nulls=layout.nulls)
        arrays[name] = converted.values
        if converted.valid is not None:
            masks.append(converted.valid)
            for index in np.flatnonzero(~converted.valid.to_numpy(zero_copy_only=False))[:MOST_ERRORS].tolist():
                errors.setdefault(index, values.describe_error(field, texts[index].as_py(), column, layout.days))
    arrays["member"] = pa.repeat(pa.scalar(member, pa.uint16()), len(cells.lines))
    arrays["line"] = pa.array(cells.lines)
    schema = columns.parsed_schema(layout.dataset)
    batch = pa.record_batch([arrays[name] for name in schema.names], schema=schema)
    if masks:
        batch = batch.filter(reduce(pc.and_, masks))
    numbers = {index: int(cells.lines[index]) for index in sorted(errors)}
    texts = block.texts(numbers.values()) if errors else []
    rejects = [
        make_reject(member, line, text, errors[index])
        for (index, line), text in zip(numbers.items(), texts, strict=True)
    ]
    return ParsedBlock(batch, rejects)


def _list_texts(cells: Cells, layout: Layout) -> Iterator[tuple[str, str, pa.Array]]:
    """The texts of each column, and the name of their field."""
    yield from ((name, field, cells.texts[field]) for field, name in layout.take.items())
    for name, text in layout.constants.items():
        yield name, name, pa.repeat(pa.scalar(text), len(cells.lines))


def make_reject(member: int, line: int, text: str, reason: str) -> Reject:
    return Reject(member, line, text[:TEXT_CHARACTERS], reason)


def _combine_chunks(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _drop_blank_lines(cells: Cells, block: Block) -> Cells:
    """Arrow reads an empty line as a row of empty texts. Looking at one column is cheaper than searching the block."""
    first = next(iter(cells.texts.values()))
    if pc.min(pc.binary_length(first)).as_py() != 0:
        return cells
    ends = np.flatnonzero(np.frombuffer(block.text, "u1") == ord("\n"))
    blank = np.flatnonzero(np.diff(ends, prepend=-1) == 1) + block.first
    keep = ~np.isin(cells.lines, blank)
    mask = pa.array(keep)
    return Cells({name: text.filter(mask) for name, text in cells.texts.items()}, cells.lines[keep])
