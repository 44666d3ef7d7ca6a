"""What all pages share, and the kinds of response: a page, a JSON document, "not modified"."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import jinja2
from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Limits
from spotlightd.query import log_filters
from spotlightd.query.errors import not_found
from spotlightd.query.key import join_key
from spotlightd.query.outage import Outage, OutageAwareArchives
from spotlightd.query.reader import Reader, take_turns
from spotlightd.query.values import format_address, rfc3339
from spotlightd.server.limits import fit_limits
from spotlightd.sql.tiers import Archives, WithoutBucket
from spotlightd.sql.visibility import Snapshot
from spotlightd.turns import WHOLE, Turns, share_places
from spotlightd.web import assets, formatting
from spotlightd.web.assets import Asset
from spotlightd.web.routes import Pages
from spotlightd.web.state import APP_STATE, KIND, LEFT_OUT, READER, AppState, ExplorerContext, LeftOutRows

LINES_AT_ONCE = 2  # each is read in a child process, which takes a core
DOCUMENT_PAGES = "/source/{digest}"
_FILE_SUFFIXES = ("json", "csv", "parquet", "arrow", "ndjson")


def make_app_state(context: ExplorerContext, pages: Pages) -> AppState:
    static_files, at_once = assets.read_assets(), context.settings.at_once
    environment = _make_environment(context, pages, static_files)
    connections = fit_limits(context.settings.connections).connections
    turns, archive_turns = share_places(at_once, connections), share_places(max(1, at_once // 2), connections)
    line_turns = Turns(
        LINES_AT_ONCE, {DOCUMENT_PAGES: 1}
    )  # so that the line of a row never waits for those of documents
    return AppState(context, static_files, environment, turns, line_turns, Outage(archive_turns))


def _make_environment(context: ExplorerContext, pages: Pages, static_files: Mapping[str, Asset]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pages.template_folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        age=formatting.format_age,
        bytes=formatting.format_size,
        cell=formatting.format_cell,
        code=formatting.mark_code,
        days=formatting.format_days,
        instant=formatting.format_instant,
        number=formatting.format_number,
        plain=formatting.remove_code_marks,
        rfc3339=rfc3339,
        short=formatting.format_short,
        visible=formatting.show_controls,
    )
    environment.tests.update(numeric=formatting.is_numeric)
    environment.globals.update(
        asset=lambda name: assets.make_address(static_files, name),
        address=format_address,
        row_key=join_key,
        log_of=log_filters.load_log_address,
        notice=context.notice,
        navigation=[nav for nav in pages.navigation if nav.is_visible(context)],
        streams=bool(context.streams),
    )
    return environment


def get_reader(request: web.Request) -> Reader:
    """The reader of the request. There is one for each request, so Server-Timing counts all of its queries."""
    if READER not in request:
        app_state = request.app[APP_STATE]
        limits = app_state.context.settings
        request[READER] = Reader(
            app_state.context.warehouse,
            Limits(seconds=limits.query_seconds, memory_bytes=limits.query_memory_bytes),
            app_state.turns,
            limits.wait_seconds,
            kind_of(request),
            archives=_archives(request),
            outage=app_state.outage,
        )
    return request[READER]


def kind_of(request: web.Request) -> str:
    """The kind of page that the request is for: pages of one kind take turns with those of others."""
    if KIND in request:
        return request[KIND]
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


@asynccontextmanager
async def whole_turn(request: web.Request) -> AsyncIterator[AsyncExitStack]:
    """One of the few places of those that read whole datasets with wide limits; closing the stack gives it back.

    HttpProblem(503) when none becomes free.
    """
    app_state = request.app[APP_STATE]
    async with AsyncExitStack() as held:
        await take_turns(held, app_state.context.settings.wait_seconds, app_state.turns.of(WHOLE, id(request)))
        yield held


def _archives(request: web.Request) -> Archives:
    app_state = request.app[APP_STATE]
    index = app_state.context.archives
    return WithoutBucket(index) if LEFT_OUT in request else OutageAwareArchives(index, app_state.outage)


def note_archive_answer(request: web.Request) -> None:
    """End the outage when a query without a Reader has read archived rows: the archive answers again."""
    archives = get_reader(request).archives
    if isinstance(archives, OutageAwareArchives) and archives.has_tried:
        request.app[APP_STATE].outage.record_success()


def read_without_archive(request: web.Request, left_out: LeftOutRows) -> None:
    """From now on the request reads only rows that are in the warehouse. Its page says what is left out."""
    request[LEFT_OUT] = left_out
    request.pop(READER, None)


def wants_html(request: web.Request) -> bool:
    _, dot, suffix = request.path.rpartition("/")[2].rpartition(".")
    if dot and suffix in _FILE_SUFFIXES:
        return False
    return "text/html" in request.headers.get("Accept", "text/html") or "json" not in request.headers.get("Accept", "")


def find_dataset(request: web.Request, name: str) -> Dataset:
    """The dataset of that name. The 404 lists those that exist."""
    datasets = request.app[APP_STATE].context.datasets
    for dataset in datasets:
        if dataset.name == name:
            return dataset
    raise not_found(f"There is no dataset {name!r}.", f"There are {', '.join(dataset.name for dataset in datasets)}.")


def render_page(
    request: web.Request, template: str, values: Mapping[str, Any], *, etag: str = "", status: int = 200
) -> web.Response:
    """A rendered page. Browsers revalidate pages at every visit; with an ETag that costs one small query."""
    app_state = request.app[APP_STATE]
    as_of = request.query.get("as_of", "")
    text = app_state.templates.get_template(template).render(
        {
            "path": request.rel_url.raw_path,
            "as_of": as_of,
            "link": _make_link(as_of),
            "permalink": _permalink(request, values.get("snapshot")),
            "version": app_state.context.state().version,
            "left_out": request.get(LEFT_OUT),
            **values,
        }
    )
    response = web.Response(text=text, content_type="text/html", status=status)
    set_cache_headers(request, response, etag)
    return response


def _make_link(as_of: str) -> Callable[..., str]:
    """Links on a page that shows an earlier time keep that time."""

    def link(path: str | tuple[str, ...], pairs: Any = (), **more: Any) -> str:
        return format_address(path, pairs, **more, as_of=as_of)

    return link


def _permalink(request: web.Request, snapshot: Snapshot | None) -> str:
    """The address that will always show what this page shows now."""
    if snapshot is None or snapshot.at is None:
        return ""
    pairs = [(name, text) for name, text in request.query.items() if name not in ("as_of", "_next")]
    return request.rel_url.raw_path + format_address("", pairs, as_of=rfc3339(snapshot.at))


def json_response(request: web.Request, value: Any, *, etag: str = "", status: int = 200) -> web.Response:
    """A small JSON document."""
    response = web.Response(text=to_json(value), content_type="application/json", status=status)
    set_cache_headers(request, response, etag)
    return response


def to_json(value: Any) -> str:
    """JSON with exact decimals, as the engine writes them. Through a float they would lose digits.

    `json` cannot write a given numeral. So decimals are written as marked strings, and quotes and mark are removed
    afterwards. The mark is random: no publisher's text can contain it.
    """
    mark = secrets.token_hex(8)

    def to_plain(value: Any) -> str:
        if isinstance(value, Decimal):
            return f"{mark}{value.normalize():f}"
        return rfc3339(value) if isinstance(value, datetime) else str(value)

    text = json.dumps(value, ensure_ascii=False, default=to_plain, indent=1)
    return re.sub(rf'"{mark}([-0-9.]+)"', r"\1", text)


def set_cache_headers(request: web.Request, response: web.StreamResponse, etag: str) -> None:
    response.headers.setdefault("Cache-Control", "no-store" if LEFT_OUT in request else "no-cache")
    if etag and LEFT_OUT not in request:
        response.headers["ETag"] = etag
    if READER in request:
        query_seconds = request[READER].query_seconds
        response.headers["Server-Timing"] = (
            f'sql;dur={sum(query_seconds) * 1000:.1f};desc="{len(query_seconds)} queries"'
        )


def make_etag(request: web.Request, snapshot: Snapshot) -> str:
    """The ETag: from the dataset's newest load, the whole address (so query and format), version, start and notice."""
    context = request.app[APP_STATE].context
    state = context.state()
    parts = (state.version, state.started_at, context.notice, request.raw_path, snapshot.seq, snapshot.at)
    return 'W/"' + hashlib.sha256(repr(parts).encode()).hexdigest()[:24] + '"'


def is_unchanged(request: web.Request, etag: str) -> bool:
    """Whether the client already has the response with that ETag."""
    known = [text.strip() for text in request.headers.get("If-None-Match", "").split(",")]
    return "*" in known or etag.removeprefix("W/") in [text.removeprefix("W/") for text in known]


def not_modified_response(etag: str) -> web.Response:
    return web.Response(status=304, headers={"ETag": etag, "Cache-Control": "no-cache"})
