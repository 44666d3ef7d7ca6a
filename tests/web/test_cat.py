"""`/cat`: the newest rate of each day, what an earlier report printed instead, and the cell that it was read from."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.datasets.cat import cat_error_rates, cat_record_counts
from spotlightd.ports.parser import Excerpt, ExcerptLine
from tests.web.world import FAILS, World, half_month, open_database, publish

pytestmark = pytest.mark.asyncio(loop_scope="session")
PNG = b"constructed picture"
CELL = [10.0, 20.0, 30.0, 40.0]


def rate(day: int, error: str, stage: str, report: date, value: str | None) -> tuple[Any, ...]:
    number = Decimal(value) if value else None
    return (date(2026, 2, day), "equities", error, stage, report, number, f"{value}%" if value else "N/A", CELL)


FEBRUARY, MARCH = date(2026, 2, 26), date(2026, 3, 26)
FIRST = [
    rate(2, "late", "", FEBRUARY, "0.50"),
    rate(2, "overall", "initial", FEBRUARY, "1.25"),
    rate(2, "overall", "adjusted", FEBRUARY, None),
]
SECOND = [
    rate(2, "overall", "initial", MARCH, "1.30"),
    rate(2, "overall", "adjusted", MARCH, "0.75"),
    rate(3, "overall", "initial", MARCH, "2.00"),
]


async def draw(digest: str, member: int, line: int, around: int, *, with_picture: bool = False) -> Excerpt:
    """What the confined child answers about a page of a PDF."""
    del digest, around
    return Excerpt(
        "", (ExcerptLine(line, f"cell of page {member}"),), is_page=True, picture=PNG if with_picture else b""
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reports(world: World) -> AsyncIterator[World]:
    async with open_database(world, "cat", [FAILS, cat_error_rates, cat_record_counts]) as opened:
        await publish(opened, FAILS, half_month(date(2021, 1, 4), 3, 1))
        await publish(opened, cat_error_rates, FIRST)
        await publish(opened, cat_error_rates, SECOND)
        counts = [(date(2026, 2, 2), "equities", "processed", FEBRUARY, 123_456, "123,456", CELL)]
        await publish(opened, cat_record_counts, counts)
        async with opened.served(excerpt=draw) as served:
            yield served


async def read(world: World, path: str) -> str:
    status, text, _ = await world.get(path)
    assert status == 200, text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


async def test_the_newest_report_counts_and_says_what_the_first_one_printed(reports: World) -> None:
    page = await read(reports, "/cat")
    assert "2026-02-02 1.30 was 1.25 0.75 was \u2013 0.50" in page
    assert "2026-02-03 2.00 \u2013 \u2013" in page
    assert "123,456" in page
    assert "No report is here yet" in await read(reports, "/cat?product=options")


async def test_a_number_leads_to_the_page_of_the_report_with_its_cell_marked(reports: World) -> None:
    _, text, _ = await reports.get("/cat")
    address = unescape(re.findall(r'href="(/data/cat_error_rates/[^"]*adjusted[^"]*)"', text)[0])
    _, row, _ = await reports.get(address)
    assert "2026-03-26" in row
    picture = re.findall(r'<img class="page" src="([^"]+)"', row)
    assert len(picture) == 1
    status, body, answer = await reports.get(unescape(picture[0]))
    assert (status, answer.content_type, body) == (200, "image/png", PNG.decode())


async def test_a_changed_number_leads_to_what_each_report_says(reports: World) -> None:
    _, text, _ = await reports.get("/cat")
    address = unescape(re.findall(r'href="([^"]+)">was 1.25', text)[0])
    table = await read(reports, address)
    assert "2026-02-26" in table
    assert "2026-03-26" in table
    assert "2 rows" in table


async def test_the_report_before_and_after_is_one_click_away(reports: World) -> None:
    _, text, _ = await reports.get("/cat")
    address, *_ = re.findall(r'href="(/data/cat_error_rates/2026-02-03[^"]*)"', text)
    _, row, _ = await reports.get(unescape(address))
    _, later, _ = await reports.get(re.findall(r'href="(/source/[0-9a-f]{64})"', row)[0])
    earlier = re.findall(r'rel="prev" href="(/source/[0-9a-f]{64})"', later)
    assert len(earlier) == 1
    assert 'rel="next"' in (await reports.get(earlier[0]))[1]


async def test_what_the_page_does_not_take_is_named(reports: World) -> None:
    assert (await reports.get("/cat?product=bonds"))[0] == 400
    assert (await reports.get("/cat?colour=red"))[0] == 400
