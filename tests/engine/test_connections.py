"""The engine under half requests, and what it tells of itself."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.process import Engine
from spotlightd.engine.server import MOST_CONNECTIONS
from tests.server.half_requests import open_half_requests

from .world import HttpClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_more_half_requests_than_places_keep_nobody_from_an_answer(
    engine: Engine, http: HttpClient, warehouse: ClickHouse
) -> None:
    port = urlsplit(engine.url).port or 0
    with ExitStack() as held:
        for _ in range(MOST_CONNECTIONS // 100 + 1):
            await open_half_requests(held, port, 100)
            assert await http.text("SELECT 1") == "1"
        assert (await warehouse.rows("SELECT 2")).rows == ((2,),)


async def test_it_tells_no_versions(http: HttpClient) -> None:
    for sql in ("SELECT 1", "SELEC 1", "SELECT * FROM numbers(100000)"):
        _, headers, _ = await http.post(sql)
        assert headers["Server"] == "spotlightd"
