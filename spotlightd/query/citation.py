r"""Citations: a small file that identifies a result by its content and by the documents that it comes from.

**The digest.** A result's rows are written as lines and hashed with SHA-256:
- the first line has the names of the columns, then `document`, then the names of the place in it (`member`, `line`);
- each row is one line: the values in that order, separated by tabs, with a line feed at the end, UTF-8;
- whole numbers without leading zeros, decimals without trailing zeros, days `2021-01-27`, times (UTC)
  `2021-01-27 14:30:00.123456`, `true` and `false`, empty as `\N`; in text the characters backslash, tab, line feed,
  carriage return, backspace, form feed, NUL and ' are written `\\ \t \n \r \b \f \0 \'`; a list `['a','b']`, a map
  `{'name':'text'}`, both in their own order;
- rows are sorted by document digest, place in the document, then every column: a total order, equal on every instance.

Nothing in it is local to an instance: no load id, no sequence number, no host. Each document also has a digest of its
own lines (without the first line), so that a difference can be located by document.

**The documents of a result** are those that its rows come from. A result without rows has all visible documents, because
it states that none of them has such a row.
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
from spotlightd.printable import escape_text
from spotlightd.query import filters, key
from spotlightd.query.errors import HttpProblem, bad_parameter, not_found
from spotlightd.query.measures import daily_datasets
from spotlightd.query.question import Condition, Question
from spotlightd.query.values import parse_moment, rfc3339
from spotlightd.sql.tiers import Archives, NoArchives

VERSION = 1
MOST_DOCUMENTS = 20_000
_MEANINGFUL = ("_document", "as_of")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class CitedDocument:
    """A document, the version of its parser, and its part of the result: the rows and the digest of their lines."""

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
    """`address` is relative, with sorted parameters; `as_of` is the time of the visible publication."""

    address: str
    as_of: datetime
    result: Result
    documents: tuple[CitedDocument, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """What citing and verifying need: the warehouse, the datasets, and the limits of each query."""

    warehouse: Warehouse
    datasets: tuple[Dataset, ...]
    limits: Limits
    archives: Archives = NoArchives()


def to_json(citation: Citation) -> dict[str, Any]:
    """The content of the file; `from_json` reads it."""
    return {
        "spotlightd": VERSION,
        "address": citation.address,
        "as_of": rfc3339(citation.as_of),
        "result": asdict(citation.result),
        "documents": [asdict(document) for document in citation.documents],
    }


def from_json(text: str | bytes) -> Citation:
    """A citation from an untrusted file. FormatError names the field that is wrong."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise FormatError("the citation is not JSON: is it the file that /cite or `spotlightd cite` wrote?") from None
    if not isinstance(raw, dict) or raw.get("spotlightd") != VERSION:
        raise FormatError(f"this version cannot read the citation: field `spotlightd` must be {VERSION}")
    try:
        documents = tuple(CitedDocument(**document) for document in raw["documents"])
        result = Result(**{**raw["result"], "columns": tuple(raw["result"]["columns"])})
        citation = Citation(raw["address"], parse_moment(raw["as_of"]), result, documents)
    except KeyError as error:
        raise FormatError(f"the citation has no field {error}") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"the citation has a field that is not as it should be: {escape_text(str(error))}") from None
    _check(citation)
    return citation


def _check(citation: Citation) -> None:
    texts = (citation.address, *citation.result.columns)
    for document in citation.documents:
        texts += (document.sha256, document.parser, document.source, document.url)
    if not all(isinstance(text, str) for text in texts):
        raise FormatError("the citation has a number where a text should be")
    if not all(text.isprintable() for text in texts):
        raise FormatError("the citation has control characters in a text")
    urls = [document.url for document in citation.documents if document.url]
    if not all(url.startswith(("http://", "https://")) for url in urls):
        raise FormatError("the citation has a document whose `url` is no address of the web")
    if not citation.result.columns:
        raise FormatError("the citation names no columns")
    digests = [citation.result.sha256]
    digests += [digest for document in citation.documents for digest in (document.sha256, document.lines_sha256)]
    if not all(isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in digests):
        raise FormatError("the citation has a digest that is not 64 hexadecimal digits")
    counts = (citation.result.rows, *(document.rows for document in citation.documents))
    if not all(type(count) is int and count >= 0 for count in counts):
        raise FormatError("the citation has `rows` that is no count: write a whole number, 0 or more")
    if len(citation.documents) > MOST_DOCUMENTS:
        raise FormatError(f"the citation rests on more than {MOST_DOCUMENTS:,} documents")


