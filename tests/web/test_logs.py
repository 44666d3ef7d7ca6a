"""The log as a page: filters, full text, paging, and no logged text that is interpreted as HTML."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
import pytest_asyncio
import structlog
from playwright.async_api import Browser

from spotlightd import log
from spotlightd.datasets.system import logs
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.log_buffer import LogBuffer
from spotlightd.flows.upkeep.logs import run_log_writer
from spotlightd.query.log_filters import LINES
from spotlightd.testing import SilentMetrics
from tests.web.test_browser import AXE, open_page
from tests.web.test_guard import Broken
from tests.web.world import HOSTILE, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
BEGAN = NOW - timedelta(days=9)
MANY = 2 * LINES + 30
TRACE = (
    'Traceback (most recent call last):\n  File "x.py", line 1\n</code></pre><script>alert(2)</script>\nValueError: no'
)


def row(
    seq: int, ago: timedelta, level: str, event: str, fields: dict[str, Any] | str = "{}", **columns: Any
) -> tuple[Any, ...]:
    context = [columns.get(name, "") for name in ("flow", "source")]
    more = [columns.get("load_id", 0), columns.get("run", ""), columns.get("request", "")]
    text = fields if isinstance(fields, str) else json.dumps(fields, ensure_ascii=False)
    return (NOW - ago, level, event, *context, *more, text, 4711, BEGAN, seq)


def constructed() -> list[tuple[Any, ...]]:
    minute = timedelta(minutes=1)
    rows = [
        row(1, 0 * minute, "error", "flow failed", {"exception": TRACE, "error": HOSTILE}, flow="collect sec_ftd", source="sec_ftd"),
        row(2, 1 * minute, "warning", "source late", {"covers": "2021/01/b", "due": 'Größe "ß" 7'}, source="sec_ftd"),
        row(3, 2 * minute, "info", "load published", {"rows": 99, "covers": "2021/01/a"}, source="sec_ftd", load_id=1001, run="r1"),
        row(4, 3 * minute, "info", "document stored", {"rows": 99}, source="sec_ftd", run="r1"),
        row(5, 4 * minute, "debug", "request served", {"path": "/s/GME"}, request="abc123"),
        row(6, 5 * minute, "info", "request refused", {"path": "/<img src=x onerror=alert(3)>"}, request="abc123"),
        row(7, 6 * minute, "warning", "log events left out", {"of": "request refused", "events": 12345}),
        row(8, 7 * minute, "critical", "feed lost", "no json <b>", source="finnhub<i>"),
        row(9, timedelta(days=3), "info", "daemon started", {"version": "0.1.0"}),
    ]  # fmt: skip
    same = [row(100 + at, timedelta(hours=2), "info", "flow started", {"at": at}, flow="many") for at in range(MANY)]
    return [*rows, *same]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def logged(world: World) -> AsyncIterator[World]:
    await world.warehouse.execute("TRUNCATE TABLE logs")
    await world.warehouse.insert(logs, constructed())
    yield world
    await world.warehouse.execute("TRUNCATE TABLE logs")


async def seqs(world: World, query: str = "") -> list[int]:
    status, text, _ = await world.get(f"/logs.json{query}")
    assert status == 200, text
    return [line["seq"] for line in json.loads(text)["rows"]]


async def test_the_newest_lines_come_first_and_no_older_than_a_day_unless_asked(logged: World) -> None:
    numbers = await seqs(logged)
    assert numbers[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(numbers) == LINES
    assert await seqs(logged, "?event=daemon+started") == []
    assert await seqs(logged, "?event=daemon+started&span=week") == [9]
    assert await seqs(logged, f"?until={NOW - timedelta(days=2, hours=20):%Y-%m-%dT%H:%M:%SZ}") == [9]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("level=warning", [1, 2, 7, 8]),
        ("level=error", [1, 8]),
        ("level=critical", [8]),
        ("event=load+published", [3]),
        ("flow=collect+sec_ftd", [1]),
        ("source=sec_ftd", [1, 2, 3, 4]),
        ("source=sec_ftd&level=warning", [1, 2]),
        ("load=1001", [3]),
        ("run=r1", [3, 4]),
        ("request=abc123", [5, 6]),
        ("text=gme", [5]),
        ("text=LOAD+PUB", [3]),
        ("text=gr%C3%B6%C3%9Fe", [2]),
        ("text=%22%C3%9F%22", [2]),
        ("text=12345", [7]),
        ("text=%25", []),
        ("text=' OR 1=1 --", []),
        ("text={text:String}", []),
        ("source=finnhub%3Ci%3E", [8]),
        ("event=&flow=&level=&text=+&span=hour&load=", [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
async def test_filters_narrow_it(logged: World, query: str, expected: list[int]) -> None:
    assert await seqs(logged, f"?{query}") == expected
    status, text, _ = await logged.get(f"/logs?{query}")
    assert status == 200
    assert text.count('<li class="line') == max(len(expected), 1)


async def test_paging_back_and_forth_misses_no_line_with_equal_times(logged: World) -> None:
    sequence_numbers, path, back = list[int](), "/logs.json?flow=many", ""
    while path:
        _, text, _ = await logged.get(path)
        page = json.loads(text)
        sequence_numbers += [line["seq"] for line in page["rows"]]
        path, back = page["older"] or "", page["newer"] or back
    assert sequence_numbers == [100 + at for at in reversed(range(MANY))]
    _, text, _ = await logged.get(back)
    page = json.loads(text)
    assert [line["seq"] for line in page["rows"]] == [100 + at for at in reversed(range(30, 30 + LINES))]
    _, text, _ = await logged.get(page["newer"])
    page = json.loads(text)
    assert [line["seq"] for line in page["rows"]] == [100 + at for at in reversed(range(130, 130 + LINES))]
    assert page["newer"] is None


async def test_the_page_links_to_the_span_before(logged: World) -> None:
    path, is_listed = "/logs?event=daemon+started", False
    for _ in range(5):
        _, text, _ = await logged.get(path)
        is_listed = "daemon started</a>" in text
        if is_listed:
            break
        link = re.search(r'href="([^"]+)" rel="next">the day before', text)
        assert link
        path = unescape(link[1])
    assert is_listed
    assert "the day after</a>" in text
    assert 'name="until"' in text


async def test_no_logged_text_is_interpreted_as_html(logged: World, browser: Browser) -> None:
    _, text, _ = await logged.get("/logs?source=%3Cscript%3Ealert(9)%3C/script%3E&text=%22%3E%3Cb%3E")
    assert "<script>alert" not in text
    assert '"><b>' not in text
    page = await browser.new_page()
    alarms = list[str]()
    page.on("dialog", lambda dialog: alarms.append(dialog.message))
    page.on("console", lambda message: alarms.append(message.text) if message.type == "error" else None)
    await page.goto(f"{logged.address}/logs")
    for summary in await page.query_selector_all("summary"):
        await summary.click()
    log_text = await page.inner_text("ol.log")
    assert await page.query_selector("ol.log img, ol.log script, ol.log i") is None
    assert alarms == []
    assert HOSTILE in log_text
    assert "</code></pre><script>alert(2)</script>" in log_text
    assert "no json <b>" in log_text
    await page.close()


async def test_the_form_works_without_script_and_on_a_phone(logged: World, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = await context.new_page()
    await page.goto(f"{logged.address}/status")
    await page.click("nav >> text=Log")
    await page.select_option("select[name=level]", "warning")
    await page.fill("input[name=text]", "größe")
    await page.click("form.filter button")
    assert await page.locator("li.line").count() == 1
    assert await page.input_value("input[name=text]") == "größe"
    assert await page.input_value("select[name=level]") == "warning"
    assert await page.locator("mark.tag.amber").inner_text() == "warning"
    await page.goto(f"{logged.address}/logs")
    box = await page.locator("ol.log").bounding_box()
    assert box
    assert box["x"] + box["width"] <= 390
    await context.close()


@pytest.mark.parametrize(
    "query",
    [
        "level=loud", "span=age", "load=-1", "load=1e3", f"load={1 << 64}", "before=x", "after=1-2", f"before=1-1-{1 << 64}",
        "until=yesterday", "what=1", "text=" + "x" * 400, "until=0001-01-01", "before=%D9%A1-1-1",
    ],
)  # fmt: skip
async def test_an_invalid_query_is_refused(logged: World, query: str) -> None:
    status, text, _ = await logged.get(f"/logs?{query}")
    assert status == 400
    assert query.partition("=")[0] in text


async def test_marks_at_the_edges_of_time_are_answered(logged: World) -> None:
    for query in ("before=0-0-0", f"after={10**17 - 1}-{10**17 - 1}-{(1 << 64) - 1}", "until=1900-01-02&span=year"):
        assert await seqs(logged, f"?{query}") == []


async def test_the_table_the_row_and_the_files_work_as_for_every_dataset(logged: World) -> None:
    _, text, _ = await logged.get("/logs?run=r1&event=document+stored")
    place = re.search(r'class="when" href="([^"]+)"', text)
    assert place
    status, text, _ = await logged.get(unescape(place[1]))
    assert status == 200
    assert "document stored" in text
    status, text, _ = await logged.get("/data/logs?source=sec_ftd")
    assert status == 200
    assert "load published" in text
    status, text, _ = await logged.get("/data/logs.ndjson?source=sec_ftd&_cols=seq")
    assert (status, len(text.splitlines())) == (200, 4)


async def test_pages_link_to_their_log_lines(logged: World) -> None:
    _, text, _ = await logged.get("/status")
    assert 'href="/logs?flow=collect%20sec_ftd"' in text
    assert 'href="/logs?source=sec_ftd' in text
    _, text, _ = await logged.get(f"/source/{logged.digests['2021/01/a']}")
    assert 'href="/logs?load=1001&amp;span=day&amp;until=2021-' in text


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    out = io.StringIO()
    log.configure("debug", "json", out)
    yield out
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if type(handler).__name__ != "_LibraryHandler"]


@pytest.fixture
def log_lines() -> None:
    """Here the log itself handles what is logged."""


async def test_the_log_lines_of_a_request_are_found_by_its_id(logged: World, console: io.StringIO) -> None:
    buffer = LogBuffer(1_000, 1_000)
    with log.forward_events(buffer.add):
        async with run_log_writer(Board(), buffer, logged.warehouse, SilentMetrics(), 60.0):
            _, page, fine = await logged.get("/status")
            status, text, refused = await logged.get("/data/nothing", headers={"Accept": "application/json"})
            _, html, missing = await logged.get("/nowhere")
            async with logged.served(warehouse=Broken(KeyError("ours"))) as broken:
                _, broke, failed = await broken.get("/")
            _, _, moved = await logged.get("/data/sec_ftd?_filter_column=symbol&_filter_value=GME")
            _, _, streamed = await logged.get("/data/sec_ftd.csv?_size=1")
    marks = [response.headers["X-Request-Id"] for response in (fine, refused, missing, failed, moved, streamed)]
    assert len(set(marks)) == 6
    assert all(re.fullmatch(r"[0-9a-f]{12}", mark) for mark in marks)
    assert (status, json.loads(text)["error"]["request"]) == (404, marks[1])
    assert f'href="/logs?request={marks[2]}"' in html
    assert marks[3] in broke
    assert marks[0] not in page
    for mark, events in (
        (marks[0], ["request served"]), (marks[1], ["request served", "request refused"]),
        (marks[3], ["request served", "request refused", "request failed"]), (marks[5], ["request served"]),
    ):  # fmt: skip
        _, text, _ = await logged.get(f"/logs.json?request={mark}")
        assert [line["event"] for line in json.loads(text)["rows"]] == events
    _, text, _ = await logged.get(f"/logs.json?request={marks[3]}&event=request+failed")
    assert "KeyError" in json.loads(text)["rows"][0]["fields"]["exception"]
    assert marks[0] in console.getvalue()


async def test_a_warehouse_failure_is_shown_as_on_every_page(logged: World) -> None:
    async with logged.served(warehouse=Broken(StoreError("connection refused"))) as broken:
        status, text, _ = await broken.get("/logs")
    assert (status, "The warehouse cannot answer" in text) == (503, True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_in_lines_of_all_kinds(logged: World, browser: Browser, scheme: str) -> None:
    async with open_page(logged, browser, "/logs?span=week", bypass_csp=True, color_scheme=scheme) as watched:
        await watched.page.add_script_tag(content=AXE)
        results = await watched.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (violation["id"], violation["nodes"][0]["html"])
        for violation in results["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []
