"""The search folds both sides: share classes in any spelling, case, accents, and letters that a publisher broke. Two
securities that have one symbol on one day are shown apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser, expect

from spotlightd.query.search.spelling import read_search
from spotlightd.sources import sec_ftd
from spotlightd.workers.inline import parse_inline
from tests.web.world import FAILS, World, open_database, publish

FIELD_CASES = Path(__file__).parent / "field_cases"
NAMES = [column.name for column in FAILS.columns]


def read_case(name: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a text, read as the source reads a line."""
    for line in (FIELD_CASES / name).read_text(encoding="latin-1").splitlines():
        row = sec_ftd.reread(line)
        yield tuple(row[column] for column in NAMES)


def read_zip(name: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a document, read as the daemon reads it."""
    for block in parse_inline(sec_ftd.source, FIELD_CASES / name, name):
        yield from (tuple(row[column] for column in NAMES) for row in block.columns.to_pylist())  # type: ignore[union-attr]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def field(world: World) -> AsyncIterator[World]:
    async with open_database(world, "field_cases", [FAILS]) as field:
        rows = [*read_case("share_classes.txt"), *read_case("merger_days.txt"), *read_zip("cnsfails201901a.zip")]
        await publish(field, FAILS, rows)
        yield field


async def search(world: World, text: str) -> str:
    """Where a search leads: the address of a symbol's page, or the symbols of its list."""
    status, body, answer = await world.get("/search", params={"q": text})
    if status == 303:
        return answer.headers["Location"]
    assert status == 200
    return " ".join(re.findall(r'<th scope="row"><a href="/s/([^"]*)"', body))


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("texts", "address"),
    [
        (("BRKB", "BRK-B", "BRK.B", "BRK/B", "BRK B", "brk.b", "Brk b", " brk-b "), "/s/BRKB"),
        (("BRK\u2013B", "BRK\u2014B", "BRK\u2011B", "BRK\u2212B", "BRK·B", "BRK+B", "BRK*B", "BRK\\B"), "/s/BRKB"),
        (("BF.B", "BF-B", "bf/b"), "/s/BFB"),
        (("MOG-A", "MOG.A", "MOG A"), "/s/MOGA"),
        (("084670702", "08467070", "084670-70-2", "084670 702"), "/s/BRKB"),
    ],
)
async def test_a_share_class_is_found_in_any_spelling(field: World, texts: tuple[str, ...], address: str) -> None:
    assert {text: await search(field, text) for text in texts} == dict.fromkeys(texts, address)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("text", ["BRK/B", "BRKB", "brk.b", "BRK-B", "BRK B"])
async def test_a_symbol_with_a_separator_is_found_without_it(world: World, text: str) -> None:
    assert await search(world, text) == "/s/BRK%2FB"


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("texts", "symbol"),
    [
        (("enel americas", "ENEL AMÉRICAS", "Enel Ame\u0301ricas", "ENEL AM»RICAS", "enel am\u00e9ricas s.a."), "ENIA"),
        (("itau", "Itaú CorpBanca", "ITAU CORP", "ITAþ CORPBANCA"), "ITCBRT"),
        (("example forman", "Example-Forman Cl B", "EXAMPLE FORMAN CL-B"), "BFB"),
    ],
)
async def test_a_name_is_found_by_its_plain_letters(field: World, texts: tuple[str, ...], symbol: str) -> None:
    assert {text: await search(field, text) for text in texts} == dict.fromkeys(texts, symbol)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("text", ["333333333", "33333333"])
async def test_a_security_without_a_symbol_is_found_by_its_cusip(world: World, text: str) -> None:
    async with open_database(world, "without_symbols", [FAILS]) as database:
        await publish(database, FAILS, [*nameless_rows()])
        address = await search(database, text)
        assert address == "/data/sec_ftd?cusip=333333333"
        status, body, _ = await database.get(f"{address}&_size=10")
    assert status == 200
    assert "NAMELESS TRUST" in body
    assert "NAMELESS FUND" not in body


@pytest.mark.asyncio(loop_scope="session")
async def test_a_security_without_a_symbol_is_found_by_its_name(world: World) -> None:
    async with open_database(world, "without_symbols_too", [FAILS]) as database:
        await publish(database, FAILS, [*nameless_rows()])
        status, body, _ = await database.get("/search", params={"q": "nameless"})
    assert status == 200
    assert '<a href="/data/sec_ftd?cusip=333333333">no symbol</a>' in body
    assert body.count("NAMELESS") == 2


def nameless_rows() -> Iterator[tuple[Any, ...]]:
    """Constructed: two securities without a symbol, one of them on two days."""
    for day, cusip, name in (
        (4, "333333333", "NAMELESS TRUST"),
        (5, "333333333", "NAMELESS TRUST"),
        (5, "444444444", "NAMELESS FUND"),
    ):
        yield date(2021, 1, day), cusip, "", 10, name, Decimal(1)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_name_is_shown_as_it_was_printed(field: World) -> None:
    _, body, _ = await field.get("/search?q=enel")
    assert "ENEL AM»RICAS S.A." in body


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("text", ["", ".", "- /", "'", "日本", "?", "?????", "%", "ENEL AMERIKAS", "BRKC"])
async def test_a_search_never_finds_everything(field: World, text: str) -> None:
    assert await search(field, text) == ""


