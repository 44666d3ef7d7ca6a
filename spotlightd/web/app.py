"""The explorer as one aiohttp application, and the server that it runs in."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from spotlightd.errors import SettingsError
from spotlightd.log import logger
from spotlightd.ports.metrics import Metrics, Server
from spotlightd.server.limits import ConnectionLimits, fit_limits
from spotlightd.server.listening import bind, serve_on
from spotlightd.settings.serving import WebSettings
from spotlightd.web import assets, health, middleware, responses, routes
from spotlightd.web.state import APP_STATE, ExplorerContext

PORTS_TRIED = 20
SHUTDOWN_SECONDS = 2.0  # aiohttp waits so long for downloads to end, and as long again for them to be cancelled
NAMES: Mapping[Server, str] = {"explorer": "the explorer", "metrics": "the metrics"}
SETTINGS: Mapping[Server, str] = {"explorer": "web.port", "metrics": "metrics.port"}
ATTACKS = frozenset({"room", "address", "descriptors"})  # reasons that are no client's slowness


def build_application(context: ExplorerContext, packages: Sequence[str] = routes.PACKAGES) -> web.Application:
    """All pages of the packages. The application opens no client: the caller opens and closes those of the context."""
    pages = routes.find_pages(packages)
    layers = (
        middleware.log_requests, middleware.compress_pages, middleware.redact_pages, middleware.explain_errors,
        middleware.check_host,
    )  # fmt: skip
    app = web.Application(middlewares=layers)
    app[APP_STATE] = responses.make_app_state(context, pages)
    app.on_response_prepare.append(middleware.add_headers)
    for setup in pages.setups:
        setup(app)
    for route in (*pages.routes, *health.ROUTES):
        app.router.add_get(route.path, route.handler)
    app.router.add_get("/static/{digest}/{name:.+}", _serve_asset)
    return app


async def _serve_asset(request: web.Request) -> web.Response:
    static_files = request.app[APP_STATE].assets
    return assets.serve_asset(request, static_files, request.match_info["digest"], request.match_info["name"])


def web_limits(settings: WebSettings) -> ConnectionLimits:
    """How many connections the explorer may have. All readers of a proxy have the proxy's address."""
    limits = fit_limits(settings.connections, share=1.0 if settings.behind_proxy else 0.5)
    return replace(limits, address_connections=settings.address_connections or limits.address_connections)


@asynccontextmanager
async def serve(
    app: web.Application, host: str, port: int, limits: ConnectionLimits | None = None, *, server: Server = "explorer",
    metrics: Metrics | None = None,
) -> AsyncIterator[int]:  # fmt: skip
    """Serve while the block runs. Yields the port: the wanted one, or the next free one when it is taken.

    Without `limits` they are those of the default settings. What is dropped is logged and counted under the `server`.
    """
    sockets = await _bind(host, port, server)

    def report_dropped(dropped: Mapping[str, int]) -> None:
        log = logger().warning if ATTACKS & dropped.keys() else logger().info
        log("connections dropped", server=server, **dropped)
        if metrics:
            for reason, number in dropped.items():
                metrics.count("connections_dropped_total", number, server=server, reason=reason)

    limits = limits or web_limits(WebSettings())
    async with serve_on(sockets, app, limits, report_dropped, shutdown_seconds=SHUTDOWN_SECONDS, lingering_time=2.0):
        yield int(sockets[-1].getsockname()[1])


async def _bind(host: str, port: int, server: Server) -> list[socket.socket]:
    for candidate in range(port, port + PORTS_TRIED + 1):
        try:
            return await bind(host, candidate)
        except UnicodeError:
            raise SettingsError(f"{NAMES[server]} cannot listen on {host!r}: that is no name of a host") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SettingsError(f"{NAMES[server]} cannot listen on {host}:{candidate}: {error.strerror}") from None
            logger().warning("port in use", host=host, port=candidate)
    raise SettingsError(
        f"ports {port} to {port + PORTS_TRIED} of {host} are in use: set {SETTINGS[server]} to a free port"
    )
