"""`/metrics` for Prometheus, on a port of its own. No pages and no accounts: it is meant for loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from aiohttp import web

from spotlightd.ports.metrics import Metrics
from spotlightd.server.limits import fit_limits
from spotlightd.settings.serving import MetricsSettings
from spotlightd.web import middleware
from spotlightd.web.access import require_token
from spotlightd.web.app import serve
from spotlightd.web.middleware import Handler

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_CONNECTIONS = 32
Exposition = Callable[[], bytes]


def build_application(text: Exposition, names: Collection[str]) -> web.Application:
    """Answers with `text()`, for requests to an address of this machine, `localhost` or one of the names."""

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not middleware.is_allowed_host(request, names):
            detail = (
                f"This daemon does not answer for the host name {request.host!r}:"
                " the operator can allow it with the setting web.hosts.\n"
            )
            return web.Response(status=421, text=detail)
        return await handler(request)

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    app = web.Application(middlewares=[middleware.log_requests, check_host])
    app.on_response_prepare.append(middleware.add_headers)
    app.router.add_get("/metrics", show_metrics)
    return app


@asynccontextmanager
async def serve_metrics(
    text: Exposition, settings: MetricsSettings, hosts: Collection[str] = (), *, token: str = "",
    metrics: Metrics | None = None,
) -> AsyncIterator[str]:  # fmt: skip
    """Serve while the block runs. Yields the address, empty when metrics are switched off (port 0)."""
    if not settings.port:
        yield ""
        return
    app = build_application(text, {settings.host, *hosts})
    require_token(app, token)
    limits = fit_limits(MOST_CONNECTIONS, share=1.0)
    async with serve(app, settings.host, settings.port, limits, server="metrics", metrics=metrics) as port:
        yield f"http://{settings.host}:{port}/metrics"
