"""`/swaps/{publisher}/{regime}/{trade}`: the steps of a trade's life, what each changed, and the line of each."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
import pytest_asyncio

from spotlightd.datasets.swaps import swaps
from tests.web.swaps_world import create_messages
from tests.web.world import World, open_database, publish

pytestmark = pytest.mark.asyncio(loop_scope="session")
FIRST = 9 * 10**18 + 1


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market(world: World) -> AsyncIterator[World]:
    async with open_database(world, "lives", [swaps]) as opened:
        await publish(opened, swaps, create_messages())
        yield opened


async def read(market: World, path: str) -> str:
    status, text, _ = await market.get(path)
    assert status == 200, text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


async def test_a_message_is_shown_before_its_trade_is_put_together(market: World) -> None:
    page = await read(market, f"/swaps/DTCC/SEC/{FIRST}")
    assert "still being put together" in page
    assert "Reported" in page
