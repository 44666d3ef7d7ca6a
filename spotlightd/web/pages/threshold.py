"""`/threshold`, `/threshold/{date}`: the threshold lists of all markets of a settlement day, side by side."""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from aiohttp import web

from spotlightd.calendars.united_states import LAST_DAY, is_settlement_day, settlement_day_after, settlement_day_before
from spotlightd.datasets.threshold.lists import threshold, threshold_lists
from spotlightd.model.dataset import Dataset
from spotlightd.query import filters
from spotlightd.query.errors import HttpProblem, not_found
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import degraded, responses
from spotlightd.web.parts.parameters import FORMATS, refuse_unknown
from spotlightd.web.parts.threshold_day import ThresholdDay, listed_days_query, read_day, requested_markets
from spotlightd.web.routes import Nav, Route
from spotlightd.web.state import APP_STATE, ExplorerContext

NO_DAY = date(1970, 1, 1)
STATUSES = {
    "list": "list", "empty": "empty list", "empty_or_absent": "empty, or no list", "absent": "no file published",
    "failed": "not fetched, or not readable", "not asked": "not asked for yet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """A day of the calendar. `lists` is the number of markets with a list, None on a day without settlement or later ones."""

    day: date
    is_in_month: bool
    lists: int | None


def has_threshold(context: ExplorerContext) -> bool:
    return threshold in context.datasets


def reads_archived(dataset: Dataset) -> bool:
    return dataset.name in {threshold.name, threshold_lists.name, "runs"}


async def show_newest(request: web.Request) -> web.StreamResponse:
    return await _show(request, None)


async def show_day(request: web.Request) -> web.StreamResponse:
    text = request.match_info["day"]
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise not_found(f"{text!r} is not a date like 2026-07-27.", "/threshold has the newest lists.") from None
    return await _show(request, day)


async def _show(request: web.Request, day: date | None) -> web.StreamResponse:
    refuse_unknown(request, ("as_of",), "This page takes as_of; the tables take filters.")
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(threshold_lists, filters.parse_as_of("as_of", request.query.get("as_of", "")))
    bounds = (await reader.rows(listed_days_query(snapshot))).rows[0] if snapshot.seq else (NO_DAY, NO_DAY, NO_DAY)
    first, newest, newest_list = bounds
    if newest == NO_DAY:
        return _render(request, snapshot, None, {})
    shown = day or (newest if newest_list == NO_DAY else newest_list)
    if not first <= shown <= newest or not is_settlement_day(shown):
        raise _no_lists(shown, first, newest)
    lists = await read_day(reader, shown, first, snapshot)
    return _render(request, snapshot, lists, {
        "is_newest": day is None or shown == newest_list,
        "before": settlement_day_before(shown) if shown > first else None,
        "after": settlement_day_after(shown) if shown < newest else None,
        "weeks": _make_weeks(lists, first, newest),
        "months": _neighbour_months(shown, first, newest),
    })  # fmt: skip


def _render(
    request: web.Request, snapshot: Snapshot, lists: ThresholdDay | None, values: Mapping[str, object]
) -> web.StreamResponse:
    columns = requested_markets(lists.markets) if lists else ()
    reasons = [
        (source.title, source.suspended) for source in request.app[APP_STATE].context.sources
        if source.suspended and threshold_lists in source.datasets
    ]  # fmt: skip
    return responses.render_page(request, "threshold.html", {
        "snapshot": snapshot, "lists": lists, "columns": columns, "dataset": threshold, "statuses": STATUSES,
        "formats": FORMATS, "reasons": reasons, **values,
    })  # fmt: skip


def _no_lists(day: date, first: date, newest: date) -> HttpProblem:
    if first <= day <= min(newest, LAST_DAY):
        neighbours = f"/threshold/{settlement_day_before(day)} and /threshold/{settlement_day_after(day)}"
        return not_found(f"Trades do not settle on {day}, so there are no lists of that day.", f"Look at {neighbours}.")
    return not_found(f"There is no list of {day} here.", f"There are lists from {first} to {newest}.")


def _make_weeks(lists: ThresholdDay, first: date, newest: date) -> list[list[CalendarDay]]:
    """The month of the page's day, in weeks from Monday on."""
    month = lists.day.month

    def make_day(day: date) -> CalendarDay:
        can_have = first <= day <= newest and is_settlement_day(day)
        return CalendarDay(day, day.month == month, lists.known_days.get(day, 0) if can_have else None)

    weeks = calendar.Calendar().monthdatescalendar(lists.day.year, month)
    return [[make_day(day) for day in week] for week in weeks]


def _neighbour_months(day: date, first: date, newest: date) -> Sequence[date | None]:
    """The last settlement day of the month before and the first one of the month after, where there can be lists."""
    before = settlement_day_before(day.replace(day=1))
    after = settlement_day_after(day.replace(day=calendar.monthrange(day.year, day.month)[1]))
    return (before if before >= first else None, after if after <= newest else None)


ROUTES = (
    Route("/threshold", degraded.with_fallback(show_newest, reads_archived)),
    Route("/threshold/{day}", degraded.with_fallback(show_day, reads_archived)),
)
NAV = Nav("Threshold", "/threshold", 14, keeps_as_of=True, is_visible=has_threshold)
