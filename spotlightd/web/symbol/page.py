"""`/s/{symbol}`: one symbol: its price by the minute, and each dataset day by day, as charts and tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from aiohttp import web

from spotlightd.datasets import system
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters, measures
from spotlightd.query.errors import HttpProblem, bad_parameter, not_found
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import degraded, responses
from spotlightd.web.routes import NAME, Route
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol import price
from spotlightd.web.symbol.panel import Panel, day_address, find_shared_days

LONGEST_SYMBOL = 40
PARAMETERS = ("as_of", "window", "until")


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page of a symbol reads archived rows of the dataset."""
    return dataset.by_load or dataset == system.gaps


async def show_symbol(request: web.Request) -> web.StreamResponse:
    symbol, as_of = request.match_info["symbol"], request.query.get("as_of", "")
    _check_address(request, symbol)
    question = price.read_question(request)
    snapshot = await responses.get_reader(request).snapshot(None, filters.parse_as_of("as_of", as_of))
    prices = await price.read_prices(request, symbol, question, snapshot)
    etag = "" if prices else responses.make_etag(request, snapshot)
    if etag and responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    panels = await _read_panels(request, symbol, snapshot, as_of)
    if not panels and not prices:
        raise _unknown_symbol(symbol, snapshot)
    values = {"symbol": symbol, "panels": panels, "prices": prices, "snapshot": snapshot}
    return responses.render_page(request, "symbol.html", values, etag=etag)


def _check_address(request: web.Request, symbol: str) -> None:
    if len(symbol) > LONGEST_SYMBOL:
        raise not_found(
            f"{symbol[:LONGEST_SYMBOL]!r}… is not a symbol: a symbol has at most {LONGEST_SYMBOL} characters.",
            "Search for the company.",
        )
    if unknown := [name for name in request.query if name not in PARAMETERS]:
        raise bad_parameter(
            unknown[0],
            "there is no such parameter",
            "A symbol page takes as_of, window and until; the table takes filters.",
        )


async def _read_panels(request: web.Request, symbol: str, snapshot: Snapshot, as_of: str) -> list[Panel]:
    datasets = measures.daily_datasets(request.app[APP_STATE].context.datasets)
    make_queries = (measures.daily_series, measures.symbol_titles, measures.superseded_amounts)
    answers = await responses.get_reader(request).all(
        *(make_query(dataset, symbol, snapshot) for dataset in datasets for make_query in make_queries)
    )
    panels = [
        _make_panel(dataset, symbol, answers[3 * index : 3 * index + 3], as_of)
        for index, dataset in enumerate(datasets)
    ]
    return [panel for panel in panels if panel.rows or panel.before]


def _make_panel(dataset: Dataset, symbol: str, answers: Sequence[Answer], as_of: str) -> Panel:
    series, titles, superseded = answers
    before: dict[tuple[date, str], list[Any]] = {}
    for day, cusip, amount in superseded.rows:
        before.setdefault((day, cusip), []).insert(0, amount)
    names = tuple((name, cusip, day) for name, cusip, day, _ in titles.rows)
    shared = find_shared_days(series.rows)
    return Panel(dataset, symbol, as_of, measures.find_measure(dataset), series.rows, before, names, shared)


def _unknown_symbol(symbol: str, snapshot: Snapshot) -> HttpProblem:
    if not snapshot.seq:
        return not_found(
            f"Nothing was published by then, so nothing is known about {symbol!r}.",
            "Remove as_of, or give a later time.",
        )
    return not_found(
        f"No dataset has a row with the symbol {symbol!r}.",
        "Search for it: the search finds other spellings, and the company may have another symbol.",
    )


async def show_day(request: web.Request) -> web.StreamResponse:
    """`/s/{symbol}/{dataset}/{day}` redirects to the row of that day: the chart's script knows no keys."""
    dataset, symbol = responses.find_dataset(request, request.match_info["name"]), request.match_info["symbol"]
    if not (dataset.symbol and dataset.by_load):
        raise not_found(f"{dataset.name} has no symbols.", "Open its table.")
    try:
        day = date.fromisoformat(request.match_info["day"])
    except ValueError:
        raise not_found(
            f"{request.match_info['day']!r} is not a date like 2021-01-27.", "Start again at the symbol's page."
        ) from None
    as_of = request.query.get("as_of", "")
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(dataset, filters.parse_as_of("as_of", as_of))
    keys = (await reader.rows(measures.keys_of_day(dataset, symbol, day, snapshot))).rows
    raise web.HTTPSeeOther(day_address(dataset, symbol, day, keys[0] if len(keys) == 1 else (), as_of))


ROUTES = (
    Route("/s/{symbol}", degraded.with_fallback(show_symbol, reads_archived)),
    Route(f"/s/{{symbol}}/{NAME}/{{day}}", show_day),
)
