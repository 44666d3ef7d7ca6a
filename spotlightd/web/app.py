"""The explorer as one aiohttp application, and the server that it runs in."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from spotlightd.errors import SettingsError
from spotlightd.log import logger
from spotlightd.web import assets, health, middleware, responses, routes
from spotlightd.web.state import APP_STATE, ExplorerContext

PORTS_TRIED = 20
SHUTDOWN_SECONDS = 2.0  # aiohttp waits so long for downloads to end, and as long again for them to be cancelled


def build_application(context: ExplorerContext, packages: Sequence[str] = routes.PACKAGES) -> web.Application:
    """All pages of the packages. The application opens no client: the caller opens and closes those of the context."""
    pages = routes.find_pages(packages)
    app = web.Application(middlewares=[middleware.log_requests, middleware.explain_errors, middleware.check_host])
    app[APP_STATE] = responses.make_app_state(context, pages)
    app.on_response_prepare.append(middleware.add_headers)
    for setup in pages.setups:
        setup(app)
    for route in (*pages.routes, *health.ROUTES):
        app.router.add_get(route.path, route.handler)
    app.router.add_get("/static/{digest}/{name:.+}", _serve_asset)
    return app


async def _serve_asset(request: web.Request) -> web.Response:
    return assets.serve_asset(request.app[APP_STATE].assets, request.match_info["digest"], request.match_info["name"])


@asynccontextmanager
async def serve(
    app: web.Application, host: str, port: int, *, what: str = "the explorer", setting: str = "web.port"
) -> AsyncIterator[int]:
    """Serve while the block runs. Yields the port: the wanted one, or the next free one when it is taken.

    `what` is the name of the service and `setting` the setting of its port. Both are for error messages.
    """
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        yield await _bind(runner, host, port, what, setting)
    finally:
        await runner.cleanup()


async def _bind(runner: web.AppRunner, host: str, port: int, what: str, setting: str) -> int:
    for candidate in range(port, port + PORTS_TRIED + 1):
        site = web.TCPSite(runner, host, candidate)
        try:
            await site.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SettingsError(f"{what} cannot listen on {host}:{candidate}: {error.strerror}") from None
            await site.stop()
            logger().warning("port in use", host=host, port=candidate)
        else:
            return int(runner.addresses[-1][1])
    raise SettingsError(f"ports {port} to {port + PORTS_TRIED} of {host} are in use: set {setting} to a free port")
