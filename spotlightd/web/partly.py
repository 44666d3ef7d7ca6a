"""A page while the bucket is away: of the rows that are in the warehouse, and on top of it what is missing.

Only tables, symbols, documents, searches and the first page as of an earlier time, and only as pages for people. Downloads, JSON, citations and single rows are whole or an error:
who computes with them does not read notes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from spotlightd.log import logger
from spotlightd.model.cold import Archived
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import SpotlightError, StoreError
from spotlightd.web import desk, show
from spotlightd.web.desk import DESK, MISSING

AWAY = frozenset({76, 86, 107, 198, 209, 210, 499})
"""ClickHouse's codes for a file or an object that cannot be opened, is not there, or whose store does not answer."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Reads = Callable[[Dataset], bool]


def or_hot(handler: Handler, reads: Reads | None = None) -> Handler:
    """The page, whole; without the archived rows when they cannot be reached now. `reads` tells the datasets that it is
    made of, where the address does not name one.
    """

    async def shown(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except StoreError as problem:
            if not (away(request, problem) and desk.reads_html(request)):
                raise
            logger().warning("page shown without archive", path=request.path_qs, error=str(problem))
        desk.without_archive(request, _missing(request, reads or _named(request)))
        return await handler(request)

    return shown


def away(request: web.Request, problem: SpotlightError) -> bool:
    """Whether that went wrong because archived rows cannot be reached; once only for a request."""
    archived = request.app[DESK].context.archives.cold.partitions
    return isinstance(problem, StoreError) and problem.code in AWAY and bool(archived) and MISSING not in request


def _named(request: web.Request) -> Reads:
    """The dataset in the address, and what it is computed from."""
    name = request.match_info["name"]
    concerned = {name, *(one.made_of for one in request.app[DESK].context.datasets if one.name == name)}
    return lambda dataset: dataset.name in concerned


def _missing(request: web.Request, reads: Reads) -> str:
    """Which archived rows the page goes without, in a sentence."""
    left = sorted(request.app[DESK].context.archives.cold.partitions.items())
    parts = [_told(archived) for _, archived in left if reads(archived[0].dataset)]
    return f"The archive is not reachable now, and these rows are left out here: {'; '.join(parts)}."


def _told(archived: tuple[Archived, ...]) -> str:
    dataset = archived[0].dataset
    ends = [end.date() for one in archived for end in one.bounds.get(dataset.time, ())]
    days = " to ".join(dict.fromkeys(f"{day}" for day in (min(ends), max(ends)))) if ends else ""
    said = f"{dataset.title} of {days}" if days else dataset.title
    return f"{said} ({show.number(sum(one.rows for one in archived))} rows)"
