"""`/logs`: the daemon's log, newest first, with filters and full text, page by page; the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from spotlightd.datasets.system import logs
from spotlightd.log import EVENTS
from spotlightd.query import log_filters
from spotlightd.query.key import join_key
from spotlightd.query.log_filters import LEVELS, LINES, SPANS, LogQuestion
from spotlightd.query.values import format_address, rfc3339
from spotlightd.web import formatting, responses
from spotlightd.web.parts.row_pages import remove_parameters
from spotlightd.web.routes import Nav, Route
from spotlightd.web.state import APP_STATE

TAGS = {"warning": "amber", "error": "red", "critical": "red", "info": "", "debug": ""}
LONG_TEXT = 160
MAIN_FIELDS = ("error", "detail", "says")  # shown first, and never folded away
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event. A long one is folded, in lines of its own."""

    name: str
    text: str
    is_long: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One event as the page shows it. `row` has the table's columns; `address` is the page of the row."""

    row: Mapping[str, Any]
    tag: str
    fields: tuple[Field, ...]
    address: str


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, newest first, and the addresses of the pages beside it, empty when there is none."""

    rows: tuple[dict[str, Any], ...]
    newer: str = ""
    older: str = ""


async def show_logs(request: web.Request) -> web.StreamResponse:
    now = datetime.now(UTC)
    question = log_filters.parse_log_question(request.query, now)
    reader = responses.get_reader(request)
    rows = (await reader.rows(log_filters.select_lines(question, LINES, reader.current()))).dicts()
    pairs = [(name, text) for name, text in request.query.items() if text.strip()]
    page = _cut_page(request.path, question, rows, pairs)
    if request.path.endswith(".json"):
        return responses.json_response(request, _to_json(question, page))
    values = {
        "question": question,
        "page": page,
        "lines": [_make_line(row) for row in page.rows],
        "chips": _make_chips(question, pairs),
        **_form_values(request, question),
        **_link_values(question, pairs, now),
    }
    return responses.render_page(request, "logs.html", values)


def _form_values(request: web.Request, question: LogQuestion) -> dict[str, Any]:
    """What the lists of the form offer."""
    context = request.app[APP_STATE].context
    flows = (flow.name for flow in context.state().flows)
    sources = [*(source.name for source in context.sources), *(stream.name for stream in context.streams)]
    return {
        "levels": LEVELS,
        "spans": tuple(SPANS),
        "events": _choices(EVENTS, question.event),
        "flows": _choices(flows, question.flow),
        "sources": _choices(sources, question.source),
    }


def _choices(known: Iterable[str], chosen: str) -> list[str]:
    """What is known now, and what was chosen: that may no longer exist."""
    return sorted({*known, chosen} - {""})


def _link_values(question: LogQuestion, pairs: Pairs, now: datetime) -> dict[str, Any]:
    return {
        "only": lambda name, text: format_address(
            "/logs", [*remove_parameters(pairs, name, "before", "after"), (name, text)]
        ),
        "span_before": _span_before(question, pairs),
        "span_after": _span_after(question, pairs, now),
        "newest": format_address("/logs", remove_parameters(pairs, "before", "after", "until")),
        "json_address": format_address("/logs.json", pairs),
    }


def _cut_page(path: str, question: LogQuestion, rows: list[dict[str, Any]], pairs: Pairs) -> Page:
    has_more, rows = len(rows) > LINES, rows[:LINES]
    if not rows:
        return Page(())
    if question.after is not None:
        rows.reverse()
    has_newer = question.before is not None if question.after is None else has_more
    has_older = has_more if question.after is None else True
    others = remove_parameters(pairs, "before", "after")
    return Page(
        tuple(rows),
        format_address(path, [*others, ("after", log_filters.row_mark(rows[0]))]) if has_newer else "",
        format_address(path, [*others, ("before", log_filters.row_mark(rows[-1]))]) if has_older else "",
    )


def _span_before(question: LogQuestion, pairs: Pairs) -> str:
    """The address of the span before this one."""
    others = remove_parameters(pairs, "before", "after", "until")
    return format_address("/logs", [*others, ("until", rfc3339(question.since))])


def _span_after(question: LogQuestion, pairs: Pairs, now: datetime) -> str:
    """The address of the span after this one; empty when that is in the future."""
    if not question.has_until:
        return ""
    others = remove_parameters(pairs, "before", "after", "until")
    until = question.until + SPANS[question.span]
    return format_address("/logs", [*others, ("until", rfc3339(until))] if until < now else others)


def _make_chips(question: LogQuestion, pairs: Pairs) -> list[tuple[str, str]]:
    """The filters that the form does not show, in words, each with the address without it."""
    hidden = (("load", question.load), ("run", question.run), ("request", question.request))
    chips = [(f"{name} {text}", name) for name, text in hidden if text]
    if question.has_until:
        chips.append((f"until {formatting.format_instant(question.until)}", "until"))
    return [(text, format_address("/logs", remove_parameters(pairs, name, "before", "after"))) for text, name in chips]


def _make_line(row: Mapping[str, Any]) -> Line:
    values = sorted(_parse_fields(row["fields"]).items(), key=_main_fields_first)
    address = format_address(("data", logs.name, join_key([row[name] for name in logs.key])))
    return Line(row, TAGS.get(row["level"], ""), tuple(_make_field(name, value) for name, value in values), address)


def _parse_fields(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    return fields if isinstance(fields, dict) else {"fields": text}


def _main_fields_first(field: tuple[str, Any]) -> tuple[bool, bool]:
    name, value = field
    return name not in MAIN_FIELDS, len(str(value)) > LONG_TEXT


def _make_field(name: str, value: Any) -> Field:
    plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "\n".join(formatting.show_controls(line) for line in plain.splitlines()) if plain else formatting.EMPTY
    return Field(name, text, "\n" in text or (len(text) > LONG_TEXT and name not in MAIN_FIELDS))


def _to_json(question: LogQuestion, page: Page) -> dict[str, Any]:
    rows = [{**row, "fields": _parse_fields(row["fields"])} for row in page.rows]
    return {
        "since": question.since, "until": question.until, "newer": page.newer or None, "older": page.older or None,
        "rows": rows,
    }  # fmt: skip


ROUTES = (Route("/logs", show_logs), Route("/logs.json", show_logs))
NAV = Nav("Log", "/logs", 50)
