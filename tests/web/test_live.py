"""The live page: its content without script, its events, and which listeners are disconnected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from spotlightd.audience import Audience
from spotlightd.datasets.trades import FUTURE_SECONDS, trades
from spotlightd.errors import StoreError
from spotlightd.model.offsets import FeedState, OpenGap
from spotlightd.query.errors import HttpProblem
from spotlightd.web.live import poller, ticks
from spotlightd.web.live.poller import MOST_LISTENERS, QUEUE_LENGTH, LivePoller
from tests.web.streaming import Trade, Venue, streaming
from tests.web.test_browser import AXE, open_page

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH = "AAPL,BINANCE:BTCUSDT"
TIMEOUT_SECONDS = 20.0


def render_state(at: datetime) -> str:
    return f"as of {at}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def venue(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Venue]:
    async with streaming(tmp_path_factory.mktemp("live")) as venue:
        await venue.open_load()
        now = datetime.now(UTC)
        await venue.trade([Trade("QUIET", 7.25, 1, now - timedelta(minutes=10))])
        for seconds in (90, 60, 40, 12, 8):
            at = now - timedelta(seconds=seconds)
            prices = [100.0, 102.5 + seconds / 100, 99.5, 101.0]
            await venue.trade([Trade("AAPL", price, 10, at) for price in prices])
            await venue.trade([Trade("BINANCE:BTCUSDT", 61_000 + seconds, 0.5, at)])
        await venue.gap(1, now - timedelta(seconds=35), now - timedelta(seconds=15))
        yield venue


class Events:
    """The events of a live page, one after the other."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> tuple[str, dict[str, Any]]:
        kind = ""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            async for line in self._answer.content:
                if line.startswith(b"event: "):
                    kind = line[7:].decode().strip()
                if line.startswith(b"data: "):
                    return kind, json.loads(line[6:])
        raise AssertionError("the events ended")

    async def until(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        while True:
            _, message = await self.next()
            if holds(message):
                return message


async def wait_until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_page_is_complete_without_script(venue: Venue) -> None:
    status, text, _ = await venue.world.get("/live")
    assert status == 200
    assert '<noscript><meta http-equiv="refresh"' in text
    values = text.split('data-part="values"')[1].split("</tbody>")[0]
    assert 'data-symbol="AAPL"' in values
    assert '<td class="num" data-cell="price">101</td>' in values
    assert text.count('class="stick') >= 8
    assert text.count('class="gap"') == 2
    assert "the &lt;venue&gt; hung up" in text
    assert "UTC (20 s). the &lt;venue&gt;" in text
    assert ">connected</mark>" in text
    assert "Finnhub &lt;trades&gt;" in text


async def test_symbols_are_chosen_in_the_address_and_old_prices_are_found(venue: Venue) -> None:
    _, text, _ = await venue.world.get("/live.json?symbols=QUIET,NOBODY")
    message = json.loads(text)
    (quiet, nobody) = message["values"]
    assert quiet[:3] == ["QUIET", 7.25, 0.0]
    assert 590 < quiet[4] < 700
    assert nobody == ["NOBODY", None, 0.0, 0.0, None]
    assert message["bars"].get("QUIET", []) == []


async def test_bars_are_those_of_the_trades(venue: Venue) -> None:
    _, text, _ = await venue.world.get("/live.json?symbols=AAPL")
    (first, *_) = json.loads(text)["bars"]["AAPL"]
    assert first[1:] == [100.0, 103.4, 99.5, 101.0, 40.0, 4]


@pytest.mark.parametrize("query", ["symbols=" + ",".join(f"S{at}" for at in range(25)), f"symbols={'x' * 41}", "a=b"])
async def test_too_many_symbols_are_refused(venue: Venue, query: str) -> None:
    assert (await venue.world.get(f"/live?{query}"))[0] == 400


async def test_events_begin_with_the_window_and_go_on_with_updates(venue: Venue) -> None:
    assert venue.world.session
    async with venue.world.session.get(f"{venue.world.address}/live/events?symbols={BOTH}") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        events = Events(answer)
        kind, message = await events.next()
        assert kind == "window"
        assert set(message["bars"]) == {"AAPL", "BINANCE:BTCUSDT"}
        assert message["feeds"][0][:2] == ["finnhub", "connected"]
        assert len(message["spans"]["AAPL"]) == 1
        await venue.trade([Trade("AAPL", 111.5, 3, datetime.now(UTC))])
        message = await events.until(lambda message: message["bars"].get("AAPL"))
        assert message["bars"]["AAPL"][-1][4] == 111.5
        assert [row[1] for row in message["values"] if row[0] == "AAPL"] == [111.5]


async def test_the_poller_runs_only_while_there_are_listeners(venue: Venue) -> None:
    live_poller = LivePoller(venue.world.context, trades, render_state)
    running = [live_poller.is_running]
    with live_poller.listen(("AAPL",), lambda: None) as listener:
        assert await asyncio.wait_for(listener.queue.get(), TIMEOUT_SECONDS)
        running.append(live_poller.is_running)
    await wait_until(lambda: not live_poller.is_running)
    assert running == [False, True]
    with live_poller.listen(("AAPL",), lambda: None) as listener:
        assert await asyncio.wait_for(listener.queue.get(), TIMEOUT_SECONDS)
    await live_poller.close()


async def test_who_watches_a_live_page_is_counted(venue: Venue) -> None:
    audience = Audience()
    live_poller = LivePoller(replace(venue.world.context, audience=audience), trades, render_state)
    with live_poller.listen(("AAPL",), lambda: None):
        assert audience.size == 1
    assert audience.size == 0
    await live_poller.close()


async def test_a_slow_listener_is_dropped_and_others_are_not(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "PAUSE_SECONDS", 0.02)
    live_poller, dropped = LivePoller(venue.world.context, trades, render_state), list[str]()
    with (
        live_poller.listen(("AAPL",), lambda: dropped.append("slow")) as slow,
        live_poller.listen(("AAPL",), lambda: dropped.append("quick")) as quick,
    ):
        for _ in range(QUEUE_LENGTH + 3):
            assert await asyncio.wait_for(quick.queue.get(), TIMEOUT_SECONDS)
        assert dropped == ["slow"]
        assert slow.queue.full()
    await live_poller.close()


async def test_the_number_of_listeners_is_bounded(venue: Venue) -> None:
    live_poller = LivePoller(venue.world.context, trades, render_state)
    with ExitStack() as stack:
        for _ in range(MOST_LISTENERS):
            stack.enter_context(live_poller.listen(("AAPL",), lambda: None))
        with pytest.raises(HttpProblem) as refused:
            stack.enter_context(live_poller.listen(("AAPL",), lambda: None))
        assert refused.value.status == 503
    await live_poller.close()


async def test_a_warehouse_failure_is_shown_and_retried(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "PAUSE_SECONDS", 0.02)

    class Broken:
        refuses = True

        async def rows(self, *args: Any, **more: Any) -> Any:
            if self.refuses:
                raise StoreError("out of <order>")
            return await venue.world.warehouse.rows(*args, **more)

    broken = Broken()
    live_poller = LivePoller(replace(venue.world.context, warehouse=broken), trades, render_state)  # type: ignore[arg-type]
    with live_poller.listen(("AAPL",), lambda: None) as listener:
        assert b"out of <order>" in (await asyncio.wait_for(listener.queue.get(), TIMEOUT_SECONDS) or b"")
        broken.refuses = False
        while b'"error":""' not in (message := await asyncio.wait_for(listener.queue.get(), TIMEOUT_SECONDS) or b""):
            assert message
        assert message.startswith(b"event: window")
    await live_poller.close()
    async with venue.world.served(warehouse=Broken()) as other:
        status, text, _ = await other.get("/live")
    assert (status, "out of &lt;order&gt;" in text) == (200, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
     ({"Origin": "http://[bad"}, 403), ({"Origin": "http://127.0.0.1:1"}, 403), ({"Origin": "http://localhost:3000"}, 403),
     ({"Origin": "{here}"}, 200), ({"Sec-Fetch-Site": "same-origin"}, 200)],
)  # fmt: skip
async def test_only_pages_of_the_explorer_may_listen(venue: Venue, headers: dict[str, str], status: int) -> None:
    assert venue.world.session
    headers = {name: value.format(here=venue.world.address) for name, value in headers.items()}
    async with venue.world.session.get(f"{venue.world.address}/live/events?symbols=AAPL", headers=headers) as answer:
        assert answer.status == status


