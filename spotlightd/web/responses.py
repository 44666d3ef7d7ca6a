"""What all rooms of the explorer share, and the ways to answer: a page, a JSON document, "nothing new"."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web

from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Limits
from spotlightd.query import log_filters
from spotlightd.query.errors import missing
from spotlightd.query.key import joined
from spotlightd.query.outage import Heeding, Outage
from spotlightd.query.reader import Reader
from spotlightd.query.values import address, rfc3339
from spotlightd.sql.tiers import Archives, WithoutBucket
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import assets, formatting
from spotlightd.web.assets import Asset
from spotlightd.web.state import APP_STATE, MISSING, READER, AppState, ExplorerContext, LeftOut

TEMPLATES = Path(__file__).parent / "templates"


def made(context: ExplorerContext) -> AppState:
    kept, at_once = assets.read(), context.settings.at_once
    outage = Outage(asyncio.Semaphore(max(1, at_once // 2)))
    return AppState(context, kept, _environment(context, kept), asyncio.Semaphore(at_once), outage)


def _environment(context: ExplorerContext, kept: Mapping[str, Asset]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formatting.number, short=formatting.short, cell=formatting.cell, instant=formatting.instant, bytes=formatting.size, days=formatting.days,
        visible=formatting.visible, rfc3339=rfc3339, age=formatting.age,
    )  # fmt: skip
    environment.tests.update(numeric=formatting.numeric)
    environment.globals.update(
        asset=lambda name: assets.address(kept, name),
        address=address,
        row_key=joined,
        log_of=log_filters.of_load,
        notice=context.notice,
        streams=bool(context.streams),
    )
    return environment


def reader(request: web.Request) -> Reader:
    """The request's reader; made once, so that Server-Timing sees all of its queries."""
    if READER not in request:
        desk = request.app[APP_STATE]
        limits = desk.context.settings
        request[READER] = Reader(
            desk.context.warehouse,
            Limits(seconds=limits.query_seconds, memory_bytes=limits.query_memory_bytes),
            desk.gate,
            patience_seconds=max(limits.query_seconds, 1.0),
            archives=_archives(request),
            outage=desk.outage,
        )
    return request[READER]


def _archives(request: web.Request) -> Archives:
    desk = request.app[APP_STATE]
    index = desk.context.archives
    return WithoutBucket(index) if MISSING in request else Heeding(index, desk.outage)


def archive_answered(request: web.Request) -> None:
    """Of a question that no Reader asked: the archive is not away, if it was asked."""
    archives = reader(request).archives
    if isinstance(archives, Heeding) and archives.tries:
        request.app[APP_STATE].outage.over()


def without_archive(request: web.Request, missing: LeftOut) -> None:
    """From here on the request reads what is in the warehouse, and its page says what is missing."""
    request[MISSING] = missing
    request.pop(READER, None)


def reads_html(request: web.Request) -> bool:
    last = request.path.rpartition("/")[2].rpartition(".")
    if last[1] and last[2] in ("json", "csv", "parquet", "arrow", "ndjson"):
        return False
    return "text/html" in request.headers.get("Accept", "text/html") or "json" not in request.headers.get("Accept", "")


def dataset(request: web.Request, name: str) -> Dataset:
    """The dataset of that name. 404 lists those that exist."""
    known = request.app[APP_STATE].context.datasets
    for one in known:
        if one.name == name:
            return one
    raise missing(f"There is no dataset {name!r}.", f"There are {', '.join(one.name for one in known)}.")


def page(
    request: web.Request, template: str, values: Mapping[str, Any], *, etag: str = "", status: int = 200
) -> web.Response:
    """A rendered page. Pages are always asked for anew; with an ETag the question costs one small query."""
    desk = request.app[APP_STATE]
    state = desk.context.state()
    asked = request.query.get("as_of", "")
    text = desk.templates.get_template(template).render(
        {
            "path": request.rel_url.raw_path,
            "as_of": asked,
            "link": _keeping(asked),
            "kept": _permanent(request, values.get("pin")),
            "version": state.version,
            "missing": request.get(MISSING),
            **values,
        }
    )
    answer = web.Response(text=text, content_type="text/html", status=status)
    finish(request, answer, etag)
    answer.enable_compression()
    return answer


def _keeping(as_of: str) -> Any:
    """Addresses made on a page that looks at an earlier time keep looking at that time."""

    def link(path: str, pairs: Any = (), **more: Any) -> str:
        return address(path, pairs, **more, as_of=as_of)

    return link


def _permanent(request: web.Request, pin: Snapshot | None) -> str:
    """The address that will always show what this page shows now."""
    if pin is None or pin.at is None:
        return ""
    pairs = [(name, text) for name, text in request.query.items() if name not in ("as_of", "_next")]
    return request.rel_url.raw_path + address("", pairs, as_of=rfc3339(pin.at))


def document(request: web.Request, value: Any, *, etag: str = "", status: int = 200) -> web.Response:
    """A small JSON answer."""
    answer = web.Response(text=written(value), content_type="application/json", status=status)
    finish(request, answer, etag)
    return answer


def written(value: Any) -> str:
    """JSON with exact decimals, as the engine writes them: through a float they would lose digits.

    `json` has no way to write a numeral, so decimals go through as marked texts and lose quotes and mark afterwards.
    The mark is random: no text of a publisher can bear it.
    """
    mark = secrets.token_hex(8)

    def plain(one: Any) -> str:
        if isinstance(one, Decimal):
            return f"{mark}{one.normalize():f}"
        return rfc3339(one) if isinstance(one, datetime) else str(one)

    text = json.dumps(value, ensure_ascii=False, default=plain, indent=1)
    return re.sub(rf'"{mark}([-0-9.]+)"', r"\1", text)


def finish(request: web.Request, answer: web.StreamResponse, etag: str) -> None:
    answer.headers.setdefault("Cache-Control", "no-store" if MISSING in request else "no-cache")
    if etag and MISSING not in request:
        answer.headers["ETag"] = etag
    if READER in request:
        spent = request[READER].spent
        answer.headers["Server-Timing"] = f'sql;dur={sum(spent) * 1000:.1f};desc="{len(spent)} queries"'


def etag(request: web.Request, pin: Snapshot) -> str:
    """The mark of an answer: dataset's newest load, whole address (and so query and format), version, start, notice."""
    context = request.app[APP_STATE].context
    state = context.state()
    parts = (state.version, state.started_at, context.notice, request.raw_path, pin.seq, pin.at)
    return 'W/"' + hashlib.sha256(repr(parts).encode()).hexdigest()[:24] + '"'


def unchanged(request: web.Request, mark: str) -> bool:
    """Whether the reader already has what bears that mark."""
    given = [one.strip() for one in request.headers.get("If-None-Match", "").split(",")]
    return "*" in given or mark.removeprefix("W/") in [one.removeprefix("W/") for one in given]


def not_modified(mark: str) -> web.Response:
    return web.Response(status=304, headers={"ETag": mark, "Cache-Control": "no-cache"})
