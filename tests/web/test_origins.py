"""From a derived row to the rows that it was computed from, and from these to the lines of their documents."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
import pytest_asyncio

from tests.web.swaps_world import DATASETS, DERIVATIONS, open_market
from tests.web.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")
TRADE = 9 * 10**18 + 1


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    origins = {derivation.dataset.name: derivation.origins for derivation in DERIVATIONS}
    async with (
        open_market(world, "origins", tmp_path_factory.mktemp("origins")) as opened,
        opened.served(warehouse=opened.warehouse, datasets=DATASETS, origins=origins) as served,
    ):
        yield served


async def read_links(market: World, address: str, start: str) -> list[str]:
    status, text, _ = await market.get(address)
    assert status == 200, text
    return [unescape(link) for link in re.findall(rf'href="({start}[^"]+)"', text)]


async def test_a_trade_leads_to_its_messages_and_these_to_their_lines(market: World) -> None:
    messages = await read_links(market, f"/data/swap_trades/DTCC,SEC,{TRADE}", "/data/swaps/DTCC")
    assert [link.rpartition(",")[2] for link in messages] == [str(TRADE + step) for step in range(3)]
    for number, link in enumerate(messages, 1):
        lines = await read_links(market, link, "/source/")
        assert any(f"line={number}" in line for line in lines)


async def test_a_sum_of_a_day_leads_to_the_messages_that_were_added_up(market: World) -> None:
    rows = (await market.get("/data/swap_days.json?action=TERMINATE"))[1]
    assert '"messages":1' in rows.replace(" ", "")
    links = await read_links(market, "/data/swap_days?action=TERMINATE", "/data/swap_days/2026-07-15")
    messages = await read_links(market, links[0], "/data/swaps/DTCC")
    assert messages == [f"/data/swaps/DTCC,SEC,{TRADE + 2}"]


async def test_the_json_of_a_row_names_the_rows_too(market: World) -> None:
    _, text, _ = await market.get(f"/data/swap_trades/DTCC,SEC,{TRADE}.json")
    assert f'"/data/swaps/DTCC,SEC,{TRADE}"' in text


async def test_a_derived_row_is_not_cited_but_the_rows_that_it_was_computed_from(market: World) -> None:
    status, text, _ = await market.get("/cite?address=/data/swap_days?action=NEW")
    assert status == 400
    assert "computed from other rows" in text
    _, page, _ = await market.get("/data/swap_days")
    assert "/cite?" not in page
