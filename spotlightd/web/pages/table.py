"""`/data/{dataset}`: a table with filters, sorting, counts and pages; with a suffix, a file of its rows.

`parts.table_html` has the HTML page, `parts.export` the files. Here: redirects, "not modified", JSON pages, and the choice.
"""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.query import filters, records, select
from spotlightd.query.errors import bad_parameter, not_found
from spotlightd.query.filters import Pairs
from spotlightd.query.outputs import OUTPUTS
from spotlightd.query.question import Question
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot
from spotlightd.turns import HEAVY
from spotlightd.web import degraded, responses
from spotlightd.web.parts import export, table_html
from spotlightd.web.parts.row_pages import add_link_header, cut_page, next_address, remove_parameters
from spotlightd.web.routes import NAME, Nav, Route
from spotlightd.web.state import APP_STATE, KIND


async def show_rows(request: web.Request) -> web.StreamResponse:
    """A redirect, "not modified", a page of JSON, a file, or the HTML page."""
    dataset = responses.find_dataset(request, request.match_info["name"])
    suffix = _read_suffix(request)
    pairs = list(request.query.items())
    _redirect_filter_form(request, pairs)
    question = filters.parse_question(dataset, pairs, most=0 if suffix else _page_rows(request))
    if question.is_heavy:
        request[KIND] = HEAVY
    if question.is_safe and suffix != "csv":
        raise bad_parameter("_safe", "only a .csv has a form for spreadsheets")
    snapshot = await _read_snapshot(request, question)
    if dataset.computed_from and dataset.is_growing and not suffix and not remove_parameters(pairs, "as_of"):
        await _redirect_to_newest_day(request, dataset, snapshot)
    etag = responses.make_etag(request, snapshot) if dataset.by_load and not dataset.is_growing else ""
    if etag and responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    if not suffix:
        return await table_html.render_table(request, question, snapshot, pairs, etag)
    if suffix == "json" and (question.size or question.after):
        return await _send_json_page(request, dataset, pairs, snapshot, etag)
    return await export.send_file(request, question, snapshot, suffix, etag)


def _read_suffix(request: web.Request) -> str:
    suffix = request.match_info["suffix"].removeprefix(".")
    if suffix and suffix not in OUTPUTS:
        raise not_found(f"There is no format .{suffix}.", f"There are {', '.join(f'.{name}' for name in OUTPUTS)}.")
    return suffix


def _page_rows(request: web.Request) -> int:
    return request.app[APP_STATE].context.settings.page_rows


async def _read_snapshot(request: web.Request, question: Question) -> Snapshot:
    reader = responses.get_reader(request)
    return await reader.snapshot(question.dataset, question.as_of) if question.dataset.by_load else reader.current()


def _redirect_filter_form(request: web.Request, pairs: Pairs) -> None:
    """The filter form sends fixed field names: redirect to the address with the filter that they mean."""
    if (filter_pairs := filters.fold_filter_form(pairs)) is not None:
        raise web.HTTPSeeOther(format_address(request.path, filter_pairs))


async def _redirect_to_newest_day(request: web.Request, dataset: Dataset, snapshot: Snapshot) -> None:
    """A computed table opens at its newest day: otherwise all of it would be computed to show a hundred rows."""
    newest_day = (await responses.get_reader(request).rows(records.stream_size(dataset, snapshot))).rows[0][-1]
    if newest_day:
        since = f"{newest_day.replace('/', '-')}T00:00:00Z"
        as_of = request.query.get("as_of", "")
        raise web.HTTPSeeOther(format_address(request.path, [(f"{dataset.time}__gte", since)], as_of=as_of))


async def _send_json_page(
    request: web.Request, dataset: Dataset, pairs: Pairs, snapshot: Snapshot, etag: str
) -> web.Response:
    """One page of rows as JSON, with the address of the next page."""
    question = filters.parse_question(dataset, pairs, most=_page_rows(request))
    size = question.size or filters.DEFAULT_SIZE
    answer = await responses.get_reader(request).rows(select.select_page(question, snapshot, size))
    page = cut_page(question, answer, size)
    rows = [{column.name: _finite_or_none(row[column.name]) for column in question.selected} for row in page.rows]
    next_page = next_address(request, page, snapshot)
    document = {**export.describe_rows(question, snapshot), "rows": rows, "next": next_page or None}
    return add_link_header(responses.json_response(request, document, etag=etag), next_page)


def _finite_or_none(value: Any) -> Any:
    """JSON has no infinity and no NaN. The engine writes null for them, and so do JSON pages."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


ROUTES = (Route(rf"/data/{NAME}{{suffix:(\.[a-z]+)?}}", degraded.with_fallback(show_rows)),)
NAV = Nav("Datasets", "/", 10, fragment="datasets", keeps_as_of=True)
