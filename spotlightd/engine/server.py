"""ClickHouse's HTTP interface on a socket of the daemon's: `/` for statements, `/ping` for anyone.

Everything but `/ping` needs the secret of this start. It is meant for one machine: the socket listens on loopback.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import AsyncIterator

from aiohttp import BodyPartReader, hdrs, web

from spotlightd.engine import compression
from spotlightd.engine.answers import answer, headers
from spotlightd.engine.errors import AUTHENTICATION_FAILED, NOT_IMPLEMENTED, SYNTAX, Failed, failure
from spotlightd.engine.inserts import load
from spotlightd.engine.request import Question, asked
from spotlightd.engine.service import Service
from spotlightd.engine.sql import Statement, load_head, statement

MOST_STATEMENT_BYTES = 1 << 20
MOST_FORM_BYTES = 64 << 20
HEAD_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20
MOST_ADDRESS_BYTES = 1 << 20


def application(service: Service) -> web.Application:
    """The two routes."""

    async def statement_route(request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id", "")
        try:
            _authenticate(request, service)
            return await _serve(request, service)
        except Failed as problem:
            return _failed(problem, query_id)

    async def ping(_: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    app = web.Application(client_max_size=0)
    app.router.add_get("/ping", ping)
    app.router.add_get("/", statement_route, allow_head=False)
    app.router.add_post("/", statement_route)
    return app


def runner(service: Service) -> web.AppRunner:
    """Cancels a request's task when its client goes away, and leaves bodies compressed for us to undo."""
    return web.AppRunner(
        application(service),
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        max_line_size=MOST_ADDRESS_BYTES,
        max_field_size=HEAD_BYTES,
        keepalive_timeout=3600,
    )


def _authenticate(request: web.Request, service: Service) -> None:
    told = service.configuration
    user, password = _credentials(request)
    right_user = hmac.compare_digest(user.encode(), told.user.encode())
    right_password = hmac.compare_digest(password.encode(), told.password.encode())
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
    named = request.headers.get("X-ClickHouse-User", request.query.get("user", ""))
    return named, request.headers.get("X-ClickHouse-Key", request.query.get("password", ""))


async def _serve(request: web.Request, service: Service) -> web.StreamResponse:
    parameters: dict[str, str] = dict(request.query)
    if request.content_type == "multipart/form-data":
        parameters |= await _form(request)
        return await _run(request, service, asked(parameters, request.headers), statement(parameters.get("query", "")))
    if request.method == hdrs.METH_GET:
        parameters["readonly"] = "2"  # as ClickHouse does: an address that is only visited changes nothing
    wanted = asked(parameters, request.headers)
    named = parameters.get("query", "")
    body = _body(request)
    if (head := load_head(named, complete=True)) is not None:
        return await load(service, wanted, head, _behind(named[head.data :].encode(), body))
    text, ended = await _text(named, body)
    if (head := load_head(text, complete=ended)) is not None:
        return await load(service, wanted, head, _behind(_encoded(text[head.data :]), body))
    return await _run(request, service, wanted, statement(text))


async def _run(request: web.Request, service: Service, wanted: Question, found: Statement) -> web.StreamResponse:
    if found.kind == "read":
        return await answer(request, service, wanted, found)
    async with service.working(service.writers, wanted.query_id) as work:
        body, summary = await service.start(work, lambda: service.handles.change(wanted, found.sql))
    head = headers(wanted.query_id) | {"X-ClickHouse-Summary": json.dumps(summary)}
    if body:  # as the server does: a statement that answers nothing has no format
        head["X-ClickHouse-Format"] = wanted.format
    return web.Response(body=body, headers=head)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """The request's bytes, decompressed. Failed when they end before their coding does."""
    undo = compression.decoder(request.headers.get(hdrs.CONTENT_ENCODING, ""))
    async for chunk in request.content.iter_chunked(BLOCK_BYTES):
        if data := undo.add(chunk):
            yield data
    undo.close()


async def _behind(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for data in rest:
        yield data


async def _text(named: str, body: AsyncIterator[bytes]) -> tuple[str, bool]:
    """The statement's text and whether it is all there; an INSERT is handed on as soon as its data begin."""
    raw = named.encode() + b"\n" if named else b""
    async for data in body:
        raw += data
        if len(raw) > MOST_STATEMENT_BYTES:
            raise failure(SYNTAX, f"The statement is longer than {MOST_STATEMENT_BYTES} bytes")
        if len(raw) - len(data) <= HEAD_BYTES and load_head(_decoded(raw), complete=False) is not None:
            return _decoded(raw), False
    return _decoded(raw), True


def _decoded(raw: bytes) -> str:
    """Text that gives back the same bytes: what follows an INSERT may be binary."""
    return raw.decode("utf-8", errors="surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form: the statement and its parameters, when they are too long for an address."""
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


def _failed(problem: Failed, query_id: str) -> web.Response:
    """A failure before the first byte of an answer."""
    head = headers(query_id) | {"X-ClickHouse-Exception-Code": str(problem.code)}
    return web.Response(status=problem.status, text=problem.text + "\n", headers=head)
