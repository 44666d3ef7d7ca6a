"""The explorer in a real Chromium: no other host, no broken rule, no serious finding, with a keyboard, without script."""

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
    "row": ROW, "withdrawn": "/data/sec_ftd/2021-01-15,00165C104,AMC", "record": "/data/runs", "status": "/status", "disk": "/disk",
    "search": "/search?q=g", "problem": "/data/nope", "line": "/source/{again}?line=4", "refused": "/source/{refused}",
    "logs": "/logs?level=info&text=x&until=2021-03-20",
}  # fmt: skip


@dataclass
class Watched:
    """A page and what went wrong on it: console errors, and requests to hosts that are not ours."""

    page: Page
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


@asynccontextmanager
async def visiting(world: World, browser: Browser, path: str, **options: Any) -> AsyncIterator[Watched]:
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = await context.new_page()
    seen = Watched(page)
    page.on("console", lambda said: seen.errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(world.address) else seen.strangers.append(asked.url))
    await page.goto(world.address + path.format(again=world.digests["again"], refused=world.digests["refused"]))
    yield seen
    await context.close()


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_keeps_the_rules(world: World, browser: Browser, name: str) -> None:
    async with visiting(world, browser, PAGES[name], bypass_csp=False) as seen:
        if name == "symbol":
            await seen.page.wait_for_selector("html[data-ready]")
        await seen.page.wait_for_load_state("networkidle")
        assert seen.strangers == []
        assert [one for one in seen.errors if not (name == "problem" and "404" in one)] == []


@pytest.mark.parametrize(
    ("name", "scheme"),
    [*((name, "light") for name in PAGES), *((name, "dark") for name in ("home", "symbol", "line", "status", "disk"))],
)
async def test_axe_finds_nothing_serious(world: World, browser: Browser, name: str, scheme: str) -> None:
    async with visiting(world, browser, PAGES[name], bypass_csp=True, color_scheme=scheme) as seen:
        await seen.page.evaluate(AXE)
        found = await seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(
        [[one["id"], [node["html"][:200] for node in one["nodes"]]] for one in serious], indent=1
    )


@pytest.mark.parametrize("name", PAGES)
async def test_a_phone_needs_no_sideways_scrolling(world: World, browser: Browser, name: str) -> None:
    async with visiting(world, browser, PAGES[name], viewport={"width": 390, "height": 844}, bypass_csp=True) as seen:
        wide = await seen.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390


async def test_the_chart_is_drawn_and_its_bars_lead_to_rows(world: World, browser: Browser) -> None:
    async with visiting(world, browser, "/s/GME") as seen:
        chart = seen.page.locator("figure[data-chart=amounts][data-ready] .u-over")
        await expect(chart).to_be_visible()
        box = await chart.bounding_box()
        assert box
        await seen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 5)
        await expect(seen.page.locator("h1")).to_contain_text("36467W109")


async def test_without_script_everything_is_there(world: World, browser: Browser) -> None:
    async with visiting(world, browser, "/s/GME", java_script_enabled=False) as seen:
        await expect(seen.page.locator("figure svg").first).to_be_visible()
        await seen.page.locator(f'svg a[href="{ROW}"]').first.click()
        await expect(seen.page.locator("h1")).to_contain_text("2021-01-15")
        await seen.page.get_by_role("link", name="Show the line in the document").click()
        await expect(seen.page.locator("tr.here")).to_contain_text("20210115|36467W109|GME|")
        await seen.page.goto(f"{world.address}/data/sec_ftd")
        await seen.page.locator("select[name=_filter_column]").select_option("symbol")
        await seen.page.locator("input[name=_filter_value]").fill("AMC")
        await seen.page.get_by_role("button", name="Apply").click()
        await expect(seen.page.locator(".count")).to_contain_text("19 rows")


async def test_a_keyboard_leads_from_the_search_to_a_download(world: World, browser: Browser) -> None:
    async with visiting(world, browser, "/", accept_downloads=True) as seen:
        page = seen.page
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
