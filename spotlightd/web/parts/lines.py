"""A line of a stored document with the lines around it, for the pages of rows and documents."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from spotlightd.errors import FormatError, StoreError
from spotlightd.ports.parser import Excerpt
from spotlightd.query.errors import bad_parameter
from spotlightd.web import responses
from spotlightd.web.state import APP_STATE

TIMEOUT_SECONDS = 20.0
MOST_WAITING = 64
_MOST_MEMBER, _MOST_LINE = 65_535, 4_294_967_295


@dataclass(frozen=True, slots=True)
class Line:
    """The excerpt around a line of a document, or around a cell of a PDF; or a sentence why it cannot be shown."""

    digest: str
    member: int
    line: int
    excerpt: Excerpt | None
    error: str = ""


async def read_line(
    request: web.Request, digest: str, member: int, line: int, around: int, *, with_picture: bool = False
) -> Line:
    """The line, with `around` lines before and after it. It takes turns: pages of rows do not wait for those of documents."""
    app_state, kind = request.app[APP_STATE], responses.kind_of(request)
    read_excerpt, turns = app_state.context.excerpt, app_state.line_turns
    if turns.count_waiting(kind) >= MOST_WAITING:
        detail = (
            f"The line cannot be shown now: {MOST_WAITING} others wait to be read. Load the page again in a minute."
        )
        return Line(digest, member, line, None, detail)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), turns.of(kind):
            return Line(
                digest, member, line, await read_excerpt(digest, member, line, around, with_picture=with_picture)
            )
    except (FormatError, StoreError) as error:
        return Line(digest, member, line, None, f"The line cannot be shown: {error}.")
    except TimeoutError:
        detail = f"The line cannot be shown: reading it took longer than {TIMEOUT_SECONDS:.0f} s."
        return Line(digest, member, line, None, detail)


def read_place(request: web.Request) -> tuple[int, int]:
    """The member and the line that an address names; 0 when it names none."""
    return _read_number(request, "member", 0, _MOST_MEMBER), _read_number(request, "line", 0, _MOST_LINE)


def _read_number(request: web.Request, name: str, least: int, most: int) -> int:
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdigit()) or not least <= int(text[:12]) <= most:
        raise bad_parameter(name, f"{text!r} is not a number from {least} to {most}")
    return int(text[:12])
