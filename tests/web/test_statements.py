"""How many statements a page sends: each costs the daemon 2 ms and the engine as much, however little it reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.trades import trades
from spotlightd.ports.warehouse import Answer, Limits
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.query.together import join_queries, split_answer
from spotlightd.turns import Turns
from spotlightd.web.live.ticks import LiveWindow, read_new
from tests.web.trading import trading
from tests.web.world import FAILS, World, half_month, open_database, publish

FIRST = date(2021, 1, 4)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class CountingWarehouse:
    """The world's warehouse. It records the statements that pages send."""

    warehouse: ClickHouse
    sent: list[str] = field(default_factory=list)

    async def rows(self, sql: str, params: Mapping[str, Any] | None = None, *, limits: Limits | None = None) -> Answer:
        self.sent.append(sql)
        return await self.warehouse.rows(sql, params, limits=limits)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with trading(tmp_path_factory.mktemp("statements")) as world:
        yield world


@asynccontextmanager
async def counted(world: World) -> AsyncIterator[tuple[World, list[str]]]:
    counting = CountingWarehouse(world.warehouse)
    async with world.served(warehouse=counting) as served:
        yield served, counting.sent


@pytest.mark.parametrize(
    ("path", "statements"),
    [
        ("/s/GME", 3), ("/s/AMC", 3), ("/s/GME?window=5d", 3), ("/", 3), ("/?as_of=2021-03-20T09:02:00Z", 3),
        ("/status", 1), ("/status.json", 1), ("/disk", 1), ("/data/sec_ftd", 3), ("/data/sec_ftd?_facet=symbol", 4),
        ("/data/sec_ftd.json?_size=5", 2), ("/search?q=gamestop+corp", 3), ("/logs", 1), ("/source/{document}", 2),
        ("/data/sec_ftd/2021-01-04,36467W109,GME", 4),
    ],
)  # fmt: skip
async def test_a_page_sends_no_more_statements_than_it_needs(market: World, path: str, statements: int) -> None:
    async with counted(market) as (world, sent):
        status, text, _ = await world.get(path.format(document=market.digests["2021/01/a"]))
    assert status == 200, text
    assert len(sent) == statements, "\n\n".join(sent)


async def test_no_bars_are_asked_for_where_no_trade_was_published(market: World) -> None:
    async with counted(market) as (world, sent):
        assert (await world.get("/s/GME?as_of=2021-03-20T09:59:00Z"))[0] == 200
    assert len(sent) == 2
    assert not [sql for sql in sent if "bars" in sql]


async def test_more_datasets_are_not_more_statements(market: World) -> None:
    others = [replace(FAILS, name=f"other_{number}") for number in range(5)]
    async with open_database(market, "several", [FAILS, *others]) as several:
        for dataset in (FAILS, *others):
            await publish(several, dataset, half_month(FIRST, 3, 1))
        async with counted(several) as (world, sent):
            status, text, _ = await world.get("/s/GME")
            assert (status, text.count("CUSIP 36467W109.")) == (200, 6)
            assert len(sent) == 2
            sent.clear()
            assert (await world.get("/"))[0] == 200
            assert len(sent) == 3


async def test_a_poll_of_live_pages_sends_two_statements(market: World) -> None:
    counting, window, now = CountingWarehouse(market.warehouse), LiveWindow(), datetime.now(UTC)
    warehouse: Any = counting
    reader = Reader(warehouse, Limits(seconds=5), Turns(2), 5.0)
    await read_new(reader, trades, window, ["GME", "AMC"], now)  # which also asks for the last prices
    counting.sent.clear()
    await read_new(reader, trades, window, ["GME", "AMC"], now)
    assert len(counting.sent) == 2


async def test_the_answers_of_joined_queries_are_those_of_each(market: World) -> None:
    queries = [
        Query("SELECT symbol, count() AS rows FROM sec_ftd GROUP BY symbol ORDER BY rows DESC, symbol"),
        Query("SELECT max(settlement_date), {a:String}, NULL, [1, 2] FROM sec_ftd", {"a": "it's"}),
        Query("SELECT symbol FROM sec_ftd WHERE symbol = {a:String}", {"a": "it's"}),
    ]
    joined = join_queries(queries)
    together = split_answer(await market.warehouse.rows(joined.sql, joined.params))
    alone = [await market.warehouse.rows(query.sql, query.params) for query in queries]
    assert [answer.rows for answer in together] == [answer.rows for answer in alone]
    assert together[0].dicts() == alone[0].dicts()
    assert joined.created_at == min(query.created_at for query in queries)


async def test_joined_queries_cannot_give_a_parameter_two_values() -> None:
    with pytest.raises(ValueError, match="the parameter a different values"):
        join_queries([Query("SELECT {a:String}", {"a": "x"}), Query("SELECT {a:String}", {"a": "y"})])
