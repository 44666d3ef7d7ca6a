"""One engine for all tests of flows, a database of its own for each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.settings import stores

from .world import World, constructed_counts


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine in an event loop of its own, because each test has another loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="engine of the tests")
    thread.start()
    try:
        with state_lock(tmp_path_factory.mktemp("engine")) as held:
            engine = Engine(held, stores.EngineSettings())
            asyncio.run_coroutine_threadsafe(engine.__aenter__(), loop).result(60)
            try:
                yield engine
            finally:
                asyncio.run_coroutine_threadsafe(engine.__aexit__(None, None, None), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
async def warehouse(engine: Engine) -> AsyncIterator[ClickHouse]:
    database = f"flows_{uuid4().hex[:12]}"
    async with ClickHouse(engine.url, engine.user, engine.password, database, stores.WarehouseSettings()) as opened:
        for dataset in (*SYSTEM_DATASETS, constructed_counts):
            await opened.ensure(dataset)
        yield opened
        await opened.execute(f"DROP DATABASE {database} SYNC")


@pytest.fixture
def world(tmp_path: Path, warehouse: ClickHouse) -> World:
    return World(tmp_path, warehouse)
