"""What surrounds every request: allowed host names, response headers, the log line, and error pages."""

from __future__ import annotations

import ipaddress
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast
from urllib.parse import urlsplit

import jinja2
from aiohttp import hdrs, web

from spotlightd.errors import SpotlightError, StoreError
from spotlightd.log import hide_known_secrets, hide_secrets, log_context, logger
from spotlightd.query import outage
from spotlightd.query.errors import HttpProblem
from spotlightd.web import degraded, responses
from spotlightd.web.compression import compress_body
from spotlightd.web.state import APP_STATE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REQUEST_ID = web.RequestKey("request_id", str)
"""A short random text for each request: in its log lines, in its response, and on its error page."""

OVERLOADED = 202
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII | re.IGNORECASE)
BUGS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError,
    ValueError, jinja2.TemplateError,
)  # fmt: skip
"""Exceptions that a bug in spotlightd raises. They are listed because only supervision may catch every exception."""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Security headers and the request's id on every response. A signal: it runs before the first byte is sent, so
    streamed responses get them too.
    """
    for name, text in HEADERS.items():
        response.headers.setdefault(name, text)
    if REQUEST_ID in request:
        response.headers["X-Request-Id"] = request[REQUEST_ID]


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One log line for each response. Every line that is logged meanwhile carries the request's id."""
    started = time.perf_counter()
    request[REQUEST_ID] = secrets.token_hex(6)
    with log_context(request=request[REQUEST_ID]):
        response = await handler(request)
        seconds = round(time.perf_counter() - started, 4)
        logger().debug(
            "request served", method=request.method, path=request.path, status=response.status, seconds=seconds
        )
    return response


@web.middleware
async def compress_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Compress whole pages, after `redact_pages`: no secret is found in compressed bytes."""
    response = await handler(request)
    if isinstance(response, web.Response) and _is_plain_text(response):
        compress_body(request, response)
    return response


def _is_plain_text(response: web.Response) -> bool:
    """Whether its body is the text of a page: files of the explorer itself are compressed already."""
    is_text = response.content_type.startswith("text/") or response.content_type.endswith("json")
    return is_text and isinstance(response.body, bytes | bytearray) and "Content-Encoding" not in response.headers


@web.middleware
async def redact_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No page shows a secret that this process knows: a publisher, a venue or a store may have said it back to us."""
    response = await handler(request)
    if isinstance(response, web.Response) and _is_plain_text(response):
        text = cast("bytes", response.body).decode(response.charset or "utf-8", "surrogateescape")
        shown = hide_known_secrets(text)
        if shown != text:
            response.body = shown.encode(response.charset or "utf-8", "surrogateescape")
    return response


