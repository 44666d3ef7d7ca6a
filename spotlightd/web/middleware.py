"""What stands around every answer: who may call us by which name, headers, and pages for what went wrong."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import jinja2
from aiohttp import web

from spotlightd.errors import SpotlightError, StoreError
from spotlightd.log import logger, within
from spotlightd.query import outage
from spotlightd.query.errors import HttpProblem
from spotlightd.web import degraded, responses
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
"""A short random word for each request: in all that is said while it is answered, in its answer, on its error page."""

OVERLOADED = 202
MISTAKES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError,
    jinja2.TemplateError,
)  # fmt: skip
"""What a mistake of ours raises. Named one by one, because only supervision may catch everything."""


async def headed(request: web.Request, answer: web.StreamResponse) -> None:
    """Security headers and the request's mark on every answer, streamed ones too: a signal, called before the first
    byte leaves.
    """
    for name, text in HEADERS.items():
        answer.headers.setdefault(name, text)
    if REQUEST_ID in request:
        answer.headers["X-Request-Id"] = request[REQUEST_ID]


@web.middleware
async def logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One line in the log for each answer; all lines that come about meanwhile bear the request's mark."""
    started = time.perf_counter()
    request[REQUEST_ID] = secrets.token_hex(6)
    with within(request=request[REQUEST_ID]):
        answer = await handler(request)
        seconds = round(time.perf_counter() - started, 4)
        logger().debug(
            "request served", method=request.method, path=request.path, status=answer.status, seconds=seconds
        )
    return answer


@web.middleware
async def explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong becomes a page, or JSON, that names the thing and the remedy."""
    try:
        return await handler(request)
    except HttpProblem as refusal:
        return _told(request, refusal)
    except web.HTTPNotFound:
        return _told(
            request, HttpProblem(404, f"There is no page {request.path!r}.", "Start again from the first page.")
        )
    except web.HTTPMethodNotAllowed as wrong:
        told = _told(
            request, HttpProblem(405, f"{wrong.method} is not possible here.", "The explorer only reads: use GET.")
        )
        told.headers["Allow"] = "GET, HEAD"
        return told
    except SpotlightError as problem:
        return _told(request, _of_ours(request, problem))
    except MISTAKES:
        logger().exception("request failed", method=request.method, path=request.path_qs)
        says = "Something is wrong in spotlightd itself, not in your question."
        return _told(
            request, HttpProblem(500, says, "The operator finds the trace in the log, under the request's mark.")
        )


def _of_ours(request: web.Request, problem: SpotlightError) -> HttpProblem:
    """An error of ours as the reader's: too much asked, too many asking, or out of order."""
    if not isinstance(problem, StoreError):
        return HttpProblem(500, str(problem), "The operator finds more in the log.")
    if problem.slow and problem.code:  # without a number nobody stopped it: the warehouse gave no answer at all
        return HttpProblem(
            400, f"This question needs more than a page may take: {problem}",
            "Narrow it with a filter, or download the rows: downloads have wider limits.",
        )  # fmt: skip
    if problem.code == OVERLOADED:
        return HttpProblem(
            503, "Too many downloads are under way.", "Try again in some seconds.", retry_after_seconds=10
        )
    if degraded.unread(request, problem):
        request.app[APP_STATE].outage.note(problem)
        return _archived(problem)
    return HttpProblem(
        503, f"The warehouse cannot answer: {problem}", "It is retried by itself; /status says how things stand.",
        retry_after_seconds=5,
    )  # fmt: skip


def _archived(problem: StoreError) -> HttpProblem:
    """For who needs archived rows, which cannot be read."""
    if outage.not_there(problem):
        return HttpProblem(
            503, f"Some of these rows are archived, and they are missing from the archive's store: {problem}",
            "The operator finds more at /archive. Rows that are not archived can be read all the same: add a filter by"
            " time.",
        )  # fmt: skip
    return HttpProblem(
        503, f"Some of these rows are archived, and the archive is not reachable now: {problem}",
        "Nothing is lost. Rows that are not archived can be read all the same: add a filter by time; /archive says"
        " which days have left.", retry_after_seconds=30,
    )  # fmt: skip


def _told(request: web.Request, refusal: HttpProblem) -> web.StreamResponse:
    logger().info("request refused", path=request.path_qs, status=refusal.status, says=refusal.says)
    told: dict[str, Any] = {
        "status": refusal.status,
        "says": refusal.says,
        "remedy": refusal.remedy,
        "request": request.get(REQUEST_ID, ""),
    }
    answer = (
        responses.page(request, "problem.html", told, status=refusal.status)
        if responses.reads_html(request)
        else responses.document(request, {"error": told}, status=refusal.status)
    )
    answer.headers["Cache-Control"] = "no-store"
    if refusal.retry_after_seconds:
        answer.headers["Retry-After"] = str(refusal.retry_after_seconds)
    return answer


@web.middleware
async def addressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only requests that call us by a name of ours: a page on a foreign name must not reach a private network through
    a reader's browser (DNS rebinding).
    """
    settings = request.app[APP_STATE].context.settings
    if not called_by(request, (settings.host, *settings.hosts)):
        raise HttpProblem(
            421,
            f"This explorer is not called {request.host!r}.",
            "The operator can allow the name: web.hosts in the settings.",
        )
    return await handler(request)


def asked_by_us(request: web.Request) -> bool:
    """Whether the page that asks is one of ours, as far as its browser tells."""
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
    try:
        asking = urlsplit(origin)
        return asking.netloc.lower() == request.host.lower() or asking.hostname in _public(request)
    except ValueError:
        return False


def _public(request: web.Request) -> set[str]:
    """Names that the operator gave us: a proxy before us may call us otherwise."""
    return {name.lower() for name in request.app[APP_STATE].context.settings.hosts}


def called_by(request: web.Request, names: Iterable[str]) -> bool:
    """Whether the request calls us by one of these names, `localhost`, or an address of this machine that it came to."""
    return _is_ours(request, request.host, names)


def _is_ours(request: web.Request, host: str, names: Iterable[str]) -> bool:
    name = _host_name(host)
    if name in {"localhost", *(one.lower() for one in names)}:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    own = request.transport.get_extra_info("sockname") if request.transport else None
    return address.is_loopback or (own is not None and str(address) == own[0])


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()
