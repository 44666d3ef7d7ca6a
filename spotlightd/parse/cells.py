"""A block of lines to typed columns: Arrow splits the fields, and whole columns are converted at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
REASONS = 10_001  # of one block: one more than a document may have

Numbers = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Odd:
    """A line with another number of fields than the header."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Cells:
    """Texts by field, and the numbers of the lines that they stand on."""

    texts: Mapping[str, pa.Array]
    lines: Numbers


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of the dataset's columns and pointer, and the lines that could not be understood."""

    batch: pa.RecordBatch
    rejects: Sequence[Reject]


def split(block: Block, names: tuple[str, ...], layout: Layout) -> tuple[Cells, Sequence[Odd]]:
    """The taken fields of all lines that have as many fields as the header; blank lines left out; and the other lines."""
    odd: list[Odd] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        odd.append(Odd(block.first + row.number - 1, row.text))
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.BufferReader(block.text),
        # one chunk and no threads of Arrow's own: only so are the rows numbered for `keep`
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
    numbers = np.arange(block.first, block.first + block.count, dtype="u4")
    if odd:
        numbers = np.delete(numbers, [one.line - block.first for one in odd])
    texts = {name: _one(table[name]) for name in layout.take}
    return _without_blank(Cells(texts, numbers), block), odd


def mend(odd: Odd, names: tuple[str, ...], layout: Layout) -> list[str] | None:
    """The line's fields with the loose one put together again; None where that is not what is wrong with it."""
    fields = odd.text.split(layout.separator)
    extra = len(fields) - len(names)
    if not layout.loose or extra <= 0:
        return None
    at = names.index(layout.loose)
    return [*fields[:at], layout.separator.join(fields[at : at + extra + 1]), *fields[at + extra + 1 :]]


def typed(cells: Cells, layout: Layout, member: int, block: Block) -> Found:
    """The cells as their columns' types; `block` is where they are from, for the text of rejects."""
    arrays: dict[str, pa.Array] = {}
    good: list[pa.BooleanArray] = []
    reasons: dict[int, str] = {}
    for field, name in layout.take.items():
        column = layout.dataset.column(name)
        found = values.convert(cells.texts[field], column, day_format=layout.days, nulls=layout.nulls)
        arrays[name] = found.values
        if found.good is not None:
            good.append(found.good)
            for at in np.flatnonzero(~found.good.to_numpy(zero_copy_only=False))[:REASONS].tolist():
                reasons.setdefault(at, values.reason(field, cells.texts[field][at].as_py(), column, layout.days))
    arrays["member"] = pa.repeat(pa.scalar(member, pa.uint16()), len(cells.lines))
    arrays["line"] = pa.array(cells.lines)
    schema = columns.parsed(layout.dataset)
    batch = pa.record_batch([arrays[name] for name in schema.names], schema=schema)
    if good:
        batch = batch.filter(reduce(pc.and_, good))
    whole = block.text.split(b"\n") if reasons else []
    numbers = {at: int(cells.lines[at]) for at in sorted(reasons)}
    rejects = [reject(member, line, whole[line - block.first].decode(), reasons[at]) for at, line in numbers.items()]
    return Found(batch, rejects)


def reject(member: int, line: int, text: str, reason: str) -> Reject:
    return Reject(member, line, text[:TEXT_CHARACTERS], reason)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _without_blank(cells: Cells, block: Block) -> Cells:
    """Arrow reads an empty line as a row of empty texts; asking one column is cheaper than searching the block."""
    first = next(iter(cells.texts.values()))
    if pc.min(pc.binary_length(first)).as_py() != 0:
        return cells
    ends = np.flatnonzero(np.frombuffer(block.text, "u1") == ord("\n"))
    blank = np.flatnonzero(np.diff(ends, prepend=-1) == 1) + block.first
    full = ~np.isin(cells.lines, blank)
    mask = pa.array(full)
    return Cells({name: text.filter(mask) for name, text in cells.texts.items()}, cells.lines[full])
