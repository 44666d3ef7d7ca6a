"""The child that reads lines of a document again for `audit`, with the source's `reread`, and compares them with rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.provenance import Body
from spotlightd.model.source import Batch
from spotlightd.parse import lines, zipped
from spotlightd.query.values import to_text
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import loader
from spotlightd.workers.child_setup import answer_once
from spotlightd.workers.threads import start_parsing_threads

Reread = Callable[[str], Mapping[str, Any]]
Position = tuple[int, int]
Fault = tuple[int, int, str]
"""Member, line, and what differs."""


def encode_value(value: Any) -> str | None:
    """A value as a text that is the same for equal values, however many zeros a number ends with."""
    if isinstance(value, Mapping):
        return json.dumps({name: encode_value(item) for name, item in value.items()}, sort_keys=True)
    if isinstance(value, list | tuple):
        return json.dumps([encode_value(item) for item in value])
    text = to_text(value)
    return text.rstrip("0").rstrip(".") if isinstance(value, Decimal) and text and "." in text else text


def audit_document(request: dict[str, Any]) -> dict[str, Any]:
    """`rows` are [member, line, values of the columns, as `encode_value` encodes them]."""
    source = loader.find_source(loader.load_sources(request["place"]), request["place"], request["source"])
    if not isinstance(source, Batch) or source.reread is None:
        raise SettingsError(f"source {source.name} has no reread: its rows cannot be audited")
    body = Body(Path(request["path"]), request["name"], ParserSettings(**request["limits"]))
    with loader.AuthorErrors(lambda error: FormatError(f"a bug in the source {request['source']}: {error}")):
        faults = list(_find_faults(source.reread, body, request["columns"], request["rows"]))
    return {"faults": faults[: request["most"]], "count": len(faults)}


def _find_faults(
    reread: Reread, body: Body, columns: Sequence[str], rows: Sequence[tuple[int, int, list[str | None]]]
) -> Iterator[Fault]:
    wanted: dict[Position, list[str | None]] = {}
    for member, line, values in rows:
        if (member, line) in wanted:
            yield member, line, "two rows point here"
        wanted[member, line] = values
    for position, text in _read_lines(body, wanted.keys()):
        row, read = wanted[position], reread(text)
        wanted[position] = []
        for name, value in zip(columns, row, strict=True):
            if name in read and value != (expected := encode_value(read[name])):
                yield *position, f"{name} is {value!r} in the row, {expected!r} in the document"
    yield from ((*position, "the document has no such line") for position, values in wanted.items() if values)


def _read_lines(body: Body, wanted: Container[Position]) -> Iterator[tuple[Position, str]]:
    """The wanted lines of the document, in document order."""
    for member, pieces in _list_texts(body):
        for block in lines.read_blocks(pieces, "latin-1", member=member):
            texts = block.text.decode().split("\n")[: block.count]
            for number, text in enumerate(texts, block.first):
                if (member, number) in wanted:
                    yield (member, number), text


def _list_texts(body: Body) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The members of an archive, or the document itself, each with its number and its bytes."""
    if zipped.is_archive(body.path):
        yield from ((member.index, zipped.pieces(member)) for member in zipped.members(body))
    else:
        yield 0, lines.read_file(body.path)


run = answer_once(audit_document, start_parsing_threads)
