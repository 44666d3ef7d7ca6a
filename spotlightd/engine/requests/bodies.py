"""Read a request: its address, its body piece by piece, or its form. What is not UTF-8 stays what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, hdrs, web

from spotlightd.engine import compression
from spotlightd.engine.errors import SYNTAX, failure
from spotlightd.engine.statements.statement import parse_insert_head, parse_values_head
from spotlightd.engine.statements.tokens import decode, encode

MOST_STATEMENT_BYTES = 1 << 20
MOST_FORM_BYTES = 64 << 20
MOST_PARAMETERS = 10_000
HEAD_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, and the files in it, by their names."""

    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def read_parameters(request: web.Request) -> dict[str, str]:
    """The parameters of the address. StatementError when there are too many."""
    query = request.rel_url.raw_query_string
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="surrogateescape", max_num_fields=MOST_PARAMETERS, encoding="utf-8"
        )
    except ValueError:
        raise failure(SYNTAX, f"The address has more than {MOST_PARAMETERS} parameters") from None
    return dict(pairs)


async def read_body(request: web.Request) -> AsyncIterator[bytes]:
    """The request's bytes, decompressed. StatementError when they end before their coding does."""
    decoder = compression.make_decoder(request.headers.get(hdrs.CONTENT_ENCODING, ""))
    async for chunk in request.content.iter_chunked(BLOCK_BYTES):
        if data := decoder.add(chunk):
            yield data
    decoder.close()


def end_line(data: bytes) -> bytes:
    """Data of the address, as ClickHouse reads them: what the body adds begins a new line."""
    return data + b"\n" if data and not data.endswith(b"\n") else data


async def iterate(data: bytes) -> AsyncIterator[bytes]:
    """The bytes as a body."""
    yield data


async def prepend(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for data in rest:
        yield data


async def read_statement(query_text: str, body: AsyncIterator[bytes]) -> tuple[str, bool]:
    """The statement's text, and whether it is complete. An INSERT is returned as soon as its data begin; one with VALUES only
    when it is longer than a statement may be.
    """
    raw = encode(query_text) + b"\n" if query_text else b""
    async for data in body:
        raw += data
        if len(raw) > MOST_STATEMENT_BYTES:
            if parse_values_head(decode(raw[:HEAD_BYTES])) is not None:
                return decode(raw), False
            raise failure(SYNTAX, f"The statement is longer than {MOST_STATEMENT_BYTES} bytes")
        if len(raw) - len(data) <= HEAD_BYTES and parse_insert_head(decode(raw), complete=False) is not None:
            return decode(raw), False
    return decode(raw), True


async def read_form(request: web.Request) -> Form:
    """The form: clients use one when the statement and its parameters are too long for an address, or to send tables."""
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    size = 0
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise failure(SYNTAX, "A part of the form has no name")
        raw = bytearray()
        while chunk := await part.read_chunk():
            raw += chunk
            if (size := size + len(chunk)) > MOST_FORM_BYTES:
                raise failure(SYNTAX, f"The form is longer than {MOST_FORM_BYTES} bytes")
        if part.filename is None:
            fields[part.name] = decode(bytes(raw))
        else:
            files[part.name] = bytes(raw)
    return Form(fields, files)
