"""Endpoints for machines: is the process up, and can it answer readers. And robots.txt.

`/readyz` is asked by load balancers and by alarms. A part that holds, such as one feed, keeps no reader from an answer:
then the status is 200, and the body names the part.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE

PING_SECONDS = 5.0


async def show_alive(_: web.Request) -> web.Response:
    return web.Response(text="up\n", headers={"Cache-Control": "no-store"})


async def show_readiness(request: web.Request) -> web.Response:
    """200, or 503 when readers cannot be answered: with each reason, then each degraded part, on a line of its own."""
    context = request.app[APP_STATE].context
    state = context.state()
    problems = [] if state.ready else ["the daemon is still starting"]
    for name, port in (("warehouse", context.warehouse), ("documents", context.documents)):
        try:
            async with asyncio.timeout(PING_SECONDS):
                await port.ping()
        except StoreError as error:
            problems.append(f"{name}: {error}")
        except TimeoutError:
            problems.append(f"{name}: no answer within {PING_SECONDS:.0f} s")
    lines = [*(problems or ["ready"]), *(f"degraded: {problem}" for problem in state.problems)]
    text = "".join(f"{line}\n" for line in lines)
    return web.Response(text=text, status=503 if problems else 200, headers={"Cache-Control": "no-store"})


async def show_robots(_: web.Request) -> web.Response:
    """Pages may be indexed. Filters, downloads and searches may not: there is no end of them."""
    return web.Response(text="User-agent: *\nDisallow: /search\nDisallow: /cite\nDisallow: /source/\nDisallow: /*?\n")


ROUTES = (Route("/healthz", show_alive), Route("/readyz", show_readiness), Route("/robots.txt", show_robots))
