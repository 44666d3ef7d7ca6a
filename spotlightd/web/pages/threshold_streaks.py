"""`/threshold/streaks`: the securities that were on a threshold list for longest, those that still are first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from aiohttp import web

from spotlightd.datasets.threshold.streaks import on_newest_lists, select_streaks, threshold_streaks
from spotlightd.query import filters
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, table_expression
from spotlightd.turns import HEAVY
from spotlightd.web import degraded, responses
from spotlightd.web.pages.threshold import reads_archived
from spotlightd.web.parts.parameters import FORMATS, read_choice, refuse_unknown
from spotlightd.web.parts.threshold_day import ALL_MARKETS
from spotlightd.web.routes import Route
from spotlightd.web.state import KIND

MOST_STREAKS = 200
STATES = ("open", "closed", "unknown")
COLUMNS = (
    "market, symbol, security_name, rule, state, first_day, last_day, days, entered_after, left_on, unknown_before, "
    "unknown_within, unknown_after"
)


async def show_streaks(request: web.Request) -> web.StreamResponse:
    """The longest streaks of a market and a state. Closed ones are found by reading all lists."""
    state, market = read_choice(request, "state", STATES) or "open", read_choice(request, "market", ALL_MARKETS)
    refuse_unknown(request, ("state", "market", "as_of"))
    if state != "open":
        request[KIND] = HEAVY
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(threshold_streaks, filters.parse_as_of("as_of", request.query.get("as_of", "")))
    etag = responses.make_etag(request, snapshot)
    if responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    rows = (await reader.rows(streaks_query(state, market, snapshot))).dicts() if snapshot.seq else []
    pairs = {"state": state, **({"market": market} if market else {})}
    return responses.render_page(request, "threshold_streaks.html", {
        "snapshot": snapshot, "streaks": rows, "pairs": pairs, "state": state, "market": market, "states": STATES,
        "markets": ALL_MARKETS, "dataset": threshold_streaks, "shown": MOST_STREAKS, "formats": FORMATS,
        "newest": max((row["last_day"] for row in rows), default=date.min),
    }, etag=etag)  # fmt: skip


def streaks_query(state: str, market: str, snapshot: Snapshot) -> Query:
    """The longest streaks. Open ones are of securities that are on the newest list of a market."""
    conditions = ["state = {state:String}", *(["market = {market:String}"] if market else [])]
    reading = select_streaks(securities=on_newest_lists()) if state == "open" else threshold_streaks.reading
    sql = (
        f"SELECT {COLUMNS} FROM {table_expression(replace(threshold_streaks, reading=reading), snapshot)}"
        f" WHERE {' AND '.join(conditions)}"
        f" ORDER BY days DESC, symbol, market LIMIT {MOST_STREAKS:d}"
    )
    return Query(sql, {"seq": snapshot.seq, "state": state, **({"market": market} if market else {})})


ROUTES = (Route("/threshold/streaks", degraded.with_fallback(show_streaks, reads_archived)),)
