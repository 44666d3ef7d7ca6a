"""A page while the bucket cannot be reached: the rows that are in the warehouse, and a note on what is left out.

This holds for tables, symbols, documents, searches, and the first page as of an earlier time, and only as HTML.
Downloads, JSON, citations and single rows are complete or an error: programs that compute with them do not read notes.
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
from spotlightd.web.state import APP_STATE, LEFT_OUT, LeftOutRows

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
DatasetTest = Callable[[Dataset], bool]


def with_fallback(handler: Handler, reads_archived: DatasetTest | None = None) -> Handler:
    """The complete page, or the page without archived rows when these cannot be read now.

    `reads_archived` says whether the page reads archived rows of a dataset. Without it the page reads the dataset that
    its address names.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except StoreError as error:
            if not (is_archive_failure(request, error) and responses.wants_html(request)):
                raise
            logger().warning("page served without archive", path=request.path_qs, error=str(error))
            left_out = _left_out_rows(request, reads_archived or _named_dataset(request), error)
            responses.read_without_archive(request, left_out)
        return await handler(request)

    return handle


def is_archive_failure(request: web.Request, error: StoreError) -> bool:
    """Whether the error came from reading archived rows. True once only for a request."""
    archived = request.app[APP_STATE].context.archives.archived.partitions
    is_archive_error = outage.is_unavailable(error) or outage.is_object_missing(error)
    return bool(archived) and LEFT_OUT not in request and is_archive_error


def _named_dataset(request: web.Request) -> DatasetTest:
    """The dataset that the address names, and the one that it is computed from."""
    name = request.match_info["name"]
    datasets = request.app[APP_STATE].context.datasets
    names = {name, *(dataset.computed_from for dataset in datasets if dataset.name == name)}
    return lambda dataset: dataset.name in names


def _left_out_rows(request: web.Request, reads_archived: DatasetTest, error: StoreError) -> LeftOutRows:
    """The archived rows that the page leaves out, and why."""
    partitions = sorted(request.app[APP_STATE].context.archives.archived.partitions.items())
    parts = [_describe(archived) for _, archived in partitions if reads_archived(archived[0].dataset)]
    is_lost = outage.is_object_missing(error)
    reason = "Archived rows are missing from the archive's bucket" if is_lost else "The archive cannot be reached now"
    return LeftOutRows(f"{reason}, so this page leaves these rows out: {'; '.join(parts)}.", is_lost)


def _describe(archived: tuple[Archived, ...]) -> str:
    """`SEC fails to deliver of 2009-06-01 to 2009-06-30 (1,234 rows)`."""
    dataset = archived[0].dataset
    column = dataset.split_by if dataset.is_growing else dataset.time  # the clock of a venue can be wrong by years
    ends = [end.date() for partition in archived for end in partition.bounds.get(column, ())]
    days = " to ".join(dict.fromkeys(f"{day}" for day in (min(ends), max(ends)))) if ends else ""
    count = sum(partition.rows for partition in archived)
    rows = f"{formatting.format_number(count)} row{'' if count == 1 else 's'}"
    return f"{dataset.title} of {days} ({rows})" if days else f"{dataset.title} ({rows})"
