r"""Citations: a small file that names a result, by what it says and by the documents it rests on.

**The digest.** A result's rows are written as lines and hashed with SHA-256:
- the first line holds the names of the columns, then `document`, then the names of the place in it (`member`, `line`);
- each row is one line: values in that order, with a tab between and a line feed at the end, UTF-8;
- whole numbers without leading zeros, decimals without trailing zeros, days `2021-01-27`, times (UTC)
  `2021-01-27 14:30:00.123456`, `true` and `false`, empty as `\N`; in text the characters backslash, tab, line feed,
  carriage return, backspace, form feed, NUL and ' are written `\\ \t \n \r \b \f \0 \'`;
- rows stand in the order of document digest, place in the document, then every column: total, and the same everywhere.

Nothing in it is local to an instance: no load id, no sequence number, no host. Each document has a digest of its own
lines too (without the first), so that a difference can be told by document.

**What a result rests on** are the documents that its rows come from. A result without rows rests on all documents that
were visible, since it says of each of them that it has none.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from spotlightd.errors import FormatError
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Limits, Warehouse
from spotlightd.query import filters, key
from spotlightd.query.errors import HttpProblem, bad_parameter, not_found
from spotlightd.query.filters import Condition, Question
from spotlightd.query.measures import daily_datasets
from spotlightd.query.values import parse_moment, rfc3339
from spotlightd.sql.tiers import Archives, NoArchives

VERSION = 1
MOST_DOCUMENTS = 20_000
_MEANINGFUL = ("_document", "as_of")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class CitedDocument:
    """A document, the parser version that read it, and what it gave: rows, and the digest of their lines."""

    sha256: str
    parser: str
    source: str
    url: str
    rows: int
    lines_sha256: str


@dataclass(frozen=True, slots=True)
class Result:
    sha256: str
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Citation:
    """`address` is relative, its parameters sorted; `as_of` the publication that was seen."""

    address: str
    as_of: datetime
    result: Result
    documents: tuple[CitedDocument, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """What citing and verifying need: the tables, their declarations, and bounds for each reading."""

    warehouse: Warehouse
    datasets: tuple[Dataset, ...]
    limits: Limits
    archives: Archives = NoArchives()


def to_json(citation: Citation) -> dict[str, Any]:
    """The file's content; `from_json` reads it back."""
    return {
        "spotlightd": VERSION,
        "address": citation.address,
        "as_of": rfc3339(citation.as_of),
        "result": asdict(citation.result),
        "documents": [asdict(one) for one in citation.documents],
    }


def from_json(text: str | bytes) -> Citation:
    """A citation from a file that anybody may have written. FormatError names the field that is not as it should be."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise FormatError("the citation is not JSON: is it the file that /cite or `spotlightd cite` wrote?") from None
    if not isinstance(raw, dict) or raw.get("spotlightd") != VERSION:
        raise FormatError(f"this is no citation that this version can read: field `spotlightd` must be {VERSION}")
    try:
        documents = tuple(CitedDocument(**one) for one in raw["documents"])
        result = Result(**{**raw["result"], "columns": tuple(raw["result"]["columns"])})
        found = Citation(raw["address"], parse_moment(raw["as_of"]), result, documents)
    except KeyError as problem:
        raise FormatError(f"the citation has no field {problem}") from None
    except (TypeError, AttributeError, ValueError) as problem:
        says = escape_text(str(problem))
        raise FormatError(f"the citation has a field that is not as it should be: {says}") from None
    _check(found)
    return found


def _check(citation: Citation) -> None:
    texts = (citation.address, *citation.result.columns)
    texts += tuple(text for one in citation.documents for text in (one.sha256, one.parser, one.source, one.url))
    if not all(isinstance(text, str) for text in texts):
        raise FormatError("the citation has a number where a text should be")
    if not all(text.isprintable() for text in texts):
        raise FormatError("the citation has control characters in a text")
    if not all(one.url.startswith(("http://", "https://")) for one in citation.documents if one.url):
        raise FormatError("the citation has a document whose `url` is no address of the web")
    if not citation.result.columns:
        raise FormatError("the citation names no columns")
    digests = [citation.result.sha256]
    digests += [digest for one in citation.documents for digest in (one.sha256, one.lines_sha256)]
    if not all(isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in digests):
        raise FormatError("the citation has a digest that is not 64 hexadecimal digits")
    counts = (citation.result.rows, *(one.rows for one in citation.documents))
    if not all(type(count) is int and count >= 0 for count in counts):
        raise FormatError("the citation has `rows` that is no count: write a whole number, 0 or more")
    if len(citation.documents) > MOST_DOCUMENTS:
        raise FormatError(f"the citation rests on more than {MOST_DOCUMENTS:,} documents")


def escape_text(text: str) -> str:
    """Anybody's text for a terminal: what could steer one is written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def parse_address(datasets: tuple[Dataset, ...], address: str) -> Question:
    """The question behind an address of ours: a table, a row or a symbol, with its `as_of` if it has one.

    How it is sorted and cut does not matter. HttpProblem when the address is none, or names what cannot be cited.
    """
    segments, pairs = _split_address(address)
    kept = [
        (name, text)
        for name, text in pairs
        if name in _MEANINGFUL or not (name in filters.RESERVED_PARAMETERS or name == "_filter")
    ]
    when = [(name, text) for name, text in kept if name == "as_of"]
    if len(segments) == 2 and segments[0] == "s":  # noqa: PLR2004
        return _symbol_question(datasets, segments[1], when)
    if len(segments) not in (2, 3) or segments[0] != "data":
        raise _no_address(address)
    dataset = _find_citable(datasets, segments[1].partition(".")[0])
    if len(segments) == 2:  # noqa: PLR2004
        return filters.parse_question(dataset, kept)
    values = key.split_key(dataset, segments[2])
    conditions = [
        Condition(dataset.column(name), "eq", (value,)) for name, value in zip(dataset.key, values, strict=True)
    ]
    return replace(filters.parse_question(dataset, when), conditions=tuple(conditions))


