"""Price by the minute on a symbol's page: windows, gaps, volatility, files, links; with and without script."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from spotlightd.commands.read.query import with_visible
from spotlightd.sql.visibility import Snapshot
from spotlightd.web.symbol import candles, minutes
from spotlightd.web.symbol.daily_chart import Point
from spotlightd.web.symbol.minutes import Bar, Gap
from tests.web.trading import CLOSED, DAYS, HUNG, OPEN, WALKS, trading, walk
from tests.web.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")
CRYPTO = "BINANCE:BTCUSDT"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with trading(tmp_path_factory.mktemp("trading")) as world:
        yield world


def script_data(text: str) -> Any:
    """The data that the page gives to its script."""
    match = re.search(r'<script type="application/json" class="minutes">(.*?)</script>', text, re.DOTALL)
    assert match
    return json.loads(unescape(match[1]))


def fact(text: str, name: str) -> str:
    match = re.search(rf"<dt>{name}[^<]*</dt><dd>(.*?)</dd>", text)
    assert match, name
    return re.sub(r"<.*?>", "", match[1]).strip()


async def test_the_page_shows_the_window_up_to_the_last_trade(market: World) -> None:
    status, text, _ = await market.get("/s/GME")
    assert status == 200
    rows = [row for row in walk(OPEN, *WALKS[0]) if row[2] >= datetime(2021, 3, 18, 21, tzinfo=UTC)]
    assert fact(text, "Trades") == f"{len(rows):,}"
    assert fact(text, "Last") == f"{rows[-1][5]:,.10g}"
    assert fact(text, "Volume") == f"{sum(int(row[6]) for row in rows):,}"
    assert (fact(text, "High"), fact(text, "Low")) == tuple(
        f"{extreme(r[5] for r in rows):,.10g}" for extreme in (max, min)
    )
    assert fact(text, "Realised volatility").endswith(" %")
    assert "SEC fails to deliver" in text


async def test_stored_and_computed_bars_are_shown_together(market: World) -> None:
    _, text, _ = await market.get(f"/s/{CRYPTO}?window=5d")
    rows = [row for load in DAYS for row in walk(load, *WALKS[1])]
    series = script_data(text)
    assert sum(series["trades"]) == len(rows)
    assert (series["open"][0], series["close"][-1]) == (rows[0][5], rows[-1][5])
    _, text, _ = await market.get(f"/s/{CRYPTO}?window=5d&as_of=2021-03-20T09:59:59Z", allow_redirects=False)
    assert "No dataset has a row" in text


async def test_symbols_without_trades_or_without_fails_show_what_there_is(market: World) -> None:
    _, fails, _ = await market.get("/s/AMC")
    _, price, _ = await market.get(f"/s/{CRYPTO}")
    assert ("Realised volatility" in fails, "SEC fails to deliver" in fails) == (False, True)
    assert ("Realised volatility" in price, "SEC fails to deliver" in price) == (True, False)
    status, _, answer = await market.get("/search?q=binance:btcusdt")
    assert (status, answer.headers["Location"]) == (303, f"/s/{CRYPTO}")
    status, _, _ = await market.get("/s/NOBODY")
    assert status == 404


@pytest.mark.parametrize("text", ["BRKB", "BRK.B", "BRK/B", "brk-b"])
async def test_a_search_lists_the_spellings_of_all_publishers(market: World, text: str) -> None:
    status, page, _ = await market.get("/search", params={"q": text})
    assert status == 200
    assert re.findall(r'href="/s/(BRK[^"]+)"', page) == ["BRK%2FB", "BRK.B"]


async def test_only_open_gaps_of_the_source_and_symbol_are_shaded(market: World) -> None:
    _, text, _ = await market.get("/s/GME")
    assert script_data(text)["gaps"] == [[HUNG[0].timestamp(), HUNG[1].timestamp()]]
    assert text.count('class="gap"') == 1
    assert "the &lt;venue&gt; hung up" in text
    assert "mended since" not in text


async def test_windows_and_earlier_spans_are_links(market: World) -> None:
    _, text, _ = await market.get("/s/GME")
    assert {f"/s/GME?window={name}" for name in ("1h", "5d")} <= set(re.findall(r'href="([^"]+)"', text))
    earlier = re.search(r'href="([^"]+)">earlier<', text)
    assert earlier
    _, text, _ = await market.get(unescape(earlier[1]))
    assert fact(text, "Trades") == f"{len(walk(CLOSED, *WALKS[0])):,}"
    assert 'href="/s/GME?window=1d">newest' in text


@pytest.mark.parametrize("query", ["window=2d", "until=yesterday", "windows=1d"])
async def test_a_window_that_does_not_exist_is_refused(market: World, query: str) -> None:
    status, text, _ = await market.get(f"/s/GME?{query}")
    assert status == 400
    assert query.partition("=")[0] in text


@pytest.mark.parametrize("symbol", ["GME", CRYPTO, "BRK.B"])
async def test_all_links_of_the_page_lead_somewhere(market: World, symbol: str) -> None:
    _, text, _ = await market.get(f"/s/{symbol}?window=1h")
    links = {unescape(link) for link in re.findall(r'href="(/(?:s|data)/[^"]+)"', text)}
    bars = [link for link in sorted(links) if link.startswith("/data/bars/")]
    tables = [link for link in sorted(links) if link.startswith(("/data/bars?", "/data/bars.csv", "/data/trades"))]
    assert len(bars) > 10
    assert len(tables) == 4
    for link in (*bars[:2], *tables, *(link for link in links if link.startswith("/s/"))):
        assert (await market.get(link))[0] == 200, link


async def test_a_bar_leads_to_the_trades_that_it_was_computed_from(market: World) -> None:
    _, text, _ = await market.get(f"/s/{CRYPTO}?window=1h")
    bar = re.findall(r'<td><a href="([^"]+)">', text)[3]
    _, row, _ = await market.get(f"{bar}.json")
    (bar_row,) = json.loads(row)["rows"]
    address = bar_row["computed_from"].replace("/data/trades?", "/data/trades.json?")
    _, ticks, _ = await market.get(address)
    prices = [trade["price"] for trade in sorted(json.loads(ticks)["rows"], key=lambda trade: trade["time"])]
    fields = {name: field["value"] for name, field in bar_row["fields"].items()}
    assert (fields["open"], fields["close"], fields["trades"]) == (prices[0], prices[-1], len(prices))
    _, page, _ = await market.get(bar)
    assert "Show the trades that it was computed from" in page
    assert "Cite this row" not in page


async def test_bars_are_a_table_and_files_like_every_dataset(market: World) -> None:
    status, text, answer = await market.get("/data/bars?symbol=GME&_facet=source&_sort=volume")
    assert status == 200
    assert "ETag" not in answer.headers
    count = re.search(r"<strong>([\d,]+)</strong> rows", text)
    assert count
    _, csv, _ = await market.get("/data/bars.csv?symbol=GME")
    assert len(csv.splitlines()) - 1 == int(count[1].replace(",", ""))
    status, _, answer = await market.get("/data/bars")
    assert (status, answer.headers["Location"]) == (303, "/data/bars?minute__gte=2021-03-19T00:00:00Z")
    status, text, _ = await market.get("/cite?address=/data/bars?symbol=GME")
    assert status == 400
    assert "computed from trades" in text
    assert "One-minute bars" in (await market.get("/"))[1]


async def test_volatility_follows_its_definition() -> None:
    at = datetime(2021, 3, 19, tzinfo=UTC)
    rows = [(100.0, 104.0, 98.0, 102.0), (102.0, 102.0, 99.0, 100.0), (100.0, 100.0, 100.0, 100.0)]
    bars = [Bar(at + number * minutes.MINUTE, *row, Decimal(1), Decimal(1), 1) for number, row in enumerate(rows)]
    volatility = minutes.measure_volatility(bars)
    assert volatility.realised == pytest.approx(math.sqrt(2) * math.log(1.02))
    spread = math.log(104 / 98) ** 2 + math.log(102 / 99) ** 2
    assert volatility.parkinson == pytest.approx(math.sqrt(spread / (4 * math.log(2))))
    free = Bar(at, 0.0, 1.0, 0.0, 1.0, Decimal(0), Decimal(0), 1)
    assert minutes.measure_volatility([free]) == minutes.Volatility(None, None)


@pytest.mark.parametrize(
    "prices", [(5.0, 5.0, 5.0, 5.0), (-37.0, 1.0, -40.0, 0.0), (1e-9, 1.3e-9, 1e-9, 1.1e-9), (0.0, 0.0, 0.0, 0.0)]
)
@pytest.mark.parametrize("volume", [0, 10**19])
async def test_any_bar_can_be_drawn(prices: tuple[float, float, float, float], volume: int) -> None:
    at = datetime(2021, 3, 19, 12, 30, tzinfo=UTC)
    window = minutes.trim_window(
        minutes.window_ending("5d", at, is_moved=False), [Bar(at, *prices, Decimal(volume), Decimal(0), 1)], []
    )
    back = Gap(at + timedelta(hours=1), at - timedelta(days=9), "log lost", "")
    drawing = candles.draw_candles(
        window, [Bar(at, *prices, Decimal(volume), Decimal(0), 1)], [back], lambda _: Point("", "")
    )
    (candle,), (shade,) = drawing.candles, drawing.shades
    assert 0 <= candle.volume <= drawing.bottom
    assert candles.LEFT <= shade.x <= shade.x + shade.width <= candles.WIDTH
    assert all(candles.PRICE_TOP <= level.at <= candles.PRICE_BOTTOM for level in drawing.levels)
    assert len(drawing.times) < 8


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
async def test_the_script_draws_the_minutes_and_nothing_is_wider_than_the_screen(
    market: World, browser: Browser, width: int
) -> None:
    page: Page = await browser.new_page(viewport={"width": width, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    await page.goto(f"{market.address}/s/{CRYPTO}?window=5d")
    await page.wait_for_selector("html[data-ready] figure[data-ready] .u-over")
    box = page.locator("figure[data-chart=candles] .u-over")
    await box.hover()
    assert "volume" in await page.locator(".u-legend").inner_text()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == []
    await page.close()


async def test_the_operators_sql_and_the_view_see_merged_bars(market: World) -> None:
    """Also beside `trades`, and with a WITH of its own."""
    sql = "WITH 'BRK.B' AS one SELECT count(), sum(b.trades) FROM bars AS b WHERE symbol = one AND symbol IN (SELECT symbol FROM trades)"
    text, values = with_visible(sql, market.context.datasets, "spotlightd", Snapshot(22))
    row = (await market.warehouse.rows(text, values)).rows[0]
    counted = "SELECT uniqExact(toStartOfMinute(time)), count() FROM trades WHERE symbol = 'BRK.B'"
    assert row == (await market.warehouse.rows(counted)).rows[0]
    viewed = await market.warehouse.rows("SELECT count(), sum(trades) FROM bars_current WHERE symbol = 'BRK.B'")
    assert viewed.rows[0] == row
