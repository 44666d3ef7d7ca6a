"""`/status`: is everything collected, how late is it, what went wrong, and how feeds and the machinery stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.model.source import Batch
from spotlightd.query import records
from spotlightd.query.errors import HttpProblem
from spotlightd.web import feeds, responses
from spotlightd.web.pages import archive, disk
from spotlightd.web.state import APP_STATE

TROUBLES = 25


@dataclass(frozen=True, slots=True)
class Standing:
    """One source: what it has, what it should have by today, and what its last look brought."""

    name: str
    title: str
    home: str
    datasets: tuple[str, ...]
    suspended: str
    published_at: datetime | None
    newest: str
    loads: int
    due: str
    due_on: date | None
    late: bool
    next: str
    next_on: date | None
    looked_at: datetime | None
    last_outcome: str
    last_error: str


async def show_status(request: web.Request) -> web.StreamResponse:
    """Also while the warehouse does not answer, because then people come here: what the daemon itself knows, and why."""
    context = request.app[APP_STATE].context
    state, blind = context.state(), ""
    standings, troubles = list[Standing](), list[dict[str, Any]]()
    try:
        standings, troubles = await _recorded(request)
    except (StoreError, HttpProblem) as problem:
        blind = f"the warehouse cannot answer: {problem}"
        state = replace(state, problems=(*state.problems, blind))
    values: dict[str, Any] = {
        "sources": standings, "troubles": troubles, "state": state, "day": context.day,
        "judged": context.judged_on is not None, "blind": blind, "streams": bool(context.streams or state.feeds),
        "feeds": feeds.feeds(state, {one.name: one.title for one in context.streams}), "drains": feeds.drains(state),
        "disks": context.disks(), "tags": disk.TAGS, "archive": archive.summary(context.archive()),
    }  # fmt: skip
    if request.path.endswith(".json"):
        del values["tags"]
        del values["archive"]
        plain = {
            **values, "disks": disk.told(values["disks"]), "archive": archive.told(context.archive()), "sources": [asdict(one) for one in standings], "state": asdict(state),
            "feeds": feeds.feeds_told(values["feeds"]), "drains": feeds.drains_told(values["drains"]),
        }  # fmt: skip
        return responses.document(request, plain)
    return responses.page(request, "status.html", values | {"trouble": ",".join(records.TROUBLE)})


async def _recorded(request: web.Request) -> tuple[list[Standing], list[dict[str, Any]]]:
    """How the sources stand and what went wrong lately, from the warehouse's records."""
    context = request.app[APP_STATE].context
    reader = responses.reader(request)
    successes, looks, troubles = await reader.all(
        records.successes(), records.last_looks(reader.now()), records.troubles(TROUBLES, reader.now())
    )
    had = {row[0]: row[1:] for row in successes.rows}
    looked = {row[0]: row[1:] for row in looks.rows}
    standings = [_standing(one, had.get(one.name), looked.get(one.name), context.day) for one in context.sources]
    return standings, troubles.dicts()


def _standing(source: Batch, had: Any, looked: Any, day: date) -> Standing:
    published_at, covers, loads = had or (None, (), 0)
    at, outcome, error = looked or (None, "", "")
    now, coming = (None, None) if source.suspended else (source.expected(day), source.next_due(day))
    return Standing(
        source.name, source.title, source.home, tuple(one.name for one in source.datasets), source.suspended,
        published_at, max(covers, default=""), loads,
        now.covers if now else "", now.due if now else None, bool(now) and not covered(now.covers, covers) if now else False,
        coming.covers if coming else "", coming.due if coming else None, at, outcome, error,
    )  # fmt: skip


def covered(wanted: str, have: Iterable[str]) -> bool:
    """Whether a slice is there: itself, or a coarser one that holds it."""
    return any(wanted == one or wanted.startswith(f"{one}/") for one in have)
