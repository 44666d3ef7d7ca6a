"""`/swaps/tape`: a day's rates by tenor and its credit indices, and where their links lead."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.datasets.cds_index_tape import cds_index_tape
from spotlightd.datasets.ois_curve import ois_curve
from spotlightd.model.dataset import Dataset
from tests.web.swaps_world import default_value
from tests.web.world import FAILS, World, half_month, open_database, publish

pytestmark = pytest.mark.asyncio(loop_scope="session")
DAY = date(2026, 7, 15)


def make_row(dataset: Dataset, **values: Any) -> tuple[Any, ...]:
    known = {"day": DAY, "publisher": "DTCC", "regime": "CFTC"} | values
    return tuple(known[column.name] if column.name in known else default_value(column) for column in dataset.columns)


def rate(
    tenor: str, days: int, value: str, currency: str = "USD", index: str = "SOFR", day: date = DAY
) -> tuple[Any, ...]:
    numbers = {"par_rate": Decimal(value), "lowest": Decimal(value), "highest": Decimal(value), "prints": 3}
    return make_row(
        ois_curve, day=day, currency=currency, floating_index=index, tenor=tenor, tenor_days=days, notional=Decimal(10),
        capped_share=0.5, trades=["1"], **numbers,
    )  # fmt: skip


def print_of(number: int, spread: str | None, *, package: bool = False, notional: int = 2_000_000) -> tuple[Any, ...]:
    return make_row(
        cds_index_tape, executed_at=datetime(2026, 7, 15, 12, number, tzinfo=UTC), credit_index="CDX.NA.IG", tenor="5Y",
        quoted_spread=Decimal(spread) if spread else None, package=package, notional=Decimal(notional), currency="USD",
        is_tranche=False, changes=0, root_id=f"{number}",
    )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market(world: World) -> AsyncIterator[World]:
    async with open_database(world, "tape", [FAILS, ois_curve, cds_index_tape]) as opened:
        await publish(opened, FAILS, half_month(date(2021, 1, 4), 3, 1))
        rates = [rate("1Y", 365, "0.0401"), rate("10Y", 3652, "0.0414"), rate("2Y", 730, "0.0055", "JPY", "TONA")]
        await publish(opened, ois_curve, [*rates, rate("1Y", 365, "0.0390", day=date(2026, 7, 14))])
        prints = [print_of(1, "0.0051"), print_of(2, "0.0053"), print_of(3, "0.9", package=True), print_of(4, None)]
        await publish(opened, cds_index_tape, prints)
        yield opened


async def read(market: World, path: str) -> str:
    status, text, _ = await market.get(path)
    assert status == 200, text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


async def test_the_newest_day_is_shown_and_each_point_leads_to_its_row(market: World) -> None:
    page = await read(market, "/swaps/tape")
    assert "What trades of 2026-07-15 say" in page
    assert "1Y 4.010 4.010 4.010 3 50 % 10" in page
    assert "JPY TONA (3)" in page
    _, text, _ = await market.get("/swaps/tape")
    nodes = [unescape(address) for address in re.findall(r'<a href="([^"]+)" aria-label="\w+: ', text)]
    assert len(nodes) == 2
    assert "0.0414" in await read(market, nodes[1])
    assert "1Y 3.900" in await read(market, "/swaps/tape?day=2026-07-14")
    assert "2Y 0.550" in await read(market, "/swaps/tape?currency=jpy")
    assert "No rate of EUR is derived" in await read(market, "/swaps/tape?currency=EUR")


async def test_levels_of_a_credit_index_leave_out_packages(market: World) -> None:
    assert "CDX.NA.IG 5Y 4 53.0 51.0 53.0 2 0 % 8 USD" in await read(market, "/swaps/tape")
    _, text, _ = await market.get("/swaps/tape")
    (rows,) = re.findall(r'href="(/data/cds_index_tape\?[^"]*tenor=5Y[^"]*)"', text)
    assert "4 rows" in await read(market, unescape(rows))


async def test_what_the_page_does_not_take_is_named(market: World) -> None:
    assert (await market.get("/swaps/tape?day=tomorrow"))[0] == 400
    assert (await market.get("/swaps/tape?color=red"))[0] == 400
