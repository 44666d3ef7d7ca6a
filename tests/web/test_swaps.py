"""`/swaps`: what is counted and added up, the filters of its address, and where its links lead."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator
from datetime import date
from html import unescape

import pytest
import pytest_asyncio

from tests.web.swaps_world import open_market
from tests.web.world import FAILS, World, half_month, publish

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_market(world, "swaps", tmp_path_factory.mktemp("swaps"), [FAILS]) as opened:
        await publish(opened, FAILS, half_month(date(2021, 1, 4), 3, 1))
        yield opened


async def read(market: World, path: str) -> str:
    """The page as text without tags."""
    status, text, _ = await market.get(path)
    assert status == 200, text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


async def test_new_trades_of_the_period_are_added_up_in_one_currency(market: World) -> None:
    page = await read(market, "/swaps")
    assert (
        "From 2026-04-20 to 2026-07-15 repositories made 8 messages about swaps public. New trades among them: 5."
        in page
    )
    assert "Of these, 4 have a notional in USD: 255,000,000 USD as printed. 1 is capped by rule" in page
    assert "5,000,000 EUR as printed" in await read(market, "/swaps?currency=EUR")


async def test_every_group_leads_to_the_page_of_its_messages(market: World) -> None:
    _, text, _ = await market.get("/swaps")
    links = {unescape(link) for link in re.findall(r'href="(/swaps\?[^"]+)"', text) if "week=" not in link}
    assert "/swaps?asset_class=IR&report_date__gte=2026-04-20&report_date__lte=2026-07-15" in links
    assert any(link.startswith("/swaps?publisher=DTCC&regime=SEC&") for link in links)
    assert any(link.startswith("/swaps?underlier=USD-SOFR-COMPOUND&") for link in links)
    assert any(link.startswith("/swaps?underlier=basket&") for link in links)
    assert all(["repositories made" in await read(market, link) for link in sorted(links)])
    page = await read(market, "/swaps?underlier=US36467W1099&report_date__gte=2026-07-01&report_date__lte=2026-07-15")
    assert "made 5 messages about swaps public. New trades among them: 2." in page
    assert "Only where underlier = US36467W1099" in page


async def test_the_files_of_the_page_hold_the_rows_behind_it(market: World) -> None:
    _, text, _ = await market.get("/swaps?asset_class=EQ")
    (address,) = {unescape(link) for link in re.findall(r'href="(/data/swap_days\.csv[^"]+)"', text)}
    _, rows, _ = await market.get(address)
    lines = list(csv.DictReader(rows.splitlines()))
    assert sum(int(line["messages"]) for line in lines) == 7
    assert {line["asset_class"] for line in lines} == {"EQ"}


async def test_weeks_are_shown_when_there_are_many_days(market: World) -> None:
    _, text, _ = await market.get("/swaps?report_date__gte=2024-01-01")
    assert "Notional of new trades by week" in text
    assert "/swaps?week=2026-07-13" in unescape(text)
    assert "Notional of new trades by day" in (await market.get("/swaps"))[1]


async def test_what_is_live_is_added_up_without_regard_to_the_days(market: World) -> None:
    page = await read(market, "/swaps?report_date__lte=2026-07-07")
    assert "4 trades that no message has ended" in page
    assert "3 of them have a notional in USD, 254,000,000 USD in force" in page
    assert "interest rates 250M 100 % 1" in page
    page = await read(market, "/swaps?asset_class=EQ&currency=EUR")
    assert "1 of them have a notional in EUR, 5,000,000 EUR in force" in page
    assert "remove the other filters" in await read(market, "/swaps?underlier=basket")


async def test_a_form_and_a_week_stand_for_filters(market: World) -> None:
    form = "/swaps?publisher=&regime=SEC&asset_class=&instrument=&underlier=&currency=&report_date__gte=2026-07-06&report_date__lte="
    status, _, answer = await market.get(form)
    assert (status, answer.headers["Location"]) == (303, "/swaps?regime=SEC&report_date__gte=2026-07-06")
    status, _, answer = await market.get("/swaps?regime=SEC&week=2026-07-06")
    assert answer.headers["Location"] == "/swaps?regime=SEC&report_date__gte=2026-07-06&report_date__lte=2026-07-12"
    assert "repositories made 2 messages" in await read(market, answer.headers["Location"])
    assert "repositories made 1 message about" in await read(market, "/swaps?publisher=ICE")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("_sort=messages", "_sort: is for tables"),
        ("report_date__gte=yesterday", "report_date__gte: 'yesterday' is not a date like 2026-07-15"),
        ("week=31", "week: '31' is not a date"),
        ("aset_class=EQ", "did you mean asset_class?"),
    ],
)
async def test_a_wrong_parameter_is_named(market: World, query: str, sentence: str) -> None:
    status, text, _ = await market.get(f"/swaps?{query}")
    assert status == 400
    assert sentence in unescape(text)


async def test_filters_that_nothing_matches_say_so_and_a_place_without_swaps_says_what_to_do(
    market: World, world: World
) -> None:
    assert "No message matches these filters" in await read(market, "/swaps?instrument=none")
    assert ">Swaps</a>" in (await market.get("/"))[1]
    status, text, _ = await world.get("/swaps")
    assert status == 404
    assert "Enable a source of swaps" in text
    assert ">Swaps</a>" not in (await world.get("/"))[1]


async def test_a_page_that_did_not_change_is_not_sent_again(market: World) -> None:
    _, _, answer = await market.get("/swaps")
    status, text, _ = await market.get("/swaps", headers={"If-None-Match": answer.headers["ETag"]})
    assert (status, text) == (304, "")


# -- a symbol's page ---------------------------------------------------------------------------------------------------


async def test_a_symbol_shows_its_swaps_and_the_rule_that_found_each(market: World) -> None:
    page = await read(market, "/s/GME")
    assert (
        "7 messages of swap data repositories from 2024-02-01 to 2026-07-15 name GME; 4 of them report new trades"
        in page
    )
    assert "US36467W1099 an ISIN that contains the CUSIP 36467W109 6 1 GME.N the ticker GME 1 0" in page
    assert "counted nowhere here: 1 message prints GAMESTOP CORP . A name may be that of several companies" in page
    assert "New trades on GME alone have a notional of 3,000,000 USD" in page  # the basket of 3,000,000 is not in it
    assert f"2026-07-15 {9 * 10**18 + 8} DTCC, SEC NEW 3,000,000 USD NA/Swaps Bskt Tot Rtn 2 ISIN US36467W1099" in page


async def test_a_security_with_another_cusip_or_the_same_name_is_no_match(market: World) -> None:
    assert "swap data repositories" not in await read(market, "/s/AMC")  # its CUSIP here is not that of the messages
    page = await read(market, "/data/swap_underliers?rule=name")
    assert "GAMESTOP" in page


async def test_the_swaps_of_a_symbol_lead_to_their_rows(market: World) -> None:
    _, text, _ = await market.get("/s/GME")
    (address,) = {unescape(link) for link in re.findall(r'href="(/data/swap_underliers\.csv[^"]+)"', text)}
    assert address == "/data/swap_underliers.csv?code__in=36467W109,GME&rule__in=ISIN,ticker"
    _, rows, _ = await market.get(address)
    assert len(list(csv.DictReader(rows.splitlines()))) == 7
    for link in re.findall(r'href="(/data/swap_underliers[^"]+report_date=[^"]+)"', text):
        assert (await market.get(unescape(link)))[0] == 200
