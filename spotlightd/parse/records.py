"""Reads small documents record by record: text with quoted fields, and the items of an XML feed.

For documents of some thousand records. Python looks at each field here; `delimited` reads whole columns, and is the reader of
everything larger.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import pyarrow as pa

from spotlightd.errors import FormatError
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Rows
from spotlightd.parse import columns
from spotlightd.parse.cells import make_reject

MOST_BYTES = 64 << 20
LONGEST_TEXT = 4_000


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the line where it begins, its text, and its fields by name. `error` says why it has none."""

    line: int
    text: str
    fields: Mapping[str, str]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Feed:
    """An XML feed: what it says of itself, and its items."""

    head: Mapping[str, str]
    items: Sequence[Record]


def read_text(body: Body) -> str:
    """The whole document as text, without a byte-order mark. FormatError when it is not UTF-8, or too large for this reader."""
    if body.path.stat().st_size > MOST_BYTES:
        raise FormatError(f"{body.name} has more than {MOST_BYTES >> 20} MB: it is no small document")
    raw = body.path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise FormatError(f"line {line} is not utf-8: {problem.reason}", line=line) from None


def read_quoted(text: str, names: Collection[str], separators: str = ",") -> Iterator[Record]:
    """The records of a text with a header. Fields may be quoted, but no field holds a line feed. The separator is the one of
    `separators` that the header has. FormatError when the header has not exactly these names.
    """
    numbered = ((number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1))
    lines = [(number, line) for number, line in numbered if line.strip()]
    if not lines:
        raise FormatError("the text is empty: there is not even a header")
    first, header = lines[0]
    separator = next((mark for mark in separators if mark in header), separators[0])
    found = [name.strip() for name in _split_line(header, separator)]
    if sorted(found) != sorted(names):
        expected = separator.join(names)
        raise FormatError(f"the header is not the expected one, {expected!r}; it reads {header[:200]!r}", line=first)
    for number, line in lines[1:]:
        try:
            fields = _split_line(line, separator)
        except csv.Error as problem:
            yield Record(number, line, {}, f"its quotes do not match: {problem}")
            continue
        if len(fields) == len(found):
            yield Record(number, line, dict(zip(found, fields, strict=True)))
        else:
            yield Record(number, line, {}, f"{len(fields)} fields where the header has {len(found)}")


def _split_line(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, strict=True))


def read_feed(text: str, item: str = "item", head: str = "channel") -> Feed:
    """The items of an XML feed, and the fields of the element around them. Names are without prefix.

    FormatError when it is not well-formed, and when it declares a document type: entities are never expanded.
    """
    reader = _FeedReader(item, head, text.split("\n"))
    parser = expat.ParserCreate()
    parser.buffer_text = True
    reader.attach(parser)
    try:
        parser.Parse(text, True)
    except expat.ExpatError as problem:
        raise FormatError(f"this is not well-formed XML: {problem}", line=problem.lineno) from None
    return Feed(reader.channel, reader.items)


@dataclass(slots=True)
class _FeedReader:
    """What the parser has read. `path` are the names of the open elements."""

    item: str
    head: str
    lines: Sequence[str]
    channel: dict[str, str] = field(default_factory=dict)
    items: list[Record] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    current: dict[str, str] = field(default_factory=dict)
    began: int = 0
    parser: Any = None

    def attach(self, parser: Any) -> None:
        self.parser = parser
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self.pieces.append

    def _refuse(self, *_: object) -> None:
        raise FormatError("the XML declares a document type, which a feed has not", line=self.parser.CurrentLineNumber)

    def _start(self, name: str, _: Mapping[str, str]) -> None:
        self.path.append(name.rpartition(":")[2])
        self.pieces.clear()
        if self.path[-1] == self.item:
            self.current, self.began = {}, self.parser.CurrentLineNumber

    def _end(self, _: str) -> None:
        name = self.path.pop()
        if name == self.item:
            text = "\n".join(self.lines[self.began - 1 : self.parser.CurrentLineNumber])
            self.items.append(Record(self.began, text[:LONGEST_TEXT], self.current))
        elif self.path and self.path[-1] in (self.item, self.head):
            fields = self.current if self.path[-1] == self.item else self.channel
            self._require_new(name, fields)
            fields[name] = "".join(self.pieces).strip()
        elif self.item in self.path:
            line = self.parser.CurrentLineNumber
            raise FormatError(f"line {line} has the element {name} inside of {self.path[-1]}, not a text", line=line)

    def _require_new(self, name: str, fields: Mapping[str, str]) -> None:
        if name in fields:
            line = self.parser.CurrentLineNumber
            raise FormatError(f"line {line} has another {name} in one {self.path[-1]}", line=line)


def convert(
    dataset: Dataset, records: Iterable[Record], make_row: Callable[[Mapping[str, str]], Mapping[str, Any]]
) -> Iterator[Rows | Reject]:
    """The rows of these records. One whose values `make_row` cannot read (ValueError, which says why) is a reject."""
    rows, texts = list[dict[str, Any]](), dict[int, str]()
    for record in records:
        read = _read_record(record, make_row)
        if isinstance(read, Reject):
            yield read
            continue
        rows.append({**read, "member": 0, "line": record.line})
        texts[record.line] = record.text
    if rows:
        batch = pa.RecordBatch.from_pylist(rows, schema=columns.parsed_schema(dataset))
        yield Rows(dataset, batch, lambda numbers: [texts[number] for number in numbers])


def _read_record(
    record: Record, make_row: Callable[[Mapping[str, str]], Mapping[str, Any]]
) -> Mapping[str, Any] | Reject:
    if record.error:
        return make_reject(0, record.line, record.text, record.error)
    try:
        return make_row(record.fields)
    except ValueError as problem:
        return make_reject(0, record.line, record.text, str(problem))