def _split_address(address: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The segments of its path and its parameters. HttpProblem when it cannot be taken apart, or is no Unicode."""
    try:
        address.encode()
        parts = urlsplit(address)
    except ValueError:
        raise _no_address(address) from None
    segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
    return segments, parse_qsl(parts.query, keep_blank_values=True)


def _no_address(address: str) -> HttpProblem:
    return not_found(f"{address!r} is no address of data.", "Cite /data/DATASET?…, /data/DATASET/ROW or /s/SYMBOL.")


def _symbol_question(datasets: tuple[Dataset, ...], symbol: str, when: filters.Pairs) -> Question:
    able = daily_datasets(datasets)
    if len(able) != 1:
        names = ", ".join(f"/data/{one.name}?{one.symbol}={symbol}" for one in able)
        raise bad_parameter("address", "this page shows several datasets", f"Cite one of them: {names}.")
    return filters.parse_question(able[0], [(able[0].symbol, symbol), *when])


def _find_citable(datasets: tuple[Dataset, ...], name: str) -> Dataset:
    for one in datasets:
        if one.name == name and one.has_receipts:
            return one
        if one.name == name and one.computed_from:
            raise bad_parameter(
                "address", f"{name} is computed from {one.computed_from}", f"Cite the rows of {one.computed_from}."
            )
        if one.name == name:
            raise bad_parameter(
                "address", f"{name} is a record of this instance and cannot be cited", "Cite published data."
            )
    raise not_found(f"There is no dataset {name!r}.", "The first page lists those that exist.")


def canonical_address(asked: Question) -> str:
    """The address of the question alone, without its time, its parameters sorted: the same for every way to put it."""
    pairs = [(_parameter(one), ",".join(_value(one, value) for value in one.values)) for one in asked.conditions]
    if asked.document:
        pairs.append(("_document", asked.document))
    query = urlencode(sorted(pairs), safe=",:")
    return f"/data/{asked.dataset.name}" + (f"?{query}" if query else "")


def _parameter(one: Condition) -> str:
    return one.column.name if one.operator == "eq" else f"{one.column.name}__{one.operator}"


def _value(one: Condition, value: str) -> str:
    """The text that an address has for a bound value: times are written with their zone."""
    return value.replace(" ", "T") + "Z" if one.column.kind == "time" and one.operator != "isnull" else value


def question_of(citation: Citation, datasets: tuple[Dataset, ...]) -> Question:
    """The question of a citation with its columns. FormatError when this instance cannot ask it."""
    try:
        asked = parse_address(datasets, citation.address)
        names = citation.result.columns
        return replace(asked, columns=tuple(filters.find_column(asked.dataset, "columns", name) for name in names))
    except HttpProblem as refusal:
        raise FormatError(f"the citation's address cannot be asked here: {escape_text(refusal.detail)}") from None
