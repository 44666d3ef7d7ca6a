"""Makes citations and checks them: the same rows, from the same documents, in the same order, hashed as they stream.

Documents are read a few at a time, in the order of their digests: memory stays flat however large the result, and no
statement carries a list that is longer than an address may be.

Rows of a stream go on coming into loads that are published already, so a time of publication does not hold them still.
A citation of them says so in its address: only rows that were decoded before a moment, by which all statements that
were at work are over. What stands where a document's digest stands is a digest of the words for the frames of a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from spotlightd.ports.warehouse import Limits
from spotlightd.query import citation, select
from spotlightd.query.citation import Citation, CitedDocument, Library, Result
from spotlightd.query.errors import bad_parameter, not_found
from spotlightd.query.filters import Condition, Question
from spotlightd.query.reader import snapshot_query
from spotlightd.query.values import rfc3339
from spotlightd.sql.visibility import Snapshot

AT_A_TIME = 24
TEXT_SETTINGS = "SETTINGS date_time_output_format = 'simple', output_format_decimal_trailing_zeros = 0"
DECODED = "ingested"
COMPLETE_BEFORE = (
    "SELECT toString(now64(6, 'UTC') - toIntervalMicrosecond(toUInt64(1000000 * (1 + ifNull(max(elapsed), 0))))) "
    "FROM system.processes WHERE query_kind = 'Insert'"
)
"""The moment before which no insert began that is still at work: all rows that were decoded before it are there."""
_LINE_FEED = b"\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """One document whose rows are not those that were cited."""

    document: CitedDocument
    rows_found: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A document that is not here, or was read by other versions of the parser (`parsers_here`)."""

    document: CitedDocument
    local_parsers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Literal["same", "missing documents", "differs"]
    rows_cited: int
    rows_found: int = 0
    missing: tuple[Missing, ...] = ()
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class _Load:
    load_id: int
    document: str
    parser: str
    source: str


@dataclass(slots=True)
class _Tally:
    """The running digests: of everything, and of each document's lines."""

    whole: Any = field(default_factory=hashlib.sha256)
    rows: int = 0
    parts: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def add(self, lines: list[bytes], at: int) -> None:
        """Whole lines; the document's digest stands `at` fields from the right."""
        for line in lines:
            document = line.rsplit(b"\t", at)[1].decode("ascii")
            digest, rows = self.parts.get(document) or (hashlib.sha256(), 0)
            digest.update(line + _LINE_FEED)
            self.parts[document] = (digest, rows + 1)
        self.whole.update(b"".join(line + _LINE_FEED for line in lines))
        self.rows += len(lines)


async def cite(library: Library, address: str, as_of: datetime | None = None) -> Citation:
    """A citation of what that address shows, at its own `as_of` or at the one beside it.

    HttpProblem: no such address, two different times, or nothing was published by then.
    """
    asked = await _without_growth(library, citation.parse_address(library.datasets, address))
    if as_of and asked.as_of and as_of != asked.as_of:
        said = f"the address says {rfc3339(asked.as_of)}, and beside it stands {rfc3339(as_of)}"
        raise bad_parameter("as_of", said, "Give the time once.")
    pin, at = await _take_snapshot(library, asked, as_of or asked.as_of)
    loads = await _loads(library, asked, pin, used=True) or await _loads(library, asked, pin, used=False)
    tally = await _tally_loads(library, asked, loads)
    urls = await _urls(library, asked, pin)
    result = Result(tally.whole.hexdigest(), tally.rows, tuple(column.name for column in asked.selected))
    documents = tuple(_cited(load, tally, urls.get(load.document, "")) for load in loads)
    return Citation(citation.canonical_address(asked), at, result, documents)


async def _without_growth(library: Library, asked: Question) -> Question:
    """The question without the rows that still come; as it is when it has an end already, or names one place."""
    dataset = asked.dataset
    if not dataset.is_growing:
        return asked
    placed = {one.column.name for one in asked.conditions if one.operator == "eq"}
    if placed.issuperset(column.name for column in dataset.pointer):
        return asked
    if DECODED not in (column.name for column in dataset.columns):
        raise bad_parameter(
            "address", f"{dataset.name} still grows and has no column {DECODED!r}", "Cite one row of it."
        )
    until = (await library.warehouse.rows(COMPLETE_BEFORE, limits=library.limits)).rows[0][0]
    ended = [one.values[0] for one in asked.conditions if one.column.name == DECODED and one.operator in ("lt", "lte")]
    if any(value < until for value in ended):
        return asked
    return replace(asked, conditions=(*asked.conditions, Condition(dataset.column(DECODED), "lt", (until,))))


