"""A page while the bucket is away: of the rows that are in the warehouse, and on top of it what is missing.

Only tables, symbols, documents, searches and the first page as of an earlier time, and only as pages for people.
Downloads, JSON, citations and single rows are whole or an error: who computes with them does not read notes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.query import outage
from spotlightd.sql.tiers import Archived
from spotlightd.web import formatting, responses
from spotlightd.web.state import APP_STATE, MISSING, LeftOut

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
            if not (unread(request, problem) and responses.reads_html(request)):
                raise
            logger().warning("page shown without archive", path=request.path_qs, error=str(problem))
            responses.without_archive(request, _left_out(request, reads or _named(request), problem))
        return await handler(request)

    return shown


def unread(request: web.Request, problem: StoreError) -> bool:
    """Whether that went wrong because archived rows cannot be read; once only for a request."""
    archived = request.app[APP_STATE].context.archives.cold.partitions
    return bool(archived) and MISSING not in request and (outage.away(problem) or outage.not_there(problem))


def _named(request: web.Request) -> Reads:
    """The dataset in the address, and what it is computed from."""
    name = request.match_info["name"]
    concerned = {name, *(one.made_of for one in request.app[APP_STATE].context.datasets if one.name == name)}
    return lambda dataset: dataset.name in concerned


def _left_out(request: web.Request, reads: Reads, problem: StoreError) -> LeftOut:
    """Which archived rows the page goes without, and why."""
    left = sorted(request.app[APP_STATE].context.archives.cold.partitions.items())
    parts = [_told(archived) for _, archived in left if reads(archived[0].dataset)]
    gone = outage.not_there(problem)
    why = "Archived rows are missing from the archive's store" if gone else "The archive is not reachable now"
    return LeftOut(f"{why}, and these rows are left out here: {'; '.join(parts)}.", gone)


def _told(archived: tuple[Archived, ...]) -> str:
    dataset = archived[0].dataset
    ends = [end.date() for one in archived for end in one.bounds.get(dataset.time, ())]
    days = " to ".join(dict.fromkeys(f"{day}" for day in (min(ends), max(ends)))) if ends else ""
    said = f"{dataset.title} of {days}" if days else dataset.title
    return f"{said} ({formatting.number(sum(one.rows for one in archived))} rows)"