@web.middleware
async def explain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error becomes a page, or JSON, that says what is wrong and what to do about it."""
    try:
        return await handler(request)
    except HttpProblem as problem:
        return _problem_response(request, problem)
    except web.HTTPNotFound:
        return _problem_response(
            request, HttpProblem(404, f"There is no page {request.path!r}.", "Start again from the first page.")
        )
    except web.HTTPMethodNotAllowed as error:
        refusal = HttpProblem(405, f"{error.method} is not possible here.", "The explorer is read-only: use GET.")
        response = _problem_response(request, refusal)
        response.headers["Allow"] = "GET, HEAD"
        return response
    except SpotlightError as error:
        return _problem_response(request, _make_problem(request, error))
    except BUGS:
        logger().exception("request failed", method=request.method, path=request.path_qs)
        detail = "This is an error in spotlightd itself, not in your request."
        return _problem_response(
            request, HttpProblem(500, detail, "The operator finds the traceback in the log, under the request's id.")
        )


def _make_problem(request: web.Request, error: SpotlightError) -> HttpProblem:
    """The problem that the reader sees: a query that is too large, too many downloads, or a store that is down."""
    if not isinstance(error, StoreError):
        return HttpProblem(500, str(error), "The operator finds more in the log.")
    if error.slow and error.code:  # without a code nothing stopped the query: the warehouse did not answer at all
        return HttpProblem(
            400, f"This query exceeds the limits of a page: {error}",
            "Narrow it with a filter, or download the rows: downloads have wider limits.",
        )  # fmt: skip
    if error.code == OVERLOADED:
        return HttpProblem(
            503, "Too many downloads are running.", "Try again in a few seconds.", retry_after_seconds=10
        )
    if degraded.is_archive_failure(request, error):
        request.app[APP_STATE].outage.record_failure(error)
        return _archive_problem(error)
    return HttpProblem(
        503, f"The warehouse cannot answer: {error}", "It is retried automatically; /status shows the current state.",
        retry_after_seconds=5,
    )  # fmt: skip


def _archive_problem(error: StoreError) -> HttpProblem:
    """For requests that need archived rows when these cannot be read."""
    if outage.is_object_missing(error):
        return HttpProblem(
            503, f"Some of these rows are archived, and they are missing from the archive's bucket: {error}",
            "The operator finds more at /archive. Rows that are not archived can still be read: add a filter by time.",
        )  # fmt: skip
    return HttpProblem(
        503, f"Some of these rows are archived, and the archive cannot be reached now: {error}",
        "No data is lost. Rows that are not archived can still be read: add a filter by time; /archive lists the"
        " archived days.", retry_after_seconds=30,
    )  # fmt: skip


def _problem_response(request: web.Request, problem: HttpProblem) -> web.StreamResponse:
    logger().info("request refused", path=request.path_qs, status=problem.status, detail=problem.detail)
    values: dict[str, Any] = {
        "status": problem.status,
        "detail": hide_secrets(problem.detail),
        "remedy": problem.remedy,
        "request": request.get(REQUEST_ID, ""),
    }
    response = (
        responses.render_page(request, "problem.html", values, status=problem.status)
        if responses.wants_html(request)
        else responses.json_response(request, {"error": values}, status=problem.status)
    )
    response.headers["Cache-Control"] = "no-store"
    if problem.retry_after_seconds:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
    return response


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests for host names that are not ours. Otherwise a foreign page could reach a private network through
    a reader's browser (DNS rebinding).
    """
    settings = request.app[APP_STATE].context.settings
    if not is_allowed_host(request, (settings.host, *settings.hosts)):
        raise HttpProblem(
            421,
            f"This explorer does not answer for the host name {request.headers.get(hdrs.HOST, '')!r}.",
            "The operator can allow the name with the setting web.hosts.",
        )
    return await handler(request)


def is_same_origin(request: web.Request) -> bool:
    """Whether a page of this explorer sent the request, according to the browser's headers."""
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
    try:
        sender = urlsplit(origin)
        return sender.netloc.lower() == request.headers.get(hdrs.HOST, "").lower() or sender.hostname in _public_names(
            request
        )
    except ValueError:
        return False


def _public_names(request: web.Request) -> set[str]:
    """The names in `web.hosts`: a proxy in front of the explorer may use another Host header."""
    return {name.lower() for name in request.app[APP_STATE].context.settings.hosts}


def is_allowed_host(request: web.Request, names: Iterable[str]) -> bool:
    """Whether the Host header is one of the names, `localhost`, or the local address that the request came to.

    A request line with a whole address names a host too, and aiohttp goes by that one: then both must be ours.
    """
    hosts = request.headers.getall(hdrs.HOST, [])
    if len(hosts) != 1:
        return False
    return all(_is_own_name(request, read_host_name(host), names) for host in {hosts[0], request.host})


def _is_own_name(request: web.Request, host: str, names: Iterable[str]) -> bool:
    if host in {"localhost", *(name.lower() for name in names)}:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    own_address = request.transport.get_extra_info("sockname") if request.transport else None
    return address.is_loopback or (own_address is not None and str(address) == own_address[0])


def read_host_name(host: str) -> str:
    """The name or address of a Host header, in small letters; empty when the header is not exactly a host and a port."""
    match = _HOST.fullmatch(host)
    return (match["address"] or match["name"].removesuffix(".")).lower() if match else ""
