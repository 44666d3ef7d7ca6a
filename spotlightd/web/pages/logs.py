"""`/logs`: what the daemon said, newest first, with filters and full text, page by page; the same as JSON."""

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
from spotlightd.query.key import joined
from spotlightd.query.log_filters import LEVELS, LINES, SPANS, Wanted
from spotlightd.query.values import address, rfc3339
from spotlightd.web import formatting, responses
from spotlightd.web.state import APP_STATE

TAGS = {"warning": "amber", "error": "red", "critical": "red", "info": "", "debug": ""}
LONG_TEXT = 160
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that was said beside the event. `long`: it is shown in lines of its own."""

    name: str
    says: str
    long: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One event as the page shows it. `row` has the table's columns; `place` is the address of the row itself."""

    row: Mapping[str, Any]
    tag: str
    fields: tuple[Field, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, newest first, and the addresses before and behind it; empty when there is nothing."""

    rows: tuple[dict[str, Any], ...]
    newer: str = ""
    older: str = ""


async def show_logs(request: web.Request) -> web.StreamResponse:
    now = datetime.now(UTC)
    wanted = log_filters.read(request.query, now)
    reader = responses.reader(request)
    found = (await reader.rows(log_filters.lines(wanted, LINES, reader.now()))).dicts()
    pairs = [(name, text) for name, text in request.query.items() if text.strip()]
    page = _page(request.path, wanted, found, pairs)
    if request.path.endswith(".json"):
        return responses.document(request, _told(wanted, page))
    context = request.app[APP_STATE].context
    values = {
        "wanted": wanted, "page": page, "lines": [_line(one) for one in page.rows], "levels": LEVELS, "spans": tuple(SPANS),
        "events": sorted(EVENTS | ({wanted.event} - {""})),
        "flows": _choice((one.name for one in context.state().flows), wanted.flow),
        "sources": _choice([*(one.name for one in context.sources), *(one.name for one in context.streams)], wanted.source),
        "only": lambda name, text: address("/logs", [*_without(pairs, name, "before", "after"), (name, text)]),
        "longer": _neighbour(wanted, pairs, "before"), "later": _neighbour(wanted, pairs, "after", now),
        "newest": address("/logs", _without(pairs, "before", "after", "until")),
        "json": address("/logs.json", pairs), "chips": _chips(wanted, pairs),
    }  # fmt: skip
    return responses.page(request, "logs.html", values)


def _page(path: str, wanted: Wanted, found: list[dict[str, Any]], pairs: Pairs) -> Page:
    more, found = len(found) > LINES, found[:LINES]
    if wanted.after is not None:
        found.reverse()
    bare = _without(pairs, "before", "after")
    if not found:
        return Page(())
    newer = wanted.before is not None if wanted.after is None else more
    older = more if wanted.after is None else True
    return Page(
        tuple(found),
        address(path, [*bare, ("after", log_filters.mark_of(found[0]))]) if newer else "",
        address(path, [*bare, ("before", log_filters.mark_of(found[-1]))]) if older else "",
    )


def _neighbour(wanted: Wanted, pairs: Pairs, side: str, now: datetime | None = None) -> str:
    """The address of the span before this one, or after it; empty when that would be the future."""
    bare = _without(pairs, "before", "after", "until")
    if side == "before":
        return address("/logs", [*bare, ("until", rfc3339(wanted.since))])
    until = wanted.until + SPANS[wanted.span]
    if not wanted.given:
        return ""
    return address("/logs", [*bare, ("until", rfc3339(until))] if now and until < now else bare)


def _choice(known: Iterable[str], chosen: str) -> list[str]:
    """What a list offers: what is known now, and what was chosen, which may have gone since."""
    return sorted({*known, chosen} - {""})


def _chips(wanted: Wanted, pairs: Pairs) -> list[tuple[str, str]]:
    """The filters that no field of the form shows: what they say, and the address without them."""
    shown = (("load", wanted.load), ("run", wanted.run), ("request", wanted.request))
    chips = [(f"{name} {text}", name) for name, text in shown if text]
    if wanted.given:
        chips.append((f"until {formatting.instant(wanted.until)}", "until"))
    return [(says, address("/logs", _without(pairs, name, "before", "after"))) for says, name in chips]


def _without(pairs: Pairs, *names: str) -> list[tuple[str, str]]:
    return [(name, text) for name, text in pairs if name not in names]


def _line(row: Mapping[str, Any]) -> Line:
    told = _fields(row["fields"])
    place = address(("data", logs.name, joined([row[name] for name in logs.key])))
    shown = tuple(_field(name, value) for name, value in sorted(told.items(), key=_first_things_first))
    return Line(row, TAGS.get(row["level"], ""), shown, place)


def _fields(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"fields": text}


def _first_things_first(field: tuple[str, Any]) -> tuple[bool, bool]:
    name, value = field
    return name not in ("error", "says"), len(str(value)) > LONG_TEXT


def _field(name: str, value: Any) -> Field:
    says = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "\n".join(formatting.visible(one) for one in says.splitlines()) if says else formatting.EMPTY
    return Field(name, text, "\n" in text or (len(text) > LONG_TEXT and name not in ("error", "says")))


def _told(wanted: Wanted, page: Page) -> dict[str, Any]:
    return {
        "since": wanted.since, "until": wanted.until, "newer": page.newer or None, "older": page.older or None,
        "rows": [{**row, "fields": _fields(row["fields"])} for row in page.rows],
    }  # fmt: skip