@pytest.mark.parametrize("typed", ["macys", "macy's", "macy\u2019s inc", "MACYS", "macy`s"])
@pytest.mark.parametrize("printed", ["MACY'S INC", "MACYS INC", "Macy's Inc."])
def test_an_apostrophe_decides_nothing(typed: str, printed: str) -> None:
    patterns = read_search(typed)
    assert patterns
    assert re.search(patterns.name, printed)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_a_text_that_is_typed_as_it_is_printed_finds_it(text: str) -> None:
    patterns = read_search(text)
    if patterns is not None:
        assert re.search(patterns.symbol, text)
        assert re.search(patterns.name, text)
        assert re.search(patterns.broken_name, text)


@settings(deadline=None)
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=2, max_size=12), st.data())
def test_separators_decide_nothing(symbol: str, data: st.DataObject) -> None:
    separators = st.lists(st.sampled_from(["", ".", "-", "/", " "]), min_size=len(symbol), max_size=len(symbol))
    spelt, printed = ("".join(map("".join, zip(symbol, data.draw(separators), strict=True))) for _ in range(2))
    patterns = read_search(spelt.lower())
    assert patterns
    assert re.search(patterns.symbol, printed)
    assert not re.search(patterns.symbol, printed + "X")


def symbol_series(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" class="series">(.*?)</script>', text, re.DOTALL)
    assert found
    series: dict[str, Any] = json.loads(found[1])
    return series


@pytest.mark.asyncio(loop_scope="session")
async def test_two_securities_of_one_symbol_are_shown_apart_with_both_numbers(field: World) -> None:
    status, text, _ = await field.get("/s/MHGVY")
    assert status == 200
    assert "10,338" not in text  # the sum
    assert "On 1 day several securities had this symbol" in text
    summary = re.search(r'<p class="summary">(.*?)</p>', text, re.DOTALL)
    assert summary
    plain = re.sub(r"<[^>]+>", "", summary[1])
    assert "1 day with rows" in plain
    assert "Largest: 10,231 shares on 2019-01-02 (CUSIP 624678108)" in plain
    assert "Latest: 10,231 shares (CUSIP 624678108) and 107 shares (CUSIP 56824R205) on 2019-01-02." in plain
    bars = re.findall(r"<title>(2019-01-02, CUSIP \w+: [\d,]+ shares)</title>", text)
    assert bars == ["2019-01-02, CUSIP 624678108: 10,231 shares", "2019-01-02, CUSIP 56824R205: 107 shares"]
    rows = re.findall(
        r'<td><a href="([^"]+)">2019-01-02</a> <small>\(CUSIP (\w+)\)</small></td><td class="num">([\d,]+)', text
    )
    assert set(rows) == {
        ("/data/sec_ftd/2019-01-02,624678108,MHGVY", "624678108", "10,231"),
        ("/data/sec_ftd/2019-01-02,56824R205,MHGVY", "56824R205", "107"),
    }
    series = symbol_series(text)
    assert series["amounts"] == [10_231, 107]
    assert series["shared"] == {"0": "624678108", "1": "56824R205"}


@pytest.mark.asyncio(loop_scope="session")
async def test_rows_of_one_key_are_never_added_up(world: World) -> None:
    """A publisher printed a balance twice, with two values."""
    day = date(2021, 1, 4)
    rows = [(day, "000000A10", "AAAA", quantity, "EXAMPLE", Decimal("2.0000")) for quantity in (700, 500)]
    rows += [(date(2021, 1, 5), "000000A10", "AAAA", 40, "EXAMPLE", Decimal("2.0000"))]
    async with open_database(world, "repeated_keys", [FAILS]) as repeated:
        await publish(repeated, FAILS, rows)
        status, text, _ = await repeated.get("/s/AAAA")
        front = (await repeated.get("/"))[1]
    assert status == 200
    assert "1,200" not in text + front
    assert "On 1 day several rows have one key" in text
    assert "They are not added up: the largest is shown" in text
    assert text.count("(the largest of 2 rows, not added up)") >= 2
    assert "2021-01-04: 700 shares (the largest of 2 rows, which are not added up)" in text
    assert symbol_series(text)["amounts"] == [700, 40]
    assert symbol_series(text)["worths"] == [1_400, 80]


@pytest.mark.asyncio(loop_scope="session")
async def test_bars_of_one_day_stand_side_by_side(field: World) -> None:
    _, text, _ = await field.get("/s/MHGVY")
    drawing = text.split('<svg class="chart"')[1].split("</svg>")[0]
    places = [
        (float(x), float(width))
        for x, width in re.findall(r'class="hit" x="([\d.]+)" y="10" width="([\d.]+)"', drawing)
    ]
    assert len(places) == 2
    assert places[0][0] + places[0][1] <= places[1][0] + 0.01


@pytest.mark.asyncio(loop_scope="session")
async def test_a_symbol_that_passes_to_another_security_is_one_series(field: World) -> None:
    _, text, _ = await field.get("/s/XERS")
    series = symbol_series(text)
    assert (series["amounts"], series["shared"]) == ([1_350, 9_463], {})
    assert "several securities" not in text
    assert [date.fromordinal(day).isoformat() for day in series["days"]] == ["2021-10-06", "2021-10-07"]


@pytest.mark.asyncio(loop_scope="session")
async def test_the_first_page_ranks_securities_and_not_their_sums(field: World) -> None:
    _, text, _ = await field.get("/")
    assert ">10,231<" in text
    assert "10,338" not in text


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_the_chart_of_the_script_has_both_numbers_too(field: World, browser: Browser) -> None:
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{field.address}/s/MHGVY")
    figure = page.locator("figure[data-chart=amounts][data-ready]")
    box = await figure.locator(".u-over").bounding_box()
    assert box
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    legend = figure.locator(".u-legend")
    await expect(legend).to_contain_text("10,231, CUSIP 624678108")
    await expect(legend).to_contain_text("107, CUSIP 56824R205")
    assert errors == []
    await page.close()
