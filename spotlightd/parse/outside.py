"""Applies a source's rule to rows whose day is outside the days of their document: refused, rejected, or left to its owner.

A publisher's file may hold a neighbouring day that the neighbour's file holds too: the SEC's files of fails for the first
and the second quarter of 2004 both have 2004-04-01. Loaded from both, every balance of that day would be there twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, OutsideRows, Period, Rows
from spotlightd.parse.cells import make_reject

MOST_OUTSIDE = 50_000
"""About nine days of fails in 2021. A document with more rows of other days is not the one that its name says."""


@dataclass(slots=True)
class _Tally:
    inside: int = 0
    outside: int = 0
    first: Reject | None = None


def apply_rule(items: Iterable[Rows | Reject], source: Batch, period: Period) -> Iterator[Rows | Reject]:
    """The same rows and rejects, without rows outside the period. FormatError when the rule refuses the document, when no
    row is inside, and when more than 50,000 are outside.
    """
    tally = _Tally()
    for item in items:
        if isinstance(item, Reject):
            yield item
        else:
            yield from _divide(item, source.outside, period, tally)
    if tally.first and not tally.inside:
        _refuse(tally.first, f"none of the {tally.outside:,} rows is of the days of this document; the first: ")


def _divide(rows: Rows, rule: OutsideRows, period: Period, tally: _Tally) -> Iterator[Rows | Reject]:
    days = pc.cast(rows.columns[rows.dataset.time], pa.date32(), safe=False)
    inside = pc.and_(pc.greater_equal(days, pa.scalar(period.first)), pc.less_equal(days, pa.scalar(period.last)))
    if pc.all(inside, min_count=0).as_py():  # also of no rows
        tally.inside += len(days)
        yield rows
        return
    kept = rows.columns.filter(inside)
    rejects = _make_rejects(rows, pc.invert(inside), days, rule, period)
    tally.inside += kept.num_rows
    tally.outside += len(rejects)
    tally.first = tally.first or rejects[0]
    if rule is OutsideRows.REFUSE:
        _refuse(rejects[0])
    if tally.outside > MOST_OUTSIDE:
        _refuse(tally.first, f"more than {MOST_OUTSIDE:,} rows are of other days; the first: ")
    yield from rejects
    if kept.num_rows:
        yield replace(rows, columns=kept)


def _make_rejects(
    rows: Rows, outside: pa.BooleanArray, days: pa.Array, rule: OutsideRows, period: Period
) -> list[Reject]:
    batch = rows.columns.filter(outside)
    numbers, of_other_slice = batch["line"].to_pylist(), rule is OutsideRows.OWNER_ONLY
    texts = rows.texts(numbers) if rows.texts else map(_describe_row, batch.to_pylist())
    places = zip(batch["member"].to_pylist(), numbers, texts, days.filter(outside).to_pylist(), strict=True)
    remedy = ": it is loaded only from the document that reports its day" if of_other_slice else ""
    return [
        replace(
            make_reject(member, line, text, f"{day} is outside {period}, the days of this document{remedy}"),
            of_other_slice=of_other_slice,
        )
        for member, line, text, day in places
    ]


def _describe_row(row: dict[str, Any]) -> str:
    """The values of a row in place of its text, for a source that does not give the text."""
    return ", ".join(f"{name}={value}" for name, value in row.items() if name not in {"member", "line"})


def _refuse(reject: Reject, what: str = "") -> NoReturn:
    raise FormatError(f"{what}{reject.reason}", member=reject.member, line=reject.line)
