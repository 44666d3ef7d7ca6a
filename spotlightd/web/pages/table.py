"""`/data/{dataset}`: a table with filters, sorting, counts and pages, and the same address as a file in five formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from spotlightd.model.dataset import Column, Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters as ask
from spotlightd.query import records, select
from spotlightd.query.errors import missing
from spotlightd.query.filters import Pairs, Question
from spotlightd.query.key import joined
from spotlightd.query.values import address, rfc3339, written
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import formatting, responses
from spotlightd.web.pages import export
from spotlightd.web.state import APP_STATE

WORDS = {
    "eq": "=", "ne": "≠", "gte": "≥", "gt": ">", "lte": "≤", "lt": "<", "in": "is one of", "between": "between",
    "contains": "contains", "startswith": "starts with", "isnull": "is empty",
}  # fmt: skip


async def show_rows(request: web.Request) -> web.StreamResponse:
    """The table as a page, or all of its rows as a file when the address has a suffix."""
    dataset = responses.dataset(request, request.match_info["name"])
    suffix = _suffix(request)
    pairs = [(name, text) for name, text in request.query.items()]
    if (meant := ask.folded(pairs)) is not None:
        raise web.HTTPSeeOther(address(request.path, meant))
    asked = ask.read(dataset, pairs, most=0 if suffix else _most(request))
    pin = await _pin(request, asked)
    if dataset.made_of and not suffix and not without(pairs, "as_of"):
        await _open_newest(request, dataset, pin)
    mark = responses.etag(request, pin) if dataset.by_load and not dataset.grows else ""
    if mark and responses.unchanged(request, mark):
        return responses.not_modified(mark)
    if suffix == "json" and (asked.size or asked.after):
        return await _json_page(request, ask.read(dataset, pairs, most=_most(request)), pin, mark)
    if suffix:
        return await export.send(request, asked, pin, suffix, mark)
    return await _html(request, asked, pin, pairs, mark)


async def _open_newest(request: web.Request, dataset: Dataset, pin: Snapshot) -> None:
    """A computed table opens with its newest day: all of it would be computed to show the first hundred rows."""
    days = (await responses.reader(request).rows(records.stream_size(dataset, pin))).rows[0][-1]
    if days:
        since = f"{days.replace('/', '-')}T00:00:00Z"
        as_of = request.query.get("as_of", "")
        raise web.HTTPSeeOther(address(request.path, [(f"{dataset.time}__gte", since)], as_of=as_of))


def _most(request: web.Request) -> int:
    return request.app[APP_STATE].context.settings.page_rows


def _suffix(request: web.Request) -> str:
    suffix = request.match_info["suffix"].removeprefix(".")
    if suffix and suffix not in export.OUTPUTS:
        raise missing(f"There is no format .{suffix}.", f"There are {', '.join('.' + one for one in export.OUTPUTS)}.")
    return suffix


async def _pin(request: web.Request, asked: Question) -> Snapshot:
    if not asked.dataset.by_load:
        return responses.reader(request).now()
    return await responses.reader(request).pin(asked.dataset, asked.as_of)


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[dict[str, Any]]
    next: str


def _cut(asked: Question, answer: Answer, size: int) -> _Page:
    """The rows of this page, and the mark where the next one begins, if there is one."""
    rows = answer.dicts()
    more = len(rows) > size
    rows = rows[:size]
    return _Page(rows, ask.cursor(ask.sorted_as(asked), rows[-1]) if more else "")


async def _json_page(request: web.Request, asked: Question, pin: Snapshot, mark: str) -> web.Response:
    size = asked.size or ask.DEFAULT_SIZE
    page = _cut(asked, await responses.reader(request).rows(select.page(asked, pin, size)), size)
    rows = [{column.name: _finite(row[column.name]) for column in asked.shown} for row in page.rows]
    following = _following(request, page, pin)
    answer = responses.document(
        request, {**export.described(asked, pin), "rows": rows, "next": following or None}, etag=mark
    )
    return _linked(answer, following)


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no NaN; the engine writes null, and so do we."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _following(request: web.Request, page: _Page, pin: Snapshot) -> str:
    """The address of the next page: of the same state, whatever is published while a reader walks on."""
    if not page.next:
        return ""
    bare = without(list(request.query.items()), "_next", "as_of")
    kept = request.query.get("as_of") or (rfc3339(pin.at) if pin.at else "")
    return address(request.path, [*bare, ("_next", page.next)], as_of=kept)


def _linked(answer: web.Response, following: str) -> web.Response:
    if following:
        answer.headers["Link"] = f'<{following}>; rel="next"'
    return answer


async def _html(request: web.Request, asked: Question, pin: Snapshot, pairs: Pairs, mark: str) -> web.Response:
    size = asked.size or ask.DEFAULT_SIZE
    queries = [select.page(asked, pin, size), select.count(asked, pin)]
    queries += [select.facet(asked, column, pin) for column in asked.facets]
    rows, counted, *facets = await responses.reader(request).all(*queries)
    page = _cut(asked, rows, size)
    following = _following(request, page, pin)
    values = {
        "dataset": asked.dataset,
        "asked": ask.sorted_as(asked),
        "chosen_sort": asked.sort,
        "pin": pin,
        "columns": asked.shown,
        "rows": page.rows,
        "key_of": lambda row: joined([row[name] for name in asked.dataset.key]),
        "total": counted.rows[0][0],
        "size": size,
        "facets": [_facet(column, found, pairs) for column, found in zip(asked.facets, facets, strict=True)],
        "following": following,
        "operators": WORDS,
        "given": without(pairs, "_next"),
        "chips": _chips(request, asked, pairs),
        "downloads": {one: _download(asked.dataset, one, pairs) for one in export.OUTPUTS},
        "facetable": [c for c in asked.dataset.columns if c.kind in ("text", "bool", "date")],
        "here": f"{request.scheme}://{request.host}",
        "turned": lambda column: _turned(request, asked, column, pairs),
        "counted_by": lambda column: address(request.path, with_one(pairs, "_facet", column.name)),
    }
    return _linked(responses.page(request, "data.html", values, etag=mark), following)


def without(pairs: Pairs, *names: str) -> list[tuple[str, str]]:
    return [(name, text) for name, text in pairs if name not in names]


def with_one(pairs: Pairs, name: str, text: str) -> list[tuple[str, str]]:
    """The pairs with one parameter set anew; the page begins again from its first row."""
    return [*without(pairs, name, "_next"), (name, text)]


def _turned(request: web.Request, asked: Question, column: Column, pairs: Pairs) -> str:
    """Where a column's heading leads: sorted by it, largest first, then the other way round."""
    now = ask.sorted_as(asked)
    falling = now.sort == column and now.descending
    bare = without(pairs, "_sort", "_sort_desc", "_next")
    return address(request.path, [*bare, ("_sort" if falling else "_sort_desc", column.name)])


