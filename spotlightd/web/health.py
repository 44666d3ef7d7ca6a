"""Endpoints for machines: is the process up, and can it answer readers. And robots.txt.

`/readyz` is asked by load balancers and by alarms. A part that holds, such as one feed, keeps no reader from an answer:
then the status is 200, and the body names the part.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE

PING_SECONDS = 5.0


async def show_alive(_: web.Request) -> web.Response:
    return web.Response(text="up\n", headers={"Cache-Control": "no-store"})


async def show_readiness(request: web.Request) -> web.Response:
    """200, or 503 when readers cannot be answered: with the reason, then each degraded part, on a line of its own.

    Nothing can be answered without the warehouse. The documents are tried by writing a probe: when that fails, the disk
    may only be full; when they cannot be read either, their own pages say so.
    """
    context = request.app[APP_STATE].context
    state = context.state()
    reason = await _find_error("warehouse", context.warehouse) if state.ready else "the daemon is still starting"
    degraded = [*state.problems, await _find_error("documents", context.documents)]
    lines = [reason or "ready", *(f"degraded: {problem}" for problem in degraded if problem)]
    text = "".join(f"{line}\n" for line in lines)
    return web.Response(text=text, status=503 if reason else 200, headers={"Cache-Control": "no-store"})


async def _find_error(name: str, store: Warehouse | Documents) -> str:
    """Why the store does not work, in a sentence; empty when it does."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await store.ping()
    except StoreError as error:
        return f"{name}: {error}"
    except TimeoutError:
        return f"{name}: no answer within {PING_SECONDS:.0f} s"
    return ""


async def show_robots(_: web.Request) -> web.Response:
    """Pages may be indexed. Filters, downloads and searches may not: there is no end of them."""
    return web.Response(text="User-agent: *\nDisallow: /search\nDisallow: /cite\nDisallow: /source/\nDisallow: /*?\n")


ROUTES = (Route("/healthz", show_alive), Route("/readyz", show_readiness), Route("/robots.txt", show_robots))
