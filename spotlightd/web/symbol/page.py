"""`/s/{symbol}`: one symbol: its price by the minute, and each dataset day by day, as charts and tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import date

from aiohttp import web

from spotlightd.datasets import system
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters, measures
from spotlightd.query.errors import HttpProblem, bad_parameter, not_found
from spotlightd.query.reader import Reader
from spotlightd.query.search.identity import find_identity
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import degraded, responses
from spotlightd.web.routes import NAME, Route
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol import price, swaps, threshold
from spotlightd.web.symbol.panel import day_address, make_panel

LONGEST_SYMBOL = 40
PARAMETERS = ("as_of", "window", "until")


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page of a symbol reads archived rows of the dataset."""
    return dataset.by_load or dataset == system.gaps


async def show_symbol(request: web.Request) -> web.StreamResponse:
    """The page, by at most four statements, however many datasets there are: the snapshot, the last minute with a bar, what
    is known of the security, and everything that the page shows.
    """
    symbol, as_of = request.match_info["symbol"], request.query.get("as_of", "")
    _check_address(request, symbol)
    question = price.read_question(request)
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, filters.parse_as_of("as_of", as_of))
    window = await price.find_window(request, symbol, question, snapshot)
    etag = "" if window else responses.make_etag(request, snapshot)
    if etag and responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    datasets = _daily_datasets(request, snapshot)
    identity = await find_identity(reader, symbol, snapshot)
    symbols = [identity.symbol_in(dataset.name) for dataset in datasets]
    parts = {
        "days": tuple(
            measures.daily_history(dataset, printed, snapshot)
            for dataset, printed in zip(datasets, symbols, strict=True)
        ),
        "price": price.window_queries(symbol, window, snapshot) if window else (),
        "swaps": swaps.swap_queries(symbol, datasets, snapshot),
        "threshold": threshold.streak_queries(identity.symbol_in(threshold.DATASET), snapshot),
    }
    answers = await _read_parts(reader, parts)
    panels = [
        make_panel(dataset, printed, answer.rows, as_of)
        for dataset, printed, answer in zip(datasets, symbols, answers["days"], strict=True)
        if answer.rows
    ]
    prices = price.make_panels(symbol, window, answers["price"], as_of) if window else None
    swaps_panel = swaps.make_panel(answers["swaps"], as_of)
    streaks = threshold.make_panel(identity.symbol_in(threshold.DATASET), answers["threshold"])
    if not (panels or prices or swaps_panel or streaks):
        raise _unknown_symbol(symbol, snapshot)
    values = {
        "symbol": symbol,
        "identity": identity,
        "panels": panels,
        "prices": prices,
        "swaps": swaps_panel,
        "threshold": streaks,
        "snapshot": snapshot,
    }
    return responses.render_page(request, "symbol.html", values, etag=etag)


async def _read_parts(reader: Reader, parts: Mapping[str, Sequence[Query]]) -> dict[str, list[Answer]]:
    """The answers to the queries of each part, by one statement."""
    answers = iter(await reader.together(*itertools.chain(*parts.values())))
    return {name: list(itertools.islice(answers, len(queries))) for name, queries in parts.items()}


def _daily_datasets(request: web.Request, snapshot: Snapshot) -> list[Dataset]:
    """The datasets that are shown day by day and have a publication."""
    datasets = measures.daily_datasets(request.app[APP_STATE].context.datasets)
    return [dataset for dataset in datasets if dataset.name in snapshot.published and dataset not in threshold.DATASETS]


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
