"""`/swaps/{publisher}/{regime}/{trade}`: the life of one trade, message by message, each with its line.

The trade may be named by any of its messages: the page of another message than the first leads to that of the trade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from aiohttp import web

from spotlightd.datasets.swap_trades import lives, swap_roots, swap_steps, swap_trades
from spotlightd.datasets.swaps import swaps
from spotlightd.model.dataset import Dataset
from spotlightd.query import filters
from spotlightd.query.errors import not_found
from spotlightd.query.select import Query
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition
from spotlightd.web import degraded, responses
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE
from spotlightd.web.swaps.timeline import Step, make_steps

MOST_MESSAGES = 1_000
MOST_CHARACTERS = 100
MOST_IN_FILTER = 100
SCOPE = "publisher = {publisher:String} AND regime = {regime:String}"
TRADE = f"{SCOPE} AND root_id = {{trade:String}}"


@dataclass(frozen=True, slots=True)
class Life:
    """A trade: its row of `swap_trades`, None until it is computed, and its messages, the oldest first."""

    publisher: str
    regime: str
    root: str
    trade: Mapping[str, Any] | None
    steps: tuple[Step, ...]
    has_more: bool

    def describe_state(self, day: date) -> str:
        """What became of the trade, in one or two sentences."""
        if self.trade is None:
            return "The life of this trade is still being put together; its messages so far are below."
        last = self.trade["last_event_at"]
        sentences = {
            "live": "By its messages the trade is live.",
            "ended": f"The trade was ended on {last:%Y-%m-%d}, before or on its last day, by a message.",
            "withdrawn": "The trade was withdrawn: the report says that it should never have been made.",
        }
        sentence = sentences[self.trade["last_state"]]
        expiration = self.trade["expiration_date"]
        if self.trade["last_state"] == "live" and expiration and expiration < day:
            sentence += f" But its last day was {expiration}, and most swaps end on their last day without a message."
        if self.trade["state"] == "root unknown":
            sentence += " Its first message is not here: it is older than the publisher's files, or not collected yet."
        return sentence + (" Its messages point to each other in a circle." if self.trade["is_cyclic"] else "")

    def rows_address(self, suffix: str, as_of: str) -> str:
        """The first hundred of its messages, as a table or a file."""
        ids = ",".join(step.values["message_id"] for step in self.steps[:MOST_IN_FILTER])
        pairs = [("publisher", self.publisher), ("regime", self.regime), ("message_id__in", ids)]
        return format_address(f"/data/{swaps.name}{suffix}", pairs, as_of=as_of)


async def show_life(request: web.Request) -> web.StreamResponse:
    """The page, by two statements: the snapshot, and everything that is known of the trade."""
    place = {name: request.match_info[name] for name in ("publisher", "regime", "trade")}
    context, as_of = request.app[APP_STATE].context, request.query.get("as_of", "")
    if swaps not in context.datasets or any(len(text) > MOST_CHARACTERS for text in place.values()):
        raise _unknown_trade(place)
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, filters.parse_as_of("as_of", as_of))
    etag = responses.make_etag(request, snapshot)
    if responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    roots, trades, messages = await reader.together(*life_queries(place, snapshot))
    if root := next((row[0] for row in roots.rows if row[0] != place["trade"]), ""):
        raise web.HTTPSeeOther(format_address(("swaps", place["publisher"], place["regime"], root), as_of=as_of))
    if not messages.rows and not trades.rows:
        raise _unknown_trade(place)
    rows = messages.dicts()
    life = Life(
        place["publisher"],
        place["regime"],
        place["trade"],
        next(iter(trades.dicts()), None),
        make_steps(rows[:MOST_MESSAGES]),
        has_more=len(rows) > MOST_MESSAGES,
    )
    columns = {column.name: column for column in swap_trades.columns}
    values = {"snapshot": snapshot, "life": life, "dataset": swap_trades, "columns": columns, "messages": swaps}
    values["sentence"] = life.describe_state(snapshot.as_of.date() if snapshot.as_of else context.day)
    return responses.render_page(request, "swap.html", values, etag=etag)


def _unknown_trade(place: Mapping[str, str]) -> Exception:
    return not_found(
        f"No message {place['trade'][:MOST_CHARACTERS]!r} of {place['publisher'][:20]!r} under rules of {place['regime'][:20]!r} is here.",
        "Look for it in /data/swaps; a file that is not collected yet may hold it: /status shows what is.",
    )


def life_queries(place: Mapping[str, str], snapshot: Snapshot) -> tuple[Query, Query, Query]:
    """The trade of a message that is not the first, the row of a trade, and its messages with their documents."""
    params = {"seq": snapshot.seq, **place}
    is_computed = swap_trades.name in snapshot.published
    roots = f"SELECT root_id FROM {table_expression(swap_roots, snapshot)} WHERE {SCOPE} AND message_id = {{trade:String}} LIMIT 1"
    trades = f"SELECT {_list_columns(swap_trades)} FROM {table_expression(swap_trades, snapshot)} WHERE {TRADE} LIMIT 1"
    ids = "SELECT {trade:String}"
    if is_computed:
        ids += f" UNION ALL SELECT message_id FROM {table_expression(swap_steps, snapshot)} WHERE {TRADE}"
    documents = f"SELECT load_id, document FROM loads WHERE dataset = '{swaps.name}' AND seq <= {{seq:UInt64}}"
    messages = (
        f"SELECT {_list_columns(swaps)}, member, line, _load.document AS document FROM {table_expression(swaps, snapshot)} "
        f"LEFT ANY JOIN ({documents}) AS _load ON swaps.load_id = _load.load_id "
        f"WHERE {visible_condition(swaps)} AND {SCOPE} AND message_id IN ({ids}) "
        f"ORDER BY {lives.at}, length(message_id), message_id LIMIT {MOST_MESSAGES + 1:d}"
    )
    nothing = "SELECT '' AS root_id WHERE 0"
    statements = (roots if is_computed else nothing, trades if is_computed else nothing, messages)
    first, second, third = (Query(sql, params) for sql in statements)
    return first, second, third


def _list_columns(dataset: Dataset) -> str:
    return ", ".join(f"`{column.name}`" for column in dataset.columns)


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page reads archived rows of the dataset."""
    return dataset == swaps


ROUTES: Sequence[Route] = (
    Route("/swaps/{publisher}/{regime}/{trade}", degraded.with_fallback(show_life, reads_archived)),
)
