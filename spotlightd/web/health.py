"""Two questions of machines: is the process up, and can it answer readers. Both tell the truth."""

from __future__ import annotations

import asyncio

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.web.state import APP_STATE

PATIENCE_SECONDS = 5.0


async def alive(_: web.Request) -> web.Response:
    return web.Response(text="up\n", headers={"Cache-Control": "no-store"})


async def ready(request: web.Request) -> web.Response:
    """200, or 503 with one sentence a line on what is not as it should be."""
    context = request.app[APP_STATE].context
    state = context.state()
    problems = [*state.problems]
    if not state.ready and not problems:
        problems.append("the daemon is still starting")
    for name, port in (("warehouse", context.warehouse), ("documents", context.documents)):
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await port.ping()
        except StoreError as problem:
            problems.append(f"{name}: {problem}")
        except TimeoutError:
            problems.append(f"{name}: no answer within {PATIENCE_SECONDS:.0f} s")
    text = "".join(f"{problem}\n" for problem in problems) or "ready\n"
    return web.Response(text=text, status=503 if problems else 200, headers={"Cache-Control": "no-store"})


async def robots(_: web.Request) -> web.Response:
    """Pages may be indexed; filters, downloads and searches are endless and may not."""
    return web.Response(text="User-agent: *\nDisallow: /search\nDisallow: /cite\nDisallow: /source/\nDisallow: /*?\n")