async def test_live_pages_are_disconnected_when_the_explorer_stops(venue: Venue) -> None:
    assert venue.world.session
    async with venue.world.served() as other:
        answer = await venue.world.session.get(f"{other.address}/live/events?symbols=AAPL")
        assert await Events(answer).next()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await answer.read()
    answer.close()


async def test_without_a_stream_the_page_shows_a_message(venue: Venue) -> None:
    few = tuple(dataset for dataset in venue.world.context.datasets if dataset.name != "trades")
    async with venue.world.served(
        datasets=few, streams=(), state=lambda: replace(venue.world.context.state(), feeds=())
    ) as other:
        status, text, _ = await other.get("/live")
        assert (status, "there is nothing live to show" in text) == (200, True)
        assert (await other.get("/live/events?symbols=A"))[0] == 404
        assert 'href="/live"' not in (await other.get("/"))[1]


async def test_an_open_gap_concerns_the_symbols_of_its_feed() -> None:
    now = datetime.now(UTC)
    began = now - timedelta(minutes=3)
    lost = OpenGap(began, "closed by the venue", detail="closed, code 1001")
    feeds = [
        FeedState("finnhub", "waiting", now, ("AAPL",), last_frame_at=now, open_gaps=(lost,)),
        FeedState("other", "connected", now, ("MSFT",)),
    ]
    (gap,) = ticks.open_gaps(feeds)
    assert (gap.since, gap.until, gap.cause) == (began, None, "closed by the venue")
    assert [ticks.concerns(gap, symbol, feeds) for symbol in ("AAPL", "MSFT")] == [True, False]


