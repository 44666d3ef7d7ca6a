"""A line of a stored document with the lines around it, for the pages of rows and documents."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from spotlightd.errors import FormatError, StoreError
from spotlightd.ports.parser import Excerpt
from spotlightd.web import responses
from spotlightd.web.state import APP_STATE

TIMEOUT_SECONDS = 20.0
MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class Line:
    """The excerpt around a line, or a sentence why it cannot be shown."""

    member: int
    line: int
    excerpt: Excerpt | None
    error: str = ""


async def read_line(request: web.Request, digest: str, member: int, line: int, around: int) -> Line:
    """The line, with `around` lines before and after it. It takes turns: pages of rows do not wait for those of documents."""
    app_state, kind = request.app[APP_STATE], responses.kind_of(request)
    read_excerpt, turns = app_state.context.excerpt, app_state.line_turns
    if turns.count_waiting(kind) >= MOST_WAITING:
        detail = (
            f"The line cannot be shown now: {MOST_WAITING} others wait to be read. Load the page again in a minute."
        )
        return Line(member, line, None, detail)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), turns.of(kind):
            return Line(member, line, await read_excerpt(digest, member, line, around))
    except (FormatError, StoreError) as error:
        return Line(member, line, None, f"The line cannot be shown: {error}.")
    except TimeoutError:
        detail = f"The line cannot be shown: reading it took longer than {TIMEOUT_SECONDS:.0f} s."
        return Line(member, line, None, detail)
