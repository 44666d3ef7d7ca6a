"""Shared by the tests of the engine: an engine on a folder, a client of it, and a plain HTTP client."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

from spotlightd.backoff import Backoff
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.host.probe import WHILE_RUNNING, Probing
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.model.bucket import EngineReach
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from tests.polling import until

DATABASE = "spotlightd"


def constructed(name: str) -> Dataset:
    """A constructed dataset of numbers and texts."""
    return Dataset(
        name=name,
        title="Constructed",
        publisher="nobody",
        about="For tests.",
        columns=(Column("n", "UInt64", "a number", unit="pieces"), Column("text", "String", "it's a text")),
        key=("n",),
        order=("n",),
        time="n",
        rhythm=Rhythm("never", stale_days=0),
    )


@dataclass(frozen=True, slots=True)
class HttpClient:
    """The engine's HTTP interface as any other client sees it."""

    url: str
    session: aiohttp.ClientSession

    async def post(
        self, sql: str | bytes | BinaryIO, headers: Mapping[str, str] | None = None, **address: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        """POST a statement; returns status, headers and the raw body."""
        async with self.session.post(f"{self.url}/", data=sql, params=address, headers=headers) as response:
            return response.status, response.headers, await response.read()

    async def text(self, sql: str, **address: Any) -> str:
        status, _, body = await self.post(sql, **address)
        assert status == 200, body
        return body.decode().rstrip("\n")


@asynccontextmanager
async def engine_on(
    folder: Path,
    *,
    backoff_most_seconds: float = 1.0,
    bucket: EngineReach | None = None,
    probing: Probing = WHILE_RUNNING,
    on_event: Callable[..., None] = lambda *_, **__: None,
    **settings: Any,
) -> AsyncIterator[Engine]:
    """A small engine on its own state folder."""
    sizes = {"memory_bytes": 2 << 30, "query_memory_bytes": 1 << 30, "threads": 2} | settings
    with state_lock(folder) as state:
        async with Engine(
            state,
            EngineSettings(**sizes),
            bucket=bucket,
            on_event=on_event,
            backoff=Backoff(0.1, backoff_most_seconds),
            probing=probing,
        ) as engine:
            yield engine


@asynccontextmanager
async def client_of(engine: Engine, **settings: Any) -> AsyncIterator[ClickHouse]:
    async with ClickHouse(
        engine.url, engine.user, engine.password, DATABASE, WarehouseSettings(**settings)
    ) as warehouse:
        yield warehouse


@asynccontextmanager
async def http_client_of(engine: Engine) -> AsyncIterator[HttpClient]:
    code = base64.b64encode(f"{engine.user}:{engine.password}".encode()).decode()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Basic {code}"}, auto_decompress=False, connector=connector
    ) as session:
        yield HttpClient(engine.url, session)


async def count_running(warehouse: ClickHouse, marker: str) -> int:
    """How many statements that contain the marker run now, not counting this query."""
    answer = await warehouse.rows(
        "SELECT count() FROM system.processes WHERE position(query, {marker:String}) > 0 AND query NOT LIKE '%system.proc%'",
        {"marker": marker},
    )
    return int(answer.rows[0][0])


async def wait_until_gone(warehouse: ClickHouse, marker: str) -> None:
    async def has_ended() -> bool:
        return await count_running(warehouse, marker) == 0

    await until(has_ended, f"the statement {marker} is gone")


async def wait_until_running(warehouse: ClickHouse, marker: str) -> None:
    async def has_started() -> bool:
        return await count_running(warehouse, marker) > 0

    await until(has_started, f"the statement {marker} runs")