def _download(dataset: Dataset, suffix: str, pairs: Pairs) -> str:
    return address(f"/data/{dataset.name}.{suffix}", without(pairs, "_next", "_size", "_facet"))


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, in words, and the address without it."""

    says: str
    off: str


def _chips(request: web.Request, asked: Question, pairs: Pairs) -> list[Chip]:
    chips = []
    filters = [(name, text) for name, text in pairs if name not in ask.OURS]
    for given, one in zip(filters, asked.conditions, strict=True):
        rest = [pair for pair in pairs if pair != given and pair[0] != "_next"]
        chips.append(Chip(_in_words(one), address(request.path, rest)))
    if asked.document:
        says = f"from document {asked.document[:12]}…"
        chips.append(Chip(says, address(request.path, without(pairs, "_document", "_next"))))
    return chips


def _in_words(one: ask.Condition) -> str:
    if one.operator == "isnull":
        return f"{one.column.name} is {'empty' if one.values[0] == '1' else 'not empty'}"
    between = " and " if one.operator == "between" else ", "
    return f"{one.column.name} {WORDS[one.operator]} {formatting.visible(between.join(one.values)) or '(nothing)'}"


@dataclass(frozen=True, slots=True)
class FacetValue:
    value: Any
    rows: int
    address: str


@dataclass(frozen=True, slots=True)
class Facet:
    column: Column
    values: Sequence[FacetValue]
    more: bool


def _facet(column: Column, found: Answer, pairs: Pairs) -> Facet:
    values = [FacetValue(value, rows, _only(column, value, pairs)) for value, rows in found.rows[: select.FACET_ROWS]]
    return Facet(column, values, len(found.rows) > select.FACET_ROWS)


def _only(column: Column, value: Any, pairs: Pairs) -> str:
    """The address of the rows with that value alone."""
    text = written(value)
    name = f"{column.name}__isnull" if text is None else column.name
    return address("", with_one(pairs, name, "1" if text is None else text))


async def schema(request: web.Request) -> web.Response:
    """What the dataset is, for machines: columns with types, units and meanings; key; rhythm; cautions."""
    dataset = responses.dataset(request, request.match_info["name"])
    columns = [
        {"name": c.name, "type": c.type, "kind": c.kind, "nullable": c.nullable, "unit": c.unit, "meaning": c.meaning,
         "filters": [word for word, kinds in ask.OPERATORS.items() if c.kind in kinds]}
        for c in dataset.columns
    ]  # fmt: skip
    return responses.document(request, {
        "name": dataset.name, "title": dataset.title, "publisher": dataset.publisher, "about": dataset.about,
        "notes": list(dataset.notes), "licence": dataset.licence, "rhythm": dataset.rhythm.says, "key": list(dataset.key),
        "time": dataset.time, "symbol": dataset.symbol or None, "columns": columns,
        "formats": {suffix: f"/data/{dataset.name}.{suffix}" for suffix in export.OUTPUTS},
    })  # fmt: skip
