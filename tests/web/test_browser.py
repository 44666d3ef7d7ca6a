"""The explorer in a real Chromium: no requests to other hosts, no policy violation, no serious accessibility problem, with a
keyboard, without script.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.web.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.browser]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
ROW = "/data/sec_ftd/2021-01-15,36467W109,GME"
PAGES = {
    "home": "/", "table": "/data/sec_ftd?_facet=symbol&price__isnull=0", "empty": "/data/sec_ftd?symbol=NOBODY", "symbol": "/s/GME",
    "row": ROW, "withdrawn": "/data/sec_ftd/2021-01-15,00165C104,AMC", "record": "/data/runs", "status": "/status", "scorecard": "/scorecard", "disk": "/disk",
    "search": "/search?q=g", "problem": "/data/nope", "line": "/source/{again}?line=4", "refused": "/source/{refused}",
    "logs": "/logs?level=info&text=x&until=2021-03-20",
}  # fmt: skip


@dataclass
class Watched:
    """A page and what went wrong on it: console errors, and requests to other hosts."""

    page: Page
    errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)


@asynccontextmanager
async def open_page(world: World, browser: Browser, path: str, **options: Any) -> AsyncIterator[Watched]:
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = await context.new_page()
    watched = Watched(page)
    page.on(
        "console", lambda message: watched.errors.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(world.address) else watched.foreign_requests.append(request.url),
    )
    await page.goto(world.address + path.format(again=world.digests["again"], refused=world.digests["refused"]))
    yield watched
    await context.close()


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_has_no_errors_and_no_foreign_requests(world: World, browser: Browser, name: str) -> None:
    async with open_page(world, browser, PAGES[name], bypass_csp=False) as watched:
        if name == "symbol":
            await watched.page.wait_for_selector("html[data-ready]")
        await watched.page.wait_for_load_state("networkidle")
        assert watched.foreign_requests == []
        assert [error for error in watched.errors if not (name == "problem" and "404" in error)] == []


@pytest.mark.parametrize(
    ("name", "scheme"),
    [*((name, "light") for name in PAGES), *((name, "dark") for name in ("home", "symbol", "line", "status", "disk"))],
)
async def test_axe_finds_nothing_serious(world: World, browser: Browser, name: str, scheme: str) -> None:
    async with open_page(world, browser, PAGES[name], bypass_csp=True, color_scheme=scheme) as watched:
        await watched.page.evaluate(AXE)
        results = await watched.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [violation for violation in results["violations"] if violation["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(
        [[violation["id"], [node["html"][:200] for node in violation["nodes"]]] for violation in serious], indent=1
    )


@pytest.mark.parametrize("name", PAGES)
async def test_a_phone_needs_no_sideways_scrolling(world: World, browser: Browser, name: str) -> None:
    async with open_page(
        world, browser, PAGES[name], viewport={"width": 390, "height": 844}, bypass_csp=True
    ) as watched:
        width = await watched.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390


async def test_the_chart_is_drawn_and_its_bars_lead_to_rows(world: World, browser: Browser) -> None:
    async with open_page(world, browser, "/s/GME") as watched:
        chart = watched.page.locator("figure[data-chart=amounts][data-ready] .u-over")
        await expect(chart).to_be_visible()
        box = await chart.bounding_box()
        assert box
        await watched.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 5)
        await expect(watched.page.locator("h1")).to_contain_text("36467W109")


async def test_without_script_everything_is_there(world: World, browser: Browser) -> None:
    async with open_page(world, browser, "/s/GME", java_script_enabled=False) as watched:
        await expect(watched.page.locator("figure svg").first).to_be_visible()
        await watched.page.locator(f'svg a[href="{ROW}"]').first.click()
        await expect(watched.page.locator("h1")).to_contain_text("2021-01-15")
        await watched.page.get_by_role("link", name="Show the line in the document").click()
        await expect(watched.page.locator("tr.here")).to_contain_text("20210115|36467W109|GME|")
        await watched.page.goto(f"{world.address}/data/sec_ftd")
        await watched.page.locator("select[name=_filter_column]").select_option("symbol")
        await watched.page.locator("input[name=_filter_value]").fill("AMC")
        await watched.page.get_by_role("button", name="Apply").click()
        await expect(watched.page.locator(".count")).to_contain_text("19 rows")


async def test_a_keyboard_leads_from_the_search_to_a_download(world: World, browser: Browser) -> None:
    async with open_page(world, browser, "/", accept_downloads=True) as watched:
        page = watched.page
        await tab_to(page, "INPUT")
        await page.keyboard.type("gme")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/s/GME")
        await tab_to(page, "A", "csv")
        async with page.expect_download() as waiting:
            await page.keyboard.press("Enter")
        download = await waiting.value
        assert download.suggested_filename == "sec_ftd-GME.csv"
        assert len(Path(await download.path()).read_text().splitlines()) == 21


async def tab_to(page: Page, tag: str, text: str = "") -> None:
    """Press Tab until the focus is on such an element."""
    for _ in range(200):
        await page.keyboard.press("Tab")
        focused = await page.evaluate("[document.activeElement.tagName, document.activeElement.textContent.trim()]")
        if focused[0] == tag and (not text or focused[1] == text):
            return
    raise AssertionError(f"no {tag} {text!r} can be reached with the keyboard")
