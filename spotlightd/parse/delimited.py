"""Delimited text to columns: no quoting, columns found by name, every field taken or dropped by name.

Blocks of some 60,000 lines are read by Arrow at once; Python looks only at lines with another number of fields than
the header: trailers, blank lines, names with a separator inside, and rubbish. A line that cannot be understood
becomes a `Reject` with its true number and text, and all others go on.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from spotlightd.model.dataset import LINES, Dataset
from spotlightd.model.errors import FormatError, SettingsError
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Rows
from spotlightd.parse import columns, lines, values
from spotlightd.parse.ahead import ahead

MOST_REJECTS = 10_000
TEXT_CHARACTERS = 2_000
DIGITS = 30


@dataclass(frozen=True, slots=True)
class Trailer:
    """A line in which the publisher counts: `begins`, then a number.

    `total` names the column whose sum it is; without it, it is the number of records.
    """

    begins: str
    total: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a delimited document looks like.

    take     field of the header → column of the dataset
    drop     fields that are known and not kept
    days     how a Date is written, as strptime has it
    nulls    texts that mean "no value" in nullable columns
    loose    the one field that may hold the separator itself: the fields before it are counted from the left, those
             after it from the right
    trailers lines that are checked and never loaded; `strict`: a document without them is refused
    """

    dataset: Dataset
    separator: str
    take: Mapping[str, str]
    drop: tuple[str, ...] = ()
    encoding: lines.Encoding = "utf-8"
    days: str = "%Y-%m-%d"
    nulls: tuple[str, ...] = ("",)
    loose: str = ""
    trailers: tuple[Trailer, ...] = ()
    strict: bool = True

    def __post_init__(self) -> None:
        name = self.dataset.name
        if sorted(self.take.values()) != sorted(column.name for column in self.dataset.columns):
            raise SettingsError(f"layout of {name}: `take` must name every column of the dataset once")
        if self.dataset.pointer != LINES:
            raise SettingsError(f"layout of {name}: delimited text points with member and line")
        for column in self.dataset.columns:
            values.convert(pa.array([], pa.string()), column, day_format=self.days, nulls=self.nulls)


@dataclass(slots=True)
class _Tally:
    """What has been seen of one member."""

    records: int = 0
    last_line: int = 0
    rejects: int = 0
    first_reject: Reject | None = None
    totals: dict[str, int] = field(default_factory=dict)
    trailers: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Odd:
    """A line with another number of fields than the header."""

    line: int
    text: str


def read(pieces: Iterator[bytes], layout: Layout, *, member: int = 0) -> Generator[Rows | Reject, None, None]:
    """Rows and rejects of one text, as they come. FormatError for a wrong header or trailer, and for text that is none.

    Inflating runs ahead in a thread of its own, so `pieces` must be an iterator that nobody else uses.
    """
    tally = _Tally()
    names: tuple[str, ...] = ()
    for block in ahead(lines.blocks(pieces, layout.encoding, member=member)):
        body = block
        if not names:
            names, body = _header(block, layout, member)
        if not body.text:
            continue
        for found in _block(body, names, layout, tally, member):
            if isinstance(found, Reject):
                _count_reject(tally, found)
            yield found
    if not names:
        raise FormatError("the text is empty: not even a header", member=member)
    _check(tally, layout, member)


def _header(block: lines.Block, layout: Layout, member: int) -> tuple[tuple[str, ...], lines.Block]:
    """The names in the first line that is not blank, and what follows it. Empty names while all lines are blank."""
    start = len(block.text) - len(block.text.lstrip(b"\n"))
    if start == len(block.text):
        return (), lines.Block(block.first, 0, b"")
    line, _, rest = block.text[start:].partition(b"\n")
    number = block.first + start
    shown = line[:TEXT_CHARACTERS].decode(errors="replace")
    found = tuple(name.strip() for name in line.decode(errors="replace").split(layout.separator))
    known = {*layout.take, *layout.drop}
    wrong = [f"{name[:80]!r} is not known" for name in dict.fromkeys(found) if name not in known]
    wrong += [f"{name!r} is missing" for name in (*layout.take, *layout.drop) if name not in found]
    wrong += [f"{name!r} stands there twice" for name in known if found.count(name) > 1]
    if wrong:
        raise FormatError(
            f"the header is not the one expected: {', '.join(wrong[:6])}; line {number} reads {shown[:200]!r}",
            member=member,
            line=number,
        )
    return found, lines.Block(number + 1, block.count - start - 1, rest)


def _block(
    block: lines.Block, names: tuple[str, ...], layout: Layout, tally: _Tally, member: int
) -> Iterator[Rows | Reject]:
    texts, numbers, odd = _split(block, names, layout)
    if len(numbers):
        yield from _rows(texts, numbers, block, layout, tally, member)
    mended: list[tuple[int, list[str]]] = []
    for one in odd:
        if not one.text.strip() or _trailer(one, layout, tally, member):
            continue
        fields = _mend(one.text.split(layout.separator), names, layout)
        if fields is None:
            tally.records += 1
            tally.last_line = max(tally.last_line, one.line)
            count = one.text.count(layout.separator) + 1
            yield reject(member, one.line, one.text, f"{count} fields where the header has {len(names)}")
        else:
            mended.append((one.line, fields))
    if mended:
        turned = {name: pa.array([f[i] for _, f in mended], pa.string()) for i, name in enumerate(names)}
        yield from _rows(turned, np.array([line for line, _ in mended], "u4"), block, layout, tally, member)