async def verify(library: Library, cited: Citation) -> Verdict:
    """Whether the cited result can be made again here, from the same documents: every figure of it, not the whole
    digest alone, since a file may be forged in any of them. FormatError: it cannot be asked here.
    """
    asked = citation.question_of(cited, library.datasets)
    here = await _published(library, asked)
    found = {(one.sha256, one.parser): here.get((one.sha256, one.parser)) for one in cited.documents}
    absent = [one for one in cited.documents if found[one.sha256, one.parser] is None]
    if absent:
        known = sorted(here)
        lacking = [Missing(one, tuple(parser for digest, parser in known if digest == one.sha256)) for one in absent]
        return Verdict("missing documents", cited.result.rows, missing=tuple(lacking))
    tally = await _tally_loads(library, asked, [load for load in found.values() if load])
    differences = _differences(cited, tally)
    same = (tally.whole.hexdigest(), tally.rows) == (cited.result.sha256, cited.result.rows) and not differences
    return Verdict("same" if same else "differs", cited.result.rows, tally.rows, differences=differences)


def _differences(cited: Citation, tally: _Tally) -> tuple[Difference, ...]:
    found = {one.sha256: tally.parts.get(one.sha256) or (hashlib.sha256(), 0) for one in cited.documents}
    return tuple(
        Difference(one, found[one.sha256][1])
        for one in cited.documents
        if (found[one.sha256][0].hexdigest(), found[one.sha256][1]) != (one.lines_sha256, one.rows)
    )


async def _take_snapshot(library: Library, asked: Question, as_of: datetime | None) -> tuple[Snapshot, datetime]:
    query = snapshot_query(asked.dataset, as_of)
    answer = await library.warehouse.rows(query.sql, query.params, limits=library.limits)
    seq, at = answer.rows[0]
    if not seq:
        when = f" by {as_of:%Y-%m-%d %H:%M:%S} UTC" if as_of else ""
        raise not_found(
            f"Nothing of {asked.dataset.name} was published{when}.", "Leave as_of out, or name a later time."
        )
    return Snapshot(seq, at, as_of, library.archives.archived), at


async def _loads(library: Library, asked: Question, pin: Snapshot, *, used: bool) -> list[_Load]:
    """Visible loads by document digest: those with rows that were asked for, or all."""
    whole = asked if used else Question(asked.dataset, document=asked.document)
    query = select.select_loads_used(whole, pin)
    answer = await library.warehouse.rows(query.sql, query.params, limits=_unbounded(library.limits))
    wanted = {row[0] for row in answer.rows}
    return sorted(
        (load for load in await _all_loads(library, asked) if load.load_id in wanted), key=lambda load: load.document
    )


async def _all_loads(library: Library, asked: Question) -> list[_Load]:
    sql = "SELECT load_id, document, parser, source FROM loads WHERE dataset = {dataset:String} ORDER BY seq"
    answer = await library.warehouse.rows(sql, {"dataset": asked.dataset.name}, limits=library.limits)
    return [_Load(*row) for row in answer.rows]


async def _published(library: Library, asked: Question) -> dict[tuple[str, str], _Load]:
    """Every load that was ever published here, by what makes it the same elsewhere; the newest where there are two."""
    return {(load.document, load.parser): load for load in await _all_loads(library, asked)}


async def _urls(library: Library, asked: Question, pin: Snapshot) -> dict[str, str]:
    sql = (
        "SELECT digest, argMin(url, id) FROM documents WHERE digest IN (SELECT document FROM loads "
        "WHERE dataset = {dataset:String} AND seq <= {seq:UInt64}) GROUP BY digest"
    )
    params = {"dataset": asked.dataset.name, "seq": pin.seq}
    answer = await library.warehouse.rows(sql, params, limits=library.limits)
    return dict(answer.rows)


def _cited(load: _Load, tally: _Tally, url: str) -> CitedDocument:
    digest, rows = tally.parts.get(load.document) or (hashlib.sha256(), 0)
    return CitedDocument(load.document, load.parser, load.source, url, rows, digest.hexdigest())


async def _tally_loads(library: Library, asked: Question, loads: Sequence[_Load]) -> _Tally:
    """The digests of the rows asked for out of those loads."""
    tally = _Tally()
    place = [column.name for column in asked.dataset.pointer]
    head = "\t".join([*(column.name for column in asked.selected), "document", *place])
    tally.whole.update(head.encode() + _LINE_FEED)
    ordered = sorted(loads, key=lambda load: load.document)
    for start in range(0, len(ordered), AT_A_TIME):
        part = [(load.load_id, load.document) for load in ordered[start : start + AT_A_TIME]]
        query = select.select_rows_of_loads(
            asked, asked.selected, part, Snapshot(0, archived=library.archives.archived)
        )
        await _hash_rows(library, query, tally, at=len(place) + 1)
    return tally


async def _hash_rows(library: Library, query: select.Query, tally: _Tally, at: int) -> None:
    rest = b""
    sql = f"{query.sql} {TEXT_SETTINGS}"
    async with library.warehouse.stream(sql, "TabSeparated", query.params, limits=library.limits) as chunks:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(_LINE_FEED)
            tally.add(lines, at)
    if rest:
        raise AssertionError("the last line has no end")


def _unbounded(limits: Limits) -> Limits:
    return replace(limits, result_rows=0)
