"""ClickHouse's HTTP interface on a socket that the daemon opened: `/` for statements, `/ping` for health checks.

Everything except `/ping` needs the password, which is new at each start. The socket listens on loopback only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import AsyncIterator

from aiohttp import BodyPartReader, hdrs, web

from spotlightd.engine import compression
from spotlightd.engine.answers import answer, make_headers
from spotlightd.engine.errors import AUTHENTICATION_FAILED, NOT_IMPLEMENTED, SYNTAX, StatementError, failure
from spotlightd.engine.inserts import load
from spotlightd.engine.request import RequestOptions, parse_options
from spotlightd.engine.service import Service
from spotlightd.engine.sql import Statement, parse_insert_head, parse_statement

MOST_STATEMENT_BYTES = 1 << 20
MOST_FORM_BYTES = 64 << 20
HEAD_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20
MOST_ADDRESS_BYTES = 1 << 20


def make_application(service: Service) -> web.Application:
    """The two routes."""

    async def statement_route(request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id", "")
        try:
            _authenticate(request, service)
            return await _serve(request, service)
        except StatementError as problem:
            return _make_error_response(problem, query_id)

    async def ping(_: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    app = web.Application(client_max_size=0)
    app.router.add_get("/ping", ping)
    app.router.add_get("/", statement_route, allow_head=False)
    app.router.add_post("/", statement_route)
    return app


def make_runner(service: Service) -> web.AppRunner:
    """A runner that cancels a request's task when its client disconnects, and does not decompress bodies."""
    return web.AppRunner(
        make_application(service),
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        max_line_size=MOST_ADDRESS_BYTES,
        max_field_size=HEAD_BYTES,
        keepalive_timeout=3600,
    )


def _authenticate(request: web.Request, service: Service) -> None:
    configuration = service.configuration
    user, password = _credentials(request)
    right_user = hmac.compare_digest(user.encode(), configuration.user.encode())
    right_password = hmac.compare_digest(password.encode(), configuration.password.encode())
    if not (right_user and right_password):
        raise failure(AUTHENTICATION_FAILED, "Authentication failed: password is incorrect, or there is no such user")


def _credentials(request: web.Request) -> tuple[str, str]:
    scheme, _, code = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(code, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    user = request.headers.get("X-ClickHouse-User", request.query.get("user", ""))
    return user, request.headers.get("X-ClickHouse-Key", request.query.get("password", ""))


async def _serve(request: web.Request, service: Service) -> web.StreamResponse:
    parameters: dict[str, str] = dict(request.query)
    if request.content_type == "multipart/form-data":
        parameters |= await _form(request)
        return await _run(
            request, service, parse_options(parameters, request.headers), parse_statement(parameters.get("query", ""))
        )
    if request.method == hdrs.METH_GET:
        parameters["readonly"] = "2"  # as ClickHouse does: a GET changes nothing
    options = parse_options(parameters, request.headers)
    query_text = parameters.get("query", "")
    body = _body(request)
    if (insert := parse_insert_head(query_text, complete=True)) is not None:
        return await load(service, options, insert, _prepend(query_text[insert.data :].encode(), body))
    text, is_complete = await _read_statement(query_text, body)
    if (insert := parse_insert_head(text, complete=is_complete)) is not None:
        return await load(service, options, insert, _prepend(_encode(text[insert.data :]), body))
    return await _run(request, service, options, parse_statement(text))


async def _run(
    request: web.Request, service: Service, options: RequestOptions, statement: Statement
) -> web.StreamResponse:
    if statement.kind == "read":
        return await answer(request, service, options, statement)
    async with service.admit(service.writers, options.query_id) as work:
        body, summary = await service.start(work, lambda: service.handles.change(options, statement.sql))
    headers = make_headers(options.query_id) | {"X-ClickHouse-Summary": json.dumps(summary)}
    if body:  # as ClickHouse does: a statement without an answer has no format
        headers["X-ClickHouse-Format"] = options.format
    return web.Response(body=body, headers=headers)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """The request's bytes, decompressed. StatementError when they end before their coding does."""
    decoder = compression.make_decoder(request.headers.get(hdrs.CONTENT_ENCODING, ""))
    async for chunk in request.content.iter_chunked(BLOCK_BYTES):
        if data := decoder.add(chunk):
            yield data
    decoder.close()


async def _prepend(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for data in rest:
        yield data


async def _read_statement(query_text: str, body: AsyncIterator[bytes]) -> tuple[str, bool]:
    """The statement's text, and whether it is complete. An INSERT is returned as soon as its data begins."""
    raw = query_text.encode() + b"\n" if query_text else b""
    async for data in body:
        raw += data
        if len(raw) > MOST_STATEMENT_BYTES:
            raise failure(SYNTAX, f"The statement is longer than {MOST_STATEMENT_BYTES} bytes")
        if len(raw) - len(data) <= HEAD_BYTES and parse_insert_head(_decode(raw), complete=False) is not None:
            return _decode(raw), False
    return _decode(raw), True


def _decode(raw: bytes) -> str:
    """Text that encodes to the same bytes again: the data of an INSERT may be binary."""
    return raw.decode("utf-8", errors="surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form: clients use one when the statement and its parameters are too long for a URL."""
    fields: dict[str, str] = {}
    size = 0
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.filename is not None or part.name is None:
            raise failure(NOT_IMPLEMENTED, "External tables are not supported")
        raw = bytearray()
        while chunk := await part.read_chunk():
            raw += chunk
            if (size := size + len(chunk)) > MOST_FORM_BYTES:
                raise failure(SYNTAX, f"The form is longer than {MOST_FORM_BYTES} bytes")
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            raise failure(SYNTAX, f"The form's field {part.name[:40]} is not UTF-8") from None
        fields[part.name] = value
    return fields


def _make_error_response(problem: StatementError, query_id: str) -> web.Response:
    """The response to a statement that failed before the first byte of its answer."""
    headers = make_headers(query_id) | {"X-ClickHouse-Exception-Code": str(problem.code)}
    return web.Response(status=problem.status, text=problem.text + "\n", headers=headers)
