"""Reads delimited text to rows: no quoting, columns found by name, every field taken or dropped by name.

Arrow reads blocks of about 60,000 lines at once. Python looks only at lines with another number of fields than the
header: trailers, blank lines, names with a separator inside, and damaged lines. A line that cannot be read becomes a
`Reject` with its true number and text; all other lines are read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Rows
from spotlightd.parse import cells, lines
from spotlightd.parse.layout import Layout, Trailer
from spotlightd.parse.readahead import prefetch

__all__ = ["Layout", "Trailer", "read"]

MOST_REJECTS = 10_000
MOST_REJECTED_CHARACTERS = 4_000_000
DIGITS = 30


@dataclass(slots=True)
class _Tally:
    """Counts of one text. `trailers`: the number in each trailer, and its line."""

    records: int = 0
    last_line: int = 0
    rejects: int = 0
    rejected_characters: int = 0
    first_reject: Reject | None = None
    totals: dict[str, int] = field(default_factory=dict)
    trailers: dict[str, tuple[int, int]] = field(default_factory=dict)


def read(
    pieces: Generator[bytes, None, None], layout: Layout, *, member: int = 0
) -> Generator[Rows | Reject, None, None]:
    """Rows and rejects of one text. FormatError for a wrong header or trailer, and for bytes that are no text.

    A thread reads `pieces` ahead, so nothing else may use them. Rows come in no particular order.
    """
    tally = _Tally()
    names: tuple[str, ...] = ()
    for block in prefetch(lines.read_blocks(pieces, layout.encoding, member=member)):
        body = block
        if not names:
            names, body = _read_header(block, layout, member)
        if body.text:
            yield from _read_rows(body, names, layout, tally, member)
    if not names:
        raise FormatError("the text is empty: there is not even a header", member=member)
    _check_trailers(tally, layout, member)


def _read_header(block: lines.Block, layout: Layout, member: int) -> tuple[tuple[str, ...], lines.Block]:
    """The names in the first line that is not blank, and the rest of the block. No names while all lines are blank."""
    before = len(block.text) - len(block.text.lstrip(b"\n"))
    if before == len(block.text):
        return (), lines.Block(block.first, 0, b"")
    line, _, rest = block.text[before:].partition(b"\n")
    number, text = block.first + before, line.decode()
    names = tuple(name.strip() for name in text.split(layout.separator))
    known = (*layout.take, *layout.drop)
    errors = [f"{name[:80]!r} is not known" for name in dict.fromkeys(names) if name not in known]
    errors += [f"{name!r} is missing" for name in known if name not in names]
    errors += [f"{name!r} appears twice" for name in known if names.count(name) > 1]
    if errors:
        raise FormatError(
            f"the header is not the expected one: {', '.join(errors[:8])}; line {number} reads {text[:200]!r}",
            member=member,
            line=number,
        )
    return names, lines.Block(number + 1, block.count - before - 1, rest)


def _read_rows(
    block: lines.Block, names: tuple[str, ...], layout: Layout, tally: _Tally, member: int
) -> Iterator[Rows | Reject]:
    regular, irregular = cells.split_fields(block, names, layout)
    rejoined: dict[int, list[str]] = {}
    for line in irregular:
        if not line.text.strip() or _note_trailer(line, layout, tally, member):
            continue
        fields = cells.rejoin_fields(line, names, layout)
        if fields is not None:
            rejoined[line.line] = fields
            continue
        count = line.text.count(layout.separator) + 1
        reason = f"{count} field{'s' * (count != 1)} where the header has {len(names)}"
        reject = cells.make_reject(member, line.line, line.text, reason)
        _count_records(tally, line.line, 1, [reject])
        yield reject
    for group in (regular, _make_cells(rejoined, names)):
        if len(group.lines):
            parsed = cells.convert_cells(group, layout, member, block)
            _count_records(tally, int(group.lines[-1]), len(group.lines), parsed.rejects)
            _add_totals(tally, layout, parsed.batch)
            yield from parsed.rejects
            if parsed.batch.num_rows:
                yield Rows(layout.dataset, parsed.batch, block.texts)


def _make_cells(lines_by_number: dict[int, list[str]], names: tuple[str, ...]) -> cells.Cells:
    fields = zip(*lines_by_number.values(), strict=True) if lines_by_number else [()] * len(names)
    texts = {name: pa.array(column, pa.string()) for name, column in zip(names, fields, strict=True)}
    return cells.Cells(texts, np.array(list(lines_by_number), "u4"))


def _note_trailer(line: cells.IrregularLine, layout: Layout, tally: _Tally, member: int) -> bool:
    """Whether the line is a trailer. Its number is kept for the check at the end."""
    for trailer in layout.trailers:
        number = line.text.removeprefix(trailer.begins).strip()
        if not line.text.startswith(trailer.begins) or not (number.isascii() and number.isdigit()):
            continue
        if trailer.begins in tally.trailers:
            raise FormatError(f"line {line.line} repeats the trailer {trailer.title!r}", member=member, line=line.line)
        tally.trailers[trailer.begins] = (int(number[:DIGITS]), line.line)
        return True
    return False


def _count_records(tally: _Tally, last_line: int, records: int, rejects: Sequence[Reject]) -> None:
    tally.records += records
    tally.last_line = max(tally.last_line, last_line)
    if not rejects:
        return
    first = tally.first_reject = tally.first_reject or rejects[0]
    tally.rejects += len(rejects)
    tally.rejected_characters += sum(len(reject.text) for reject in rejects)
    if tally.rejects > MOST_REJECTS or tally.rejected_characters > MOST_REJECTED_CHARACTERS:
        raise FormatError(
            f"too many lines cannot be read ({tally.rejects:,} so far); the first is line {first.line}: {first.reason}",
            member=first.member,
            line=first.line,
        )


def _add_totals(tally: _Tally, layout: Layout, batch: pa.RecordBatch) -> None:
    for name in {trailer.total for trailer in layout.trailers if trailer.total}:
        column = batch.column(name)
        most = pc.max(column).as_py() or 0
        added = pc.sum(column).as_py() if most * len(column) < 1 << 63 else sum(column.drop_null().to_pylist())
        tally.totals[name] = tally.totals.get(name, 0) + (added or 0)


def _check_trailers(tally: _Tally, layout: Layout, member: int) -> None:
    """Compare the publisher's own counts with what was read.

    Rejected lines count as records. What they would add to a sum is not known, so with rejects a sum may be below the
    publisher's, but never above it.
    """
    for trailer in layout.trailers:
        if trailer.begins not in tally.trailers:
            if layout.strict:
                raise FormatError(
                    f"the line {trailer.title!r} is missing after line {tally.last_line:,}: the text is cut off, or the "
                    "publisher no longer counts",
                    member=member,
                    line=tally.last_line,
                )
            continue
        published, line = tally.trailers[trailer.begins]
        if line < tally.last_line:
            raise FormatError(f"there are records after {trailer.title!r} in line {line:,}", member=member, line=line)
        counted = tally.totals.get(trailer.total, 0) if trailer.total else tally.records
        if counted != published and not (trailer.total and tally.rejects and counted < published):
            what = f"the sum of {trailer.total}" if trailer.total else "the number of records"
            raise FormatError(
                f"line {line:,} says {trailer.title!r} {published:,}, but {what} is {counted:,}",
                member=member,
                line=line,
            )
