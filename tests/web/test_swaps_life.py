"""`/swaps/{publisher}/{regime}/{trade}`: the steps of a trade's life, what each changed, and the line of each."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from html import unescape

import pytest
import pytest_asyncio

from spotlightd.datasets.swaps import swaps
from spotlightd.query.values import rfc3339
from spotlightd.web.swaps.timeline import find_changes
from tests.web.swaps_world import DATASETS, create_messages, message, open_market
from tests.web.world import World, open_database, publish

pytestmark = pytest.mark.asyncio(loop_scope="session")
TRADE = 9 * 10**18


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_market(world, "lives", tmp_path_factory.mktemp("lives")) as opened:
        yield opened


async def read(market: World, number: int, place: str = "DTCC/SEC") -> str:
    status, text, _ = await market.get(f"/swaps/{place}/{TRADE + number}")
    assert status == 200, text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


async def test_a_life_has_a_step_for_each_message_with_what_it_changed(market: World) -> None:
    page = await read(market, 1)
    assert "The trade was ended on 2026-07-15" in page
    assert "notional 1,000,000.00 800,000.00 USD changed" in page
    steps = page[page.index("Its life") :]
    assert steps.index("Reported") < steps.index("Changed") < steps.index("Ended (early end)")
    assert "notional_1 1,000,000.00 800,000.00" in steps
    assert steps.count("notional_1 1,000,000.00 800,000.00") == 1
    assert "Changes none of the terms." in steps


async def test_every_step_leads_to_the_line_of_its_message(market: World) -> None:
    _, text, _ = await market.get(f"/swaps/DTCC/SEC/{TRADE + 1}")
    places = re.findall(r'href="/source/([0-9a-f]{64})\?member=0&amp;line=(\d+)"', text)
    assert [int(line) for _, line in places] == [1, 2, 3]
    answer = await market.warehouse.rows("SELECT document FROM loads WHERE dataset = 'swaps'")
    assert {digest for digest, _ in places} == {row[0] for row in answer.rows}


async def test_another_message_leads_to_its_trade(market: World) -> None:
    status, _, answer = await market.get(f"/swaps/DTCC/SEC/{TRADE + 3}")
    assert (status, answer.headers["Location"]) == (303, f"/swaps/DTCC/SEC/{TRADE + 1}")


async def test_a_withdrawn_trade_and_a_trade_of_another_repository(market: World) -> None:
    assert "it should never have been made" in await read(market, 4)
    assert "By its messages the trade is live." in await read(market, 9, "ICE/SEC")


async def test_an_unknown_trade_says_where_to_look(market: World) -> None:
    for path in (f"/swaps/CME/CFTC/{TRADE + 1}", "/swaps/DTCC/SEC/none", f"/swaps/DTCC/SEC/{'9' * 200}"):
        status, text, _ = await market.get(path)
        assert status == 404
        assert "Look for it in /data/swaps" in text


async def test_a_message_is_shown_before_its_trade_is_put_together(world: World) -> None:
    async with open_database(world, "early", DATASETS) as early:
        await publish(early, swaps, create_messages())
        assert "still being put together" in await read(early, 1)


async def test_the_state_of_an_earlier_time_is_shown(market: World) -> None:
    answer = await market.warehouse.rows("SELECT published_at FROM loads WHERE dataset = 'swaps'")
    before = rfc3339(answer.rows[0][0])
    status, text, _ = await market.get(f"/swaps/DTCC/SEC/{TRADE + 1}?as_of={before}")
    assert status == 200
    assert "still being put together" in text


async def test_changes_name_columns_and_the_publishers_own_fields() -> None:
    names = [column.name for column in swaps.columns]
    before, after = (
        dict(zip(names, message(number, price=Decimal(number), other={"Index": "a", "Same": "b"}), strict=True))
        for number in (1, 2)
    )
    after["other"] = [("Index", "c"), ("New", "d"), ("Same", "b")]
    changes = [(change.name, change.before, change.after) for change in find_changes(before, after)]
    assert changes == [("price", Decimal(1), Decimal(2)), ("Index", "a", "c"), ("New", "", "d")]
