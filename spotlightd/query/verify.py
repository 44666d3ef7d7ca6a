"""Creates and verifies citations: the same rows, of the same documents, in the same order, hashed as they stream.

Documents are read a few at a time, in the order of their digests. Memory use does not grow with the result, and no
statement has a list that is longer than an address may be.

Rows of a stream keep coming into loads that are published already, so a time of publication does not fix them. The
address of their citation therefore selects only rows that were decoded before a moment at which all earlier inserts had
ended. In place of a document's digest there is a digest of the text that names the frames of a day.
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
from spotlightd.query.question import Condition, Question
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
"""Select the start of the oldest running insert: all rows that were decoded before it are in the table."""
_LINE_FEED = b"\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """A document whose rows differ from the cited ones."""

    document: CitedDocument
    rows_found: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A document that this instance does not have, or only as read by other parser versions (`local_parsers`)."""

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
    """The running digests: of all lines, and of each document's lines."""

    whole: Any = field(default_factory=hashlib.sha256)
    rows: int = 0
    parts: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def add(self, lines: list[bytes], trailing: int) -> None:
        """Add whole lines. The document's digest is the field before the last `trailing - 1` fields."""
        for line in lines:
            document = line.rsplit(b"\t", trailing)[1].decode("ascii")
            digest, rows = self.parts.get(document) or (hashlib.sha256(), 0)
            digest.update(line + _LINE_FEED)
            self.parts[document] = (digest, rows + 1)
        self.whole.update(b"".join(line + _LINE_FEED for line in lines))
        self.rows += len(lines)


async def cite(library: Library, address: str, as_of: datetime | None = None) -> Citation:
    """A citation of the rows of that address, as of the time in the address or the separate `as_of`.

    HttpProblem: no such address, two different times, or nothing was published by then.
    """
    question = await _without_growth(library, citation.parse_address(library.datasets, address))
    if as_of and question.as_of and as_of != question.as_of:
        detail = f"the address has {rfc3339(question.as_of)}, the separate parameter {rfc3339(as_of)}"
        raise bad_parameter("as_of", detail, "Give the time once.")
    snapshot, at = await _take_snapshot(library, question, as_of or question.as_of)
    loads = await _loads(library, question, snapshot, used=True) or await _loads(
        library, question, snapshot, used=False
    )
    tally = await _tally_loads(library, question, loads)
    urls = await _urls(library, question, snapshot)
    result = Result(tally.whole.hexdigest(), tally.rows, tuple(column.name for column in question.selected))
    documents = tuple(_cited(load, tally, urls.get(load.document, "")) for load in loads)
    return Citation(citation.canonical_address(question), at, result, documents)


async def _without_growth(library: Library, question: Question) -> Question:
    """The question without rows that are still to come. It is unchanged when it has an end already, or names one row."""
    dataset = question.dataset
    if not dataset.is_growing:
        return question
    equal = {condition.column.name for condition in question.conditions if condition.operator == "eq"}
    if equal.issuperset(column.name for column in dataset.pointer):
        return question
    if DECODED not in (column.name for column in dataset.columns):
        raise bad_parameter(
            "address", f"{dataset.name} still grows and has no column {DECODED!r}", "Cite one row of it."
        )
    until = (await library.warehouse.rows(COMPLETE_BEFORE, limits=library.limits)).rows[0][0]
    ends = [
        condition.values[0]
        for condition in question.conditions
        if condition.column.name == DECODED and condition.operator in ("lt", "lte")
    ]
    if any(value < until for value in ends):
        return question
    return replace(question, conditions=(*question.conditions, Condition(dataset.column(DECODED), "lt", (until,))))


async def verify(library: Library, cited: Citation) -> Verdict:
    """Whether this instance gets the cited result from the same documents. Every figure is compared and not only the
    digest of the whole result, because any figure in the file may be forged. FormatError: the address cannot be answered.
    """
    question = citation.question_of(cited, library.datasets)
    published = await _published(library, question)
    missing = tuple(
        Missing(document, tuple(sorted(parser for digest, parser in published if digest == document.sha256)))
        for document in cited.documents
        if (document.sha256, document.parser) not in published
    )
    if missing:
        return Verdict("missing documents", cited.result.rows, missing=missing)
    loads = {
        (document.sha256, document.parser): published[document.sha256, document.parser] for document in cited.documents
    }
    tally = await _tally_loads(library, question, list(loads.values()))
    differences = _differences(cited, tally)
    same = (tally.whole.hexdigest(), tally.rows) == (cited.result.sha256, cited.result.rows) and not differences
    return Verdict("same" if same else "differs", cited.result.rows, tally.rows, differences=differences)