async def test_a_refused_symbol_is_an_open_gap_of_that_symbol_alone() -> None:
    now = datetime.now(UTC)
    refused = OpenGap(now, "refused by the venue", "OANDA:EUR_USD", "Invalid symbol OANDA:EUR_USD")
    feeds = [FeedState("finnhub", "connected", now, ("AAPL", "OANDA:EUR_USD"), open_gaps=(refused,))]
    (gap,) = ticks.open_gaps(feeds)
    assert (gap.since, gap.until, gap.symbol) == (now, None, "OANDA:EUR_USD")
    assert [ticks.concerns(gap, symbol, feeds) for symbol in ("AAPL", "OANDA:EUR_USD")] == [False, True]


async def test_a_trade_far_ahead_of_its_receipt_is_no_last_price_and_in_no_bar(venue: Venue) -> None:
    now = datetime.now(UTC)
    wild = now + timedelta(seconds=FUTURE_SECONDS + 1)
    await venue.trade([Trade("AHEAD", 999.0, 1, wild), Trade("WILD", 999.0, 1, wild), Trade("AHEAD", 7.5, 1, now)])
    message = json.loads((await venue.world.get("/live.json?symbols=AHEAD,WILD"))[1])
    assert [row[:2] for row in message["values"]] == [["AHEAD", 7.5], ["WILD", None]]
    assert [bar[1:5] for bar in message["bars"]["AHEAD"]] == [[7.5, 7.5, 7.5, 7.5]]
    rows = json.loads((await venue.world.get("/data/trades.json?symbol=WILD&_cols=price,is_future_dated"))[1])["rows"]
    assert rows == [{"price": 999.0, "is_future_dated": True}]  # kept and flagged


async def test_the_status_page_names_each_refused_symbol_and_a_clock_that_is_off(venue: Venue) -> None:
    now = datetime.now(UTC)
    symbols = ("OANDA:EUR_USD", "IC MARKETS:1")
    gaps = tuple(OpenGap(now, "refused by the venue", symbol, f"Invalid symbol {symbol}") for symbol in symbols)
    feed = FeedState("finnhub", "connected", now, open_gaps=gaps, clock_offset_seconds=-42.04, is_clock_off=True)
    async with venue.world.served(state=lambda: replace(venue.world.context.state(), feeds=(feed,))) as other:
        text = (await other.get("/status"))[1]
        assert all(f"refused</mark> {symbol} since" in text for symbol in symbols)
        assert "The venue&#39;s clock is 42.0 s behind this machine&#39;s, or its trades come so late." in text
        (told,) = json.loads((await other.get("/status.json"))[1])["feeds"]
        assert [gap["symbol"] for gap in told["open_gaps"]] == [*symbols]
        assert told["clock_offset_seconds"] == -42.04


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390, 320])
async def test_the_page_is_updated_in_a_browser(venue: Venue, browser: Browser, width: int) -> None:
    look = {"viewport": {"width": width, "height": 900}}
    async with open_live(venue, browser, look) as watched:
        page = watched.page
        await page.wait_for_selector("html[data-live=green]")
        chart = page.locator('figure[data-live="AAPL"]')
        await expect(chart.locator("canvas")).to_be_visible()
        await expect(chart).to_have_attribute("data-gaps", "1")
        price = 200 + width / 100
        await venue.trade([Trade("AAPL", price, 5, datetime.now(UTC))])
        await expect(page.locator('tr[data-symbol="AAPL"] [data-cell=price]')).to_have_text(f"{price:g}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert (watched.errors, watched.foreign_requests) == ([], [])


def open_live(venue: Venue, browser: Browser, look: dict[str, Any]) -> Any:
    venue.world.digests.update({"again": "", "refused": ""})
    return open_page(venue.world, browser, "/live", **look)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_of_streams_fit_a_phone_and_axe_finds_nothing_serious(
    venue: Venue, browser: Browser, scheme: str
) -> None:
    _, text, _ = await venue.world.get("/data/trades?symbol=AAPL")
    row = text.split('<td class="receipt"><a href="')[1].split('"')[0]
    look = {"viewport": {"width": 390, "height": 844}, "bypass_csp": True, "color_scheme": scheme}
    async with open_live(venue, browser, look) as watched:
        for path in ("/live", "/topics", "/topics/finnhub", row, "/data/finnhub_frames/1,0,1", "/status", "/"):
            await watched.page.goto(venue.world.address + path)
            assert await watched.page.evaluate("document.documentElement.scrollWidth") <= 390, path
            await watched.page.evaluate(AXE)
            results = await watched.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [
                violation for violation in results["violations"] if violation["impact"] in ("serious", "critical")
            ]
            summary = [[violation["id"], [node["html"][:200] for node in violation["nodes"]]] for violation in serious]
            assert not serious, (path, summary)
