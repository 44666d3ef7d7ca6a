"""`/live`: what streams deliver now. The page works without script; server-sent events keep it up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from spotlightd.datasets.trades import trades
from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.query.errors import HttpProblem, bad_parameter, not_found
from spotlightd.query.reader import Reader
from spotlightd.web import feeds, middleware, responses
from spotlightd.web.live import chart, poller, ticks
from spotlightd.web.live.chart import Strip
from spotlightd.web.live.poller import LivePoller
from spotlightd.web.live.ticks import LiveWindow, Value
from spotlightd.web.routes import Nav, Route
from spotlightd.web.state import APP_STATE, ExplorerContext

MOST_SYMBOLS = 24
DEFAULT_SYMBOLS = 8
LONGEST_SYMBOL = 40
STALL_SECONDS = 10.0
RELOAD_SECONDS = 10
POLLER = web.AppKey("live_poller", LivePoller)


@dataclass(frozen=True, slots=True)
class Panel:
    """One symbol on the page."""

    value: Value
    strip: Strip


def set_up(app: web.Application) -> None:
    """Add the poller to the application. Live pages are disconnected first at shutdown: it would wait for them."""
    app.cleanup_ctx.append(run_poller)
    app.on_shutdown.append(close_poller)


async def run_poller(app: web.Application) -> AsyncIterator[None]:
    """The poller lives as long as the application."""
    app_state = app[APP_STATE]
    template = app_state.templates.get_template("feeds.html")

    def render_state(now: datetime) -> str:
        return template.render(feeds.feed_values(app_state.context, now))

    app[POLLER] = LivePoller(app_state.context, find_trades(app_state.context) or trades, render_state)
    yield
    await app[POLLER].close()


async def close_poller(app: web.Application) -> None:
    await app[POLLER].close()


def find_trades(context: ExplorerContext) -> Dataset | None:
    """The trades, if this instance collects them."""
    return next((dataset for dataset in context.datasets if dataset.name == trades.name), None)


def read_symbols(request: web.Request) -> tuple[str, ...]:
    """The symbols of `?symbols=A,B`, empty without it. HttpProblem(400) for too many, or for one that is too long."""
    if unknown := [name for name in request.query if name != "symbols"]:
        raise bad_parameter(unknown[0], "there is no such parameter", "Use symbols=AAPL,BINANCE:BTCUSDT.")
    texts = (text.strip() for text in request.query.get("symbols", "").split(","))
    symbols = tuple(dict.fromkeys(text for text in texts if text))
    if len(symbols) > MOST_SYMBOLS:
        raise bad_parameter("symbols", f"at most {MOST_SYMBOLS} symbols")
    for symbol in symbols:
        if len(symbol) > LONGEST_SYMBOL or not symbol.isprintable():
            detail = f"{symbol[:LONGEST_SYMBOL]!r} is not a symbol: at most {LONGEST_SYMBOL} printable characters"
            raise bad_parameter("symbols", detail)
    return symbols


async def show_live(request: web.Request) -> web.StreamResponse:
    context = request.app[APP_STATE].context
    now, symbols, window, error = datetime.now(UTC), read_symbols(request), LiveWindow(), ""
    dataset, reader = find_trades(context), responses.get_reader(request)
    try:
        if dataset is not None:
            symbols = symbols or await _default_symbols(context, reader, dataset, now)
            await ticks.read_new(reader, dataset, window, symbols, now)
    except (StoreError, HttpProblem) as problem:
        error = f"The warehouse cannot answer: {problem}"
    message = poller.build_message(context, window, symbols, window.all_bars(), now, error)
    if request.path.endswith(".json"):
        return responses.json_response(request, message)
    return responses.render_page(request, "live.html", {
        "panels": [_make_panel(context, window, symbol, now) for symbol in symbols],
        "symbols": symbols, "are_symbols_chosen": "symbols" in request.query, "error": error,
        **feeds.feed_values(context, now),
        "gaps": poller.list_gaps(window, context)[: ticks.LISTED_GAPS], "has_trades": dataset is not None,
        "data": message, "reload_seconds": RELOAD_SECONDS, "window_seconds": ticks.WINDOW_SECONDS,
    })  # fmt: skip


async def _default_symbols(
    context: ExplorerContext, reader: Reader, dataset: Dataset, now: datetime
) -> tuple[str, ...]:
    """Without `?symbols=`: those that feeds are subscribed to, or those with the most trades in the last minutes."""
    subscribed = dict.fromkeys(symbol for feed in context.state().feeds for symbol in feed.symbols)
    if subscribed:
        return tuple(subscribed)[:DEFAULT_SYMBOLS]
    query = ticks.busiest_query(dataset, now, await reader.snapshot(dataset), DEFAULT_SYMBOLS)
    return tuple(row[0] for row in (await reader.rows(query)).rows)


def _make_panel(context: ExplorerContext, window: LiveWindow, symbol: str, now: datetime) -> Panel:
    bars = sorted(window.bars.get(symbol, {}).values(), key=lambda bar: bar.second)
    spans = poller.gap_spans(poller.list_gaps(window, context), symbol, context)
    return Panel(ticks.current_value(window, symbol, now), chart.draw_strip(bars, spans, now.timestamp()))


async def show_events(request: web.Request) -> web.StreamResponse:
    """Server-sent events of the symbols, until the client leaves, reads too slowly, or the explorer stops."""
    if not middleware.is_same_origin(request):
        raise HttpProblem(403, "Live events are only for pages of this explorer.", "Open /live.")
    if find_trades(request.app[APP_STATE].context) is None:
        raise not_found("No stream is configured here.", "The settings of streams are in [streams].")
    symbols = read_symbols(request)
    if not symbols:
        example = "/live/events?symbols=AAPL,BINANCE:BTCUSDT"
        raise bad_parameter("symbols", "is missing", f"Give the symbols, as in {example}.")
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    if request.method == "HEAD":
        return response

    def drop() -> None:
        if request.transport is not None:
            request.transport.abort()

    with request.app[POLLER].listen(symbols, drop) as listener:
        await response.prepare(request)
        await _write(response, b"retry: 3000\n\n", drop)
        while (event := await listener.queue.get()) is not None:
            await _write(response, event, drop)
    return response


async def _write(response: web.StreamResponse, event: bytes, drop: Callable[[], Any]) -> None:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await response.write(event)
    except TimeoutError:
        drop()
        raise ConnectionResetError(f"the client of live events read nothing for {STALL_SECONDS:.0f} s") from None


ROUTES = (Route("/live", show_live), Route("/live.json", show_live), Route("/live/events", show_events))
NAV = Nav("Live", "/live", 20, is_visible=lambda context: bool(context.streams))
SETUP = set_up
