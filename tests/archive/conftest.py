"""One engine for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from tests.engine.world import client_of, engine_on


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def warehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClickHouse]:
    async with engine_on(tmp_path_factory.mktemp("state")) as engine, client_of(engine, streams=20) as warehouse:
        yield warehouse
