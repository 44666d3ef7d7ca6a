"""The explorer as one aiohttp application, and the way to serve it."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from spotlightd.errors import SettingsError
from spotlightd.log import logger
from spotlightd.web import assets, degraded, health, middleware, responses
from spotlightd.web.live import page as live
from spotlightd.web.pages import archive, cite, disk, document, home, logs, row, search, status, table, topics
from spotlightd.web.state import APP_STATE, ExplorerContext
from spotlightd.web.symbol import page as symbol

PORTS_TRIED = 20
SHUTDOWN_SECONDS = 2.0  # aiohttp waits so long for downloads to end, and as long again for them to be cancelled
_NAME = r"{name:[a-z][a-z0-9_]*}"
_DIGEST = r"{digest:[0-9a-f]{64}}"


def application(context: ExplorerContext) -> web.Application:
    """All pages. It opens nothing: what it reads is given, and closed, by whoever made the context."""
    app = web.Application(middlewares=[middleware.logged, middleware.explained, middleware.addressed])
    app[APP_STATE] = responses.made(context)
    app.on_response_prepare.append(middleware.headed)
    app.cleanup_ctx.append(live.living)
    app.on_shutdown.append(live.hung_up)
    app.router.add_get("/", degraded.or_hot(home.show_home, home.reads))
    app.router.add_get("/search", degraded.or_hot(search.show_hits, search.reads))
    app.router.add_get(rf"/data/{_NAME}/schema.json", table.schema)
    app.router.add_get(rf"/data/{_NAME}{{suffix:(\.[a-z]+)?}}", degraded.or_hot(table.show_rows))
    app.router.add_get(rf"/data/{_NAME}/{{key}}", row.show_row)
    app.router.add_get(rf"/source/{_DIGEST}", degraded.or_hot(document.show_document, document.reads))
    app.router.add_get(rf"/source/{_DIGEST}/raw", document.raw)
    app.router.add_get("/s/{symbol}", degraded.or_hot(symbol.show_symbol, symbol.reads))
    app.router.add_get(rf"/s/{{symbol}}/{_NAME}/{{day}}", symbol.show_day)
    app.router.add_get("/cite", cite.show_citation)
    app.router.add_get("/status", status.show_status)
    app.router.add_get("/status.json", status.show_status)
    app.router.add_get("/logs", logs.show_logs)
    app.router.add_get("/logs.json", logs.show_logs)
    app.router.add_get("/archive", archive.show_archive)
    app.router.add_get("/archive.json", archive.show_archive)
    app.router.add_get("/disk", disk.show_disk)
    app.router.add_get("/disk.json", disk.show_disk)
    app.router.add_get("/live", live.show_live)
    app.router.add_get("/live.json", live.show_live)
    app.router.add_get("/live/events", live.show_events)
    app.router.add_get("/topics", topics.show_topics)
    app.router.add_get("/topics.json", topics.show_topics)
    app.router.add_get(rf"/topics/{_NAME}", topics.show_topic)
    app.router.add_get(rf"/topics/{_NAME}.json", topics.show_topic)
    app.router.add_get("/healthz", health.alive)
    app.router.add_get("/readyz", health.ready)
    app.router.add_get("/robots.txt", health.robots)
    app.router.add_get("/static/{digest}/{name:.+}", _static)
    return app


async def _static(request: web.Request) -> web.Response:
    return assets.answer(request.app[APP_STATE].assets, request.match_info["digest"], request.match_info["name"])


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, what: str = "the explorer", setting: str = "web.port"
) -> AsyncIterator[int]:
    """Serve until the block is left; gives the port, which is the next free one when the wanted one is taken.

    `what` is served, and the setting that names its port: for the sentence when it cannot be.
    """
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        yield await _bound(runner, host, port, what, setting)
    finally:
        await runner.cleanup()


async def _bound(runner: web.AppRunner, host: str, port: int, what: str, setting: str) -> int:
    for wanted in range(port, port + PORTS_TRIED + 1):
        site = web.TCPSite(runner, host, wanted)
        try:
            await site.start()
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise SettingsError(f"{what} cannot listen on {host}:{wanted}: {problem.strerror}") from None
            await site.stop()
            logger().warning("port taken", host=host, port=wanted)
        else:
            return int(runner.addresses[-1][1])
    raise SettingsError(f"ports {port} to {port + PORTS_TRIED} of {host} are taken: set {setting} to a free one")
