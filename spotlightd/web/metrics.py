"""`/metrics` for Prometheus, on a port of its own and nothing else there: no pages, no accounts, meant for loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from aiohttp import web

from spotlightd.settings.serving import MetricsSettings
from spotlightd.web import middleware
from spotlightd.web.app import serving
from spotlightd.web.middleware import Handler

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Exposition = Callable[[], bytes]


def application(text: Exposition, names: Collection[str]) -> web.Application:
    """Answers what `text` gives, to those who call us by an address of ours, `localhost` or one of the names."""

    @web.middleware
    async def addressed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not middleware.called_by(request, names):
            says = f"This daemon is not called {request.host!r}: the operator can allow the name with web.hosts.\n"
            return web.Response(status=421, text=says)
        return await handler(request)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    app = web.Application(middlewares=[middleware.logged, addressed])
    app.on_response_prepare.append(middleware.headed)
    app.router.add_get("/metrics", metrics)
    return app


@asynccontextmanager
async def serving_metrics(text: Exposition, wanted: MetricsSettings, hosts: Collection[str] = ()) -> AsyncIterator[str]:
    """Serve until the block is left; gives the address, empty when the operator wants no metrics (port 0)."""
    if not wanted.port:
        yield ""
        return
    app = application(text, {wanted.host, *hosts})
    async with serving(app, wanted.host, wanted.port, what="the metrics", setting="metrics.port") as port:
        yield f"http://{wanted.host}:{port}/metrics"
