"""The line that a receipt points to, in its surroundings, read from the document itself and apart from the daemon."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from spotlightd.model.errors import FormatError, StoreError
from spotlightd.web.context import Excerpt
from spotlightd.web.desk import DESK

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Shown:
    """The excerpt, or the sentence why it cannot be shown."""

    member: int
    line: int
    excerpt: Excerpt | None
    trouble: str = ""


async def shown(request: web.Request, digest: str, member: int, line: int, around: int) -> Shown:
    """`around` lines before and after it."""
    try:
        async with asyncio.timeout(SECONDS):
            return Shown(member, line, await request.app[DESK].context.excerpt(digest, member, line, around))
    except (FormatError, StoreError) as problem:
        return Shown(member, line, None, f"The line cannot be shown: {problem}.")
    except TimeoutError:
        return Shown(member, line, None, f"The line cannot be shown: reading took longer than {SECONDS:.0f} s.")