def _split(
    block: lines.Block, names: tuple[str, ...], layout: Layout
) -> tuple[Mapping[str, pa.Array], npt.NDArray[np.uint32], Sequence[_Odd]]:
    """Texts by field, the lines they stand on, and the lines that have another number of fields."""
    odd: list[_Odd] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        odd.append(_Odd(block.first + row.number - 1, row.text))
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.BufferReader(block.text),
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
    blank = _blank(block)
    if len(blank):
        full = ~np.isin(numbers, blank)
        numbers, table = numbers[full], table.filter(pa.array(full))
    return {name: _one(table[name]) for name in layout.take}, numbers, odd


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _blank(block: lines.Block) -> npt.NDArray[np.uint32]:
    """Numbers of the empty lines, which Arrow reads as rows of empty texts."""
    if b"\n\n" not in block.text and not block.text.startswith(b"\n"):
        return np.array([], "u4")
    ends = np.flatnonzero(np.frombuffer(block.text, "u1") == ord("\n"))
    return np.flatnonzero(np.diff(ends, prepend=-1) == 1).astype("u4") + np.uint32(block.first)


def _rows(
    texts: Mapping[str, pa.Array],
    numbers: npt.NDArray[np.uint32],
    block: lines.Block,
    layout: Layout,
    tally: _Tally,
    member: int,
) -> Iterator[Rows | Reject]:
    arrays: dict[str, pa.Array] = {}
    good: pa.BooleanArray | None = None
    reasons: dict[int, str] = {}
    for name, column_name in layout.take.items():
        column = layout.dataset.column(column_name)
        found = values.convert(texts[name], column, day_format=layout.days, nulls=layout.nulls)
        arrays[column_name] = found.values
        if found.good is not None:
            good = found.good if good is None else pc.and_(good, found.good)
            for at in np.flatnonzero(~found.good.to_numpy(zero_copy_only=False))[: MOST_REJECTS + 1]:
                reasons.setdefault(int(at), values.reason(name, texts[name][int(at)].as_py(), column, layout.days))
    tally.records += len(numbers)
    tally.last_line = max(tally.last_line, int(numbers[-1]))
    arrays["member"] = pa.repeat(pa.scalar(member, pa.uint16()), len(numbers))
    arrays["line"] = pa.array(numbers)
    schema = columns.parsed(layout.dataset)
    batch = pa.record_batch([arrays[name] for name in schema.names], schema=schema)
    if good is not None:
        split = block.text.split(b"\n")
        for at in sorted(reasons):
            number = int(numbers[at])
            yield reject(member, number, split[number - block.first].decode(), reasons[at])
        batch = batch.filter(good)
    for trailer in layout.trailers:
        if trailer.total:
            added = pc.sum(batch[trailer.total]).as_py() or 0
            tally.totals[trailer.total] = tally.totals.get(trailer.total, 0) + added
    if batch.num_rows:
        yield Rows(layout.dataset, batch)


def _mend(fields: list[str], names: tuple[str, ...], layout: Layout) -> list[str] | None:
    """The fields with the loose one put together again; None where that is not what is wrong with the line."""
    extra = len(fields) - len(names)
    if not layout.loose or extra <= 0:
        return None
    at = names.index(layout.loose)
    return [*fields[:at], layout.separator.join(fields[at : at + extra + 1]), *fields[at + extra + 1 :]]


def _trailer(one: _Odd, layout: Layout, tally: _Tally, member: int) -> bool:
    for trailer in layout.trailers:
        number = one.text.removeprefix(trailer.begins).strip()
        if one.text.startswith(trailer.begins) and number.isascii() and number.isdigit() and len(number) <= DIGITS:
            if trailer.begins in tally.trailers:
                raise FormatError(
                    f"line {one.line} says {trailer.begins!r} a second time", member=member, line=one.line
                )
            tally.trailers[trailer.begins] = (int(number), one.line)
            return True
    return False


def reject(member: int, line: int, text: str, reason: str) -> Reject:
    return Reject(member, line, text[:TEXT_CHARACTERS], reason)


def _count_reject(tally: _Tally, found: Reject) -> None:
    tally.rejects += 1
    tally.first_reject = tally.first_reject or found
    if tally.rejects > MOST_REJECTS:
        first = tally.first_reject
        raise FormatError(
            f"more than {MOST_REJECTS:,} lines cannot be understood, the first is line {first.line}: {first.reason}",
            member=first.member,
            line=first.line,
        )


def _check(tally: _Tally, layout: Layout, member: int) -> None:
    """The publisher's own counts against what was read.

    Records that could not be understood count as records. Their shares are not known, so with rejects the sum may
    stay below the publisher's, but never exceed it.
    """
    for trailer in layout.trailers:
        if trailer.begins not in tally.trailers:
            if layout.strict:
                raise FormatError(
                    f"the line {trailer.begins!r} is missing after line {tally.last_line}: the text is cut off, or the "
                    "publisher no longer counts",
                    member=member,
                    line=tally.last_line,
                )
            continue
        says, line = tally.trailers[trailer.begins]
        if line < tally.last_line:
            raise FormatError(f"records go on after the trailer in line {line}", member=member, line=line)
        found = tally.totals.get(trailer.total, 0) if trailer.total else tally.records
        if found != says and not (trailer.total and tally.rejects and found < says):
            what = f"the sum of {trailer.total}" if trailer.total else "the number of records"
            raise FormatError(
                f"line {line} says {trailer.begins!r} {says:,}, but {what} is {found:,}", member=member, line=line
            )
