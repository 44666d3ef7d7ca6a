"""Delimited text to rows: no quoting, columns found by name, every field taken or dropped by name.

Blocks of some 60,000 lines are read by Arrow at once; Python looks only at lines with another number of fields than
the header: trailers, blank lines, names with a separator inside, and rubbish. A line that cannot be understood
becomes a `Reject` with its true number and text, and all others go on.
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
from spotlightd.parse.readahead import ahead

__all__ = ["Layout", "Trailer", "read"]

MOST_REJECTS = 10_000
MOST_REJECTED_CHARACTERS = 4_000_000
DIGITS = 30


@dataclass(slots=True)
class _Tally:
    """What has been seen of one text. `trailers`: what each says, and on which line."""

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
    """Rows and rejects of one text, as they come. FormatError for a wrong header or trailer, and for what is no text.

    `pieces` are run ahead in a thread, so nobody else may use them. Rows stand in no particular order.
    """
    tally = _Tally()
    names: tuple[str, ...] = ()
    for block in ahead(lines.blocks(pieces, layout.encoding, member=member)):
        body = block
        if not names:
            names, body = _header(block, layout, member)
        if body.text:
            yield from _rows(body, names, layout, tally, member)
    if not names:
        raise FormatError("the text is empty: there is not even a header", member=member)
    _check(tally, layout, member)


def _header(block: lines.Block, layout: Layout, member: int) -> tuple[tuple[str, ...], lines.Block]:
    """The names in the first line that is not blank, and what follows it. No names while all lines are blank."""
    before = len(block.text) - len(block.text.lstrip(b"\n"))
    if before == len(block.text):
        return (), lines.Block(block.first, 0, b"")
    line, _, rest = block.text[before:].partition(b"\n")
    number, shown = block.first + before, line.decode()
    found = tuple(name.strip() for name in shown.split(layout.separator))
    known = (*layout.take, *layout.drop)
    wrong = [f"{name[:80]!r} is not known" for name in dict.fromkeys(found) if name not in known]
    wrong += [f"{name!r} is missing" for name in known if name not in found]
    wrong += [f"{name!r} stands there twice" for name in known if found.count(name) > 1]
    if wrong:
        raise FormatError(
            f"the header is not the one expected: {', '.join(wrong[:8])}; line {number} reads {shown[:200]!r}",
            member=member,
            line=number,
        )
    return found, lines.Block(number + 1, block.count - before - 1, rest)


def _rows(
    block: lines.Block, names: tuple[str, ...], layout: Layout, tally: _Tally, member: int
) -> Iterator[Rows | Reject]:
    plain, odd = cells.split(block, names, layout)
    mended: dict[int, list[str]] = {}
    for one in odd:
        if not one.text.strip() or _trailer(one, layout, tally, member):
            continue
        fields = cells.mend(one, names, layout)
        if fields is not None:
            mended[one.line] = fields
            continue
        count = one.text.count(layout.separator) + 1
        reason = f"{count} field{'s' * (count != 1)} where the header has {len(names)}"
        _count(tally, one.line, 1, [cells.reject(member, one.line, one.text, reason)])
        yield cells.reject(member, one.line, one.text, reason)
    for some in (plain, _turned(mended, names)):
        if len(some.lines):
            found = cells.typed(some, layout, member, block)
            _count(tally, int(some.lines[-1]), len(some.lines), found.rejects)
            _add(tally, layout, found.batch)
            yield from found.rejects
            if found.batch.num_rows:
                yield Rows(layout.dataset, found.batch)


def _turned(mended: dict[int, list[str]], names: tuple[str, ...]) -> cells.Cells:
    texts = {name: pa.array([fields[at] for fields in mended.values()], pa.string()) for at, name in enumerate(names)}
    return cells.Cells(texts, np.array(list(mended), "u4"))


def _trailer(odd: cells.Odd, layout: Layout, tally: _Tally, member: int) -> bool:
    """Whether the line is a trailer; then what it says is kept for the end."""
    for trailer in layout.trailers:
        number = odd.text.removeprefix(trailer.begins).strip()
        if not odd.text.startswith(trailer.begins) or not (number.isascii() and number.isdigit()):
            continue
        if trailer.begins in tally.trailers:
            raise FormatError(f"line {odd.line} says {trailer.begins!r} a second time", member=member, line=odd.line)
        tally.trailers[trailer.begins] = (int(number[:DIGITS]), odd.line)
        return True
    return False


def _count(tally: _Tally, last_line: int, records: int, rejects: Sequence[Reject]) -> None:
    tally.records += records
    tally.last_line = max(tally.last_line, last_line)
    if not rejects:
        return
    first = tally.first_reject = tally.first_reject or rejects[0]
    tally.rejects += len(rejects)
    tally.rejected_characters += sum(len(reject.text) for reject in rejects)
    if tally.rejects > MOST_REJECTS or tally.rejected_characters > MOST_REJECTED_CHARACTERS:
        raise FormatError(
            f"too many lines cannot be understood ({tally.rejects:,} so far); the first is line {first.line}: "
            f"{first.reason}",
            member=first.member,
            line=first.line,
        )


def _add(tally: _Tally, layout: Layout, batch: pa.RecordBatch) -> None:
    for name in {trailer.total for trailer in layout.trailers if trailer.total}:
        column = batch.column(name)
        most = pc.max(column).as_py() or 0
        added = pc.sum(column).as_py() if most * len(column) < 1 << 63 else sum(column.drop_null().to_pylist())
        tally.totals[name] = tally.totals.get(name, 0) + (added or 0)


def _check(tally: _Tally, layout: Layout, member: int) -> None:
    """The publisher's own counts against what was read.

    Lines that could not be understood count as records. What they would add to a sum is not known, so with rejects a
    sum may stay below the publisher's, but never exceed it.
    """
    for trailer in layout.trailers:
        if trailer.begins not in tally.trailers:
            if layout.strict:
                raise FormatError(
                    f"the line {trailer.begins!r} is missing after line {tally.last_line:,}: the text is cut off, or the "
                    "publisher no longer counts",
                    member=member,
                    line=tally.last_line,
                )
            continue
        says, line = tally.trailers[trailer.begins]
        if line < tally.last_line:
            raise FormatError(f"records go on after {trailer.begins!r} in line {line:,}", member=member, line=line)
        found = tally.totals.get(trailer.total, 0) if trailer.total else tally.records
        if found != says and not (trailer.total and tally.rejects and found < says):
            what = f"the sum of {trailer.total}" if trailer.total else "the number of records"
            raise FormatError(
                f"line {line:,} says {trailer.begins!r} {says:,}, but {what} is {found:,}", member=member, line=line
            )