def parse_address(datasets: tuple[Dataset, ...], address: str) -> Question:
    """The question of an address of this program: a table, a row or a symbol, with its `as_of` if it has one.

    Sorting and paging are ignored. HttpProblem when the address is wrong, or names what cannot be cited.
    """
    segments, pairs = _split_address(address)
    ignored = {*filters.RESERVED_PARAMETERS, "_filter"}.difference(_MEANINGFUL)
    relevant = [(name, text) for name, text in pairs if name not in ignored]
    when = [(name, text) for name, text in relevant if name == "as_of"]
    if len(segments) == 2 and segments[0] == "s":  # noqa: PLR2004
        return _symbol_question(datasets, segments[1], when)
    if len(segments) not in (2, 3) or segments[0] != "data":
        raise _no_address(address)
    dataset = _find_citable(datasets, segments[1].partition(".")[0])
    if len(segments) == 2:  # noqa: PLR2004
        return filters.parse_question(dataset, relevant)
    values = key.split_key(dataset, segments[2])
    conditions = [
        Condition(dataset.column(name), "eq", (value,)) for name, value in zip(dataset.key, values, strict=True)
    ]
    return replace(filters.parse_question(dataset, when), conditions=tuple(conditions))


def _split_address(address: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The segments of its path and its parameters. HttpProblem when the address cannot be parsed, or is not Unicode."""
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
    candidates = daily_datasets(datasets)
    if len(candidates) != 1:
        names = ", ".join(f"/data/{dataset.name}?{dataset.symbol}={symbol}" for dataset in candidates)
        raise bad_parameter("address", "this page shows several datasets", f"Cite one of them: {names}.")
    return filters.parse_question(candidates[0], [(candidates[0].symbol, symbol), *when])


def _find_citable(datasets: tuple[Dataset, ...], name: str) -> Dataset:
    dataset = next((dataset for dataset in datasets if dataset.name == name), None)
    if dataset is None:
        raise not_found(f"There is no dataset {name!r}.", "The first page lists those that exist.")
    if dataset.is_citable:
        return dataset
    if dataset.has_receipts:
        remedy = "The page of a row leads to the rows that it was computed from: cite these."
        raise bad_parameter("address", f"{name} is computed from other rows and is in no document", remedy)
    if origin := dataset.computed_from:
        raise bad_parameter("address", f"{name} is computed from {origin}", f"Cite the rows of {origin}.")
    raise bad_parameter("address", f"{name} is a record of this instance and cannot be cited", "Cite published data.")


def canonical_address(question: Question) -> str:
    """The address of the question without its time, with sorted parameters: the same for every way to write it."""
    pairs = [
        (_parameter(condition), ",".join(_value(condition, value) for value in condition.values))
        for condition in question.conditions
    ]
    if question.document:
        pairs.append(("_document", question.document))
    query = urlencode(sorted(pairs), safe=",:")
    return f"/data/{question.dataset.name}" + (f"?{query}" if query else "")


def _parameter(condition: Condition) -> str:
    name = condition.column.name
    return name if condition.operator == "eq" else f"{name}__{condition.operator}"


def _value(condition: Condition, value: str) -> str:
    """A bound value as the text of an address: times are written with their zone."""
    is_time = condition.column.kind == "time" and condition.operator != "isnull"
    return value.replace(" ", "T") + "Z" if is_time else value


def question_of(citation: Citation, datasets: tuple[Dataset, ...]) -> Question:
    """The question of a citation with its columns. FormatError when this instance cannot answer it."""
    try:
        question = parse_address(datasets, citation.address)
        names = citation.result.columns
        columns = tuple(filters.find_column(question.dataset, "columns", name) for name in names)
    except HttpProblem as problem:
        detail = escape_text(problem.detail)
        raise FormatError(f"this instance cannot answer the citation's address: {detail}") from None
    return replace(question, columns=columns)
