"""`/live`: what streams carry now. A page that needs no script, and the events that make it move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from spotlightd.datasets.trades import trades
from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.query.errors import HttpProblem, bad, missing
from spotlightd.query.reader import Reader
from spotlightd.web import feeds, middleware, responses
from spotlightd.web.live import chart, poller, ticks
from spotlightd.web.live.chart import Strip
from spotlightd.web.live.poller import LivePoller
from spotlightd.web.live.ticks import LiveWindow, Value
from spotlightd.web.state import APP_STATE, ExplorerContext

MOST_SYMBOLS = 24
BY_ITSELF = 8
LONGEST = 40
STALL_SECONDS = 10.0
RELOAD_SECONDS = 10
PULSE = web.AppKey("pulse", LivePoller)


@dataclass(frozen=True, slots=True)
class Panel:
    """One symbol on the page."""

    value: Value
    strip: Strip


def table_of(context: ExplorerContext) -> Dataset | None:
    """The trades, if this instance has them."""
    return next((one for one in context.datasets if one.name == trades.name), None)


async def living(app: web.Application) -> AsyncIterator[None]:
    """The poller lives as long as the application."""
    own = app[APP_STATE]
    page = own.templates.get_template("feeds.html")
    app[PULSE] = LivePoller(
        own.context, table_of(own.context) or trades, lambda at: page.render(feeds.shown(own.context, at))
    )
    yield
    await app[PULSE].close()


async def hung_up(app: web.Application) -> None:
    """When the explorer stops, live pages are let go first: else it would wait for them."""
    await app[PULSE].close()


def symbols_asked(request: web.Request) -> tuple[str, ...]:
    """Those of `?symbols=A,B`; none when the address does not say. HttpProblem(400) for too many, or too long."""
    if unknown := [name for name in request.query if name != "symbols"]:
        raise bad(unknown[0], "there is no such parameter", "Use symbols=AAPL,BINANCE:BTCUSDT.")
    found = tuple(dict.fromkeys(one.strip() for one in request.query.get("symbols", "").split(",") if one.strip()))
    if len(found) > MOST_SYMBOLS:
        raise bad("symbols", f"at most {MOST_SYMBOLS} at a time")
    if long := [one for one in found if len(one) > LONGEST or not one.isprintable()]:
        raise bad("symbols", f"{long[0][:LONGEST]!r} is no symbol: at most {LONGEST} characters that can be seen")
    return found


async def show_live(request: web.Request) -> web.StreamResponse:
    context = request.app[APP_STATE].context
    now, chosen, seen, trouble = datetime.now(UTC), symbols_asked(request), LiveWindow(), ""
    dataset = table_of(context)
    try:
        if dataset is not None:
            chosen = chosen or await _usual(context, responses.reader(request), dataset, now)
            await ticks.look(responses.reader(request), dataset, seen, chosen, now)
    except (StoreError, HttpProblem) as problem:
        trouble = f"The warehouse cannot answer: {problem}"
    if request.path.endswith(".json"):
        every = {symbol: list(found.values()) for symbol, found in seen.bars.items()}
        return responses.document(request, poller.message(context, seen, chosen, every, now, trouble))
    return responses.page(request, "live.html", {
        "panels": [_panel(context, seen, one, now) for one in chosen], "chosen": chosen, "trouble": trouble,
        **feeds.shown(context, now), "gaps": poller.holes_of(seen, context)[: ticks.SHOWN_GAPS], "carried": dataset is not None,
        "data": poller.message(context, seen, chosen, {s: list(b.values()) for s, b in seen.bars.items()}, now, trouble),
        "reload": RELOAD_SECONDS, "asked": "symbols" in request.query, "window": ticks.WINDOW_SECONDS,
    })  # fmt: skip


async def _usual(context: ExplorerContext, reader: Reader, dataset: Dataset, now: datetime) -> tuple[str, ...]:
    """What is shown to who does not choose: what feeds are subscribed to, or what was traded most lately."""
    subscribed = dict.fromkeys(symbol for feed in context.state().feeds for symbol in feed.symbols)
    if subscribed:
        return tuple(subscribed)[:BY_ITSELF]
    pin = await reader.pin(dataset)
    return tuple(row[0] for row in (await reader.rows(ticks.busiest(dataset, now, pin, BY_ITSELF))).rows)


def _panel(context: ExplorerContext, seen: LiveWindow, symbol: str, now: datetime) -> Panel:
    bars = sorted(seen.bars.get(symbol, {}).values(), key=lambda bar: bar.second)
    spans = poller.spans(poller.holes_of(seen, context), symbol, context)
    return Panel(ticks.value(seen, symbol, now), chart.drawn(bars, spans, now.timestamp()))


async def show_events(request: web.Request) -> web.StreamResponse:
    """Server-sent events of the chosen symbols, until the reader leaves, is too slow, or the explorer stops."""
    if not middleware.asked_by_us(request):
        raise HttpProblem(403, "Live events are for pages of this explorer only.", "Open /live.")
    if table_of(request.app[APP_STATE].context) is None:
        raise missing("No stream is set up here.", "Its settings are [streams].")
    symbols = symbols_asked(request)
    if not symbols:
        raise bad("symbols", "is missing", "Name them, as in /live/events?symbols=AAPL,BINANCE:BTCUSDT.")
    answer = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    answer.content_type = "text/event-stream"
    if request.method == "HEAD":
        return answer

    def drop() -> None:
        if request.transport is not None:
            request.transport.abort()

    with request.app[PULSE].listening(symbols, drop) as listener:
        await answer.prepare(request)
        await _written(answer, b"retry: 3000\n\n", drop)
        while (told := await listener.queue.get()) is not None:
            await _written(answer, told, drop)
    return answer


async def _written(answer: web.StreamResponse, told: bytes, drop: Any) -> None:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await answer.write(told)
    except TimeoutError:
        drop()
        raise ConnectionResetError("the reader of live events takes nothing") from None
