"""One engine for all tests of this folder that do not stop it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.process import Engine

from .world import HttpClient, client_of, engine_on, http_client_of


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    async with engine_on(tmp_path_factory.mktemp("state"), download_slots=3) as engine:
        yield engine


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def warehouse(engine: Engine) -> AsyncIterator[ClickHouse]:
    async with client_of(engine, streams=20) as warehouse:
        yield warehouse


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(engine: Engine) -> AsyncIterator[HttpClient]:
    async with http_client_of(engine) as http:
        yield http
