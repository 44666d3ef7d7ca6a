"""ClickHouse's HTTP interface on a socket that the daemon opened: `/` for statements, `/ping` for health checks.

Everything except `/ping` needs the password, which is new at each start. The socket listens on loopback only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import hdrs, web

from spotlightd.engine.answers.answer import answer, make_headers
from spotlightd.engine.configuration import Configuration
from spotlightd.engine.errors import AUTHENTICATION_FAILED, READONLY, StatementError, failure
from spotlightd.engine.inserts import load
from spotlightd.engine.requests.bodies import (
    HEAD_BYTES,
    end_line,
    iterate,
    prepend,
    read_body,
    read_form,
    read_parameters,
    read_statement,
)
from spotlightd.engine.requests.options import RequestOptions, parse_options
from spotlightd.engine.service import Service
from spotlightd.engine.statements.external import take_external_tables
from spotlightd.engine.statements.statement import Statement, parse_insert_head, parse_statement, parse_values_head
from spotlightd.engine.statements.tokens import encode
from spotlightd.server.limits import ConnectionLimits, fit_limits

MOST_ADDRESS_BYTES = 1 << 20
MOST_CONNECTIONS = 512
IDLE_SECONDS = 3600.0
LEAST_STALL_SECONDS = 60.0
PROTOCOL_OPTIONS: Mapping[str, Any] = {
    "auto_decompress": False, "max_line_size": MOST_ADDRESS_BYTES, "max_field_size": HEAD_BYTES,
}  # fmt: skip


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
        await service.ping()
        return web.Response(text="Ok.\n")

    app = web.Application(client_max_size=0)
    app.router.add_get("/ping", ping)
    app.router.add_get("/", statement_route, allow_head=False)
    app.router.add_post("/", statement_route)
    return app


def make_limits(configuration: Configuration) -> ConnectionLimits:
    """Only programs of this machine connect, so one address may have all connections. Clients keep idle ones for long.

    Handlers have their own time-out for each block of data; that of the body here is for the text of a statement.
    """
    stall = max(LEAST_STALL_SECONDS, 2 * configuration.send_seconds)
    return fit_limits(MOST_CONNECTIONS, share=1.0, idle_seconds=IDLE_SECONDS, body_seconds=stall, send_seconds=stall)


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
    parameters = read_parameters(request)
    if request.content_type == "multipart/form-data":
        return await _serve_form(request, service, parameters)
    options = parse_options(parameters, request.headers, read_only=request.method == hdrs.METH_GET)
    query_text = parameters.get("query", "")
    body = read_body(request)
    if (insert := parse_insert_head(query_text, complete=True)) is not None:
        first = end_line(encode(query_text[insert.data :]))
        return await _run(request, service, options, insert, prepend(first, body))
    text, is_complete = await read_statement(query_text, body)
    insert = parse_insert_head(text, complete=is_complete) or (None if is_complete else parse_values_head(text))
    statement = insert or parse_statement(text)
    return await _run(request, service, options, statement, prepend(encode(text[statement.data :]), body))


async def _serve_form(request: web.Request, service: Service, parameters: dict[str, str]) -> web.StreamResponse:
    """Run the statement of a form, whose files are tables."""
    form = await read_form(request)
    parameters |= form.fields
    external = take_external_tables(parameters, form.files)
    options = replace(parse_options(parameters, request.headers), external=external)
    text = parameters.get("query", "")
    statement = parse_statement(text)
    return await _run(request, service, options, statement, iterate(encode(text[statement.data :])))


async def _run(
    request: web.Request, service: Service, options: RequestOptions, statement: Statement, data: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Run the statement; `data` are the rows of an INSERT."""
    if statement.kind == "read":
        return await answer(request, service, options, statement)
    if options.read_only and options.session is not None and statement.kind != "session":
        raise failure(READONLY, "Cannot execute query in readonly mode: a GET request changes nothing, use POST")
    if statement.kind == "load":
        return await load(service, options, statement, data)
    async with service.admit(service.writers, options.query_id) as work:
        body, summary = await service.start(work, lambda: service.handles.change(options, statement))
    headers = make_headers(options.query_id) | {"X-ClickHouse-Summary": json.dumps(summary)}
    if body:  # as ClickHouse does: a statement without an answer has no format
        headers["X-ClickHouse-Format"] = statement.format or options.format
    return web.Response(body=body, headers=headers)


def _make_error_response(problem: StatementError, query_id: str) -> web.Response:
    """The response to a statement that failed before the first byte of its answer."""
    headers = make_headers(query_id) | {"X-ClickHouse-Exception-Code": str(problem.code)}
    return web.Response(status=problem.status, text=problem.text + "\n", headers=headers)