def _differences(cited: Citation, tally: _Tally) -> tuple[Difference, ...]:
    differences = []
    for document in cited.documents:
        digest, rows = tally.parts.get(document.sha256) or (hashlib.sha256(), 0)
        if (digest.hexdigest(), rows) != (document.lines_sha256, document.rows):
            differences.append(Difference(document, rows))
    return tuple(differences)


async def _take_snapshot(library: Library, question: Question, as_of: datetime | None) -> tuple[Snapshot, datetime]:
    query = snapshot_query(question.dataset, as_of)
    answer = await library.warehouse.rows(query.sql, query.params, limits=library.limits)
    seq, at, _ = answer.rows[0]
    if not seq:
        when = f" by {as_of:%Y-%m-%d %H:%M:%S} UTC" if as_of else ""
        raise not_found(
            f"Nothing of {question.dataset.name} was published{when}.", "Leave as_of out, or name a later time."
        )
    return Snapshot(seq, at, as_of, library.archives.archived), at


async def _loads(library: Library, question: Question, snapshot: Snapshot, *, used: bool) -> list[_Load]:
    """Visible loads, ordered by document digest: those with requested rows (`used`), or all."""
    whole = question if used else Question(question.dataset, document=question.document)
    query = select.select_loads_used(whole, snapshot)
    answer = await library.warehouse.rows(query.sql, query.params, limits=_unbounded(library.limits))
    load_ids = {row[0] for row in answer.rows}
    loads = [load for load in await _all_loads(library, question) if load.load_id in load_ids]
    return sorted(loads, key=lambda load: load.document)


async def _all_loads(library: Library, question: Question) -> list[_Load]:
    sql = "SELECT load_id, document, parser, source FROM loads WHERE dataset = {dataset:String} ORDER BY seq"
    answer = await library.warehouse.rows(sql, {"dataset": question.dataset.name}, limits=library.limits)
    return [_Load(*row) for row in answer.rows]


async def _published(library: Library, question: Question) -> dict[tuple[str, str], _Load]:
    """All loads that were ever published, by document and parser version; the newest where there are several."""
    return {(load.document, load.parser): load for load in await _all_loads(library, question)}


async def _urls(library: Library, question: Question, snapshot: Snapshot) -> dict[str, str]:
    sql = (
        "SELECT digest, argMin(url, id) FROM documents WHERE digest IN (SELECT document FROM loads "
        "WHERE dataset = {dataset:String} AND seq <= {seq:UInt64}) GROUP BY digest"
    )
    params = {"dataset": question.dataset.name, "seq": snapshot.seq}
    answer = await library.warehouse.rows(sql, params, limits=library.limits)
    return dict(answer.rows)


def _cited(load: _Load, tally: _Tally, url: str) -> CitedDocument:
    digest, rows = tally.parts.get(load.document) or (hashlib.sha256(), 0)
    return CitedDocument(load.document, load.parser, load.source, url, rows, digest.hexdigest())


async def _tally_loads(library: Library, question: Question, loads: Sequence[_Load]) -> _Tally:
    """The digests of the requested rows of these loads."""
    tally = _Tally()
    place = [column.name for column in question.dataset.pointer]
    head = "\t".join([*(column.name for column in question.selected), "document", *place])
    tally.whole.update(head.encode() + _LINE_FEED)
    ordered = sorted(loads, key=lambda load: load.document)
    for start in range(0, len(ordered), AT_A_TIME):
        part = [(load.load_id, load.document) for load in ordered[start : start + AT_A_TIME]]
        query = select.select_rows_of_loads(
            question, question.selected, part, Snapshot(0, archived=library.archives.archived)
        )
        await _hash_rows(library, query, tally, trailing=len(place) + 1)
    return tally


async def _hash_rows(library: Library, query: select.Query, tally: _Tally, trailing: int) -> None:
    rest = b""
    sql = f"{query.sql} {TEXT_SETTINGS}"
    async with library.warehouse.stream(sql, "TabSeparated", query.params, limits=library.limits) as chunks:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(_LINE_FEED)
            tally.add(lines, trailing)
    if rest:
        raise AssertionError("the last line has no line feed")


def _unbounded(limits: Limits) -> Limits:
    return replace(limits, result_rows=0)
