"""Many at once: long and short, readers that stall, clients that go away. Nobody holds up anybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.clickhouse.values import encode_block
from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from tests.polling import until

from .world import (
    HttpClient,
    client_of,
    constructed,
    engine_on,
    http_client_of,
    wait_until_gone,
    wait_until_running,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOREVER = "FROM numbers(10000000000000)"
LONG_ROWS = "SELECT number, repeat('x', 100) AS text FROM numbers(100000000)"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pieces(warehouse: ClickHouse) -> Dataset:
    dataset = constructed("pieces")
    for table in (dataset, constructed("copies")):
        await warehouse.ensure(table)
    return dataset


@asynccontextmanager
async def task(call: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """A task that is cancelled at the end of the block."""
    running = asyncio.create_task(call)
    try:
        yield running
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, StoreError, aiohttp.ClientError):
            await running


async def test_a_long_query_holds_up_neither_a_short_one_nor_an_insert(warehouse: ClickHouse, pieces: Dataset) -> None:
    async with task(warehouse.rows(f"SELECT sum(number), 'long_one' {FOREVER}")) as long:
        await wait_until_running(warehouse, "long_one")
        async with asyncio.timeout(10):
            assert (await warehouse.rows("SELECT 1")).rows == ((1,),)
            await warehouse.insert(pieces, [[1, "a", 1, 0, 1]])
        assert not long.done()
    await wait_until_gone(warehouse, "long_one")


@pytest.mark.parametrize(
    ("marker", "sql"),
    [
        ("gone_silent", f"SELECT sum(number), 'gone_silent' {FOREVER}"),
        ("gone_sorting", f"SELECT number, 'gone_sorting' {FOREVER} ORDER BY cityHash64(number) LIMIT 5"),
        ("gone_grouping", f"SELECT number % 1000, 'gone_grouping', count() {FOREVER} GROUP BY 1"),
    ],
)
async def test_a_query_whose_client_went_away_before_any_answer_is_gone(
    warehouse: ClickHouse, marker: str, sql: str
) -> None:
    async with task(warehouse.rows(sql)):
        await wait_until_running(warehouse, marker)
    await wait_until_gone(warehouse, marker)


async def test_a_query_whose_client_goes_away_at_once_is_gone(warehouse: ClickHouse) -> None:
    for _ in range(20):
        async with task(warehouse.rows(f"SELECT sum(number), 'gone_at_once' {FOREVER}")):
            await asyncio.sleep(0)
    await wait_until_gone(warehouse, "gone_at_once")


async def test_a_download_that_is_left_early_is_gone(warehouse: ClickHouse) -> None:
    async with warehouse.stream(LONG_ROWS.replace("text", "left_early"), "CSVWithNames") as chunks:
        assert await anext(chunks)
        await wait_until_running(warehouse, "left_early")
    await wait_until_gone(warehouse, "left_early")


async def test_a_download_whose_reader_is_cancelled_is_gone(warehouse: ClickHouse) -> None:
    async def read_slowly() -> None:
        async with warehouse.stream(LONG_ROWS.replace("text", "cancelled_one"), "JSONEachRow") as chunks:
            async for _ in chunks:
                await asyncio.Event().wait()

    async with task(read_slowly()):
        await wait_until_running(warehouse, "cancelled_one")
    await wait_until_gone(warehouse, "cancelled_one")


@pytest.mark.usefixtures("pieces")
async def test_an_insert_from_a_query_is_gone_when_its_task_is_cancelled(warehouse: ClickHouse) -> None:
    sql = f"INSERT INTO copies SELECT number, 'gone_copying', 1, 0, 1 {FOREVER} WHERE sleepEachRow(0.000001) = 0"
    async with task(warehouse.execute(sql)):
        await wait_until_running(warehouse, "gone_copying")
    await wait_until_gone(warehouse, "gone_copying")


async def test_an_insert_whose_client_went_away_is_not_finished(warehouse: ClickHouse, pieces: Dataset) -> None:
    rows = [[number, "half", 2, 0, 1] for number in range(1000)]
    whole = encode_block(pieces, rows)

    async def half() -> AsyncIterator[bytes]:
        yield whole[: len(whole) // 2]
        await asyncio.Event().wait()

    async with task(warehouse.insert_stream(pieces, half(), token="gone_loading")):
        await wait_until_running(warehouse, "INSERT INTO spotlightd.pieces")
    await wait_until_gone(warehouse, "INSERT INTO spotlightd.pieces")
    assert (await warehouse.rows("SELECT count() FROM pieces WHERE load_id = 2")).rows == ((0,),)


async def test_an_insert_whose_maker_fails_raises_the_makers_own_error(warehouse: ClickHouse, pieces: Dataset) -> None:
    class BrokenError(Exception):
        pass

    async def broken() -> AsyncIterator[bytes]:
        yield encode_block(pieces, [[1, "a", 3, 0, 1]])[:-8]
        raise BrokenError

    with pytest.raises(BrokenError):
        await warehouse.insert_stream(pieces, broken())
    await wait_until_gone(warehouse, "INSERT INTO spotlightd.pieces")
    assert (await warehouse.rows("SELECT count() FROM pieces WHERE load_id = 3")).rows == ((0,),)


async def test_an_insert_cut_inside_its_stream_is_refused(warehouse: ClickHouse, pieces: Dataset) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield encode_block(pieces, [[number, "cut", 4, 0, 1] for number in range(1000)])[:-2000]

    with pytest.raises(StoreError):
        await warehouse.insert_stream(pieces, cut())
    assert (await warehouse.rows("SELECT count() FROM pieces WHERE load_id = 4")).rows == ((0,),)


async def test_slow_downloads_take_slots_of_their_own_and_freeze_nobody(
    warehouse: ClickHouse, http: HttpClient
) -> None:
    """Three slots here: the fourth slow reader gets 503, and short queries and inserts go on."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            chunks = await stack.enter_async_context(warehouse.stream(f"{LONG_ROWS} -- stalled", "CSVWithNames"))
            assert await anext(chunks)
        status, headers, _ = await http.post(LONG_ROWS)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (503, "202")
        with pytest.raises(StoreError) as raised:
            async with warehouse.stream(LONG_ROWS, "Native"):
                pass
        assert raised.value.code == 202
        async with asyncio.timeout(10):
            for _ in range(20):
                assert (await warehouse.rows("SELECT 1")).rows == ((1,),)
    await wait_until_gone(warehouse, "stalled")


async def test_a_reader_that_takes_nothing_is_hung_up_on_and_its_slot_is_free_again(tmp_path: Path) -> None:
    async with (
        engine_on(tmp_path, download_slots=2, send_seconds=0.5) as engine,
        client_of(engine) as warehouse,
        http_client_of(engine) as http,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(2):
            await stack.enter_async_context(http.session.post(http.url, data=f"{LONG_ROWS} -- asleep"))

        async def free() -> bool:
            try:
                async with warehouse.stream(LONG_ROWS, "CSVWithNames") as chunks:
                    return bool(await anext(chunks))
            except StoreError:
                return False

        await until(free, "a slot is free")
        await wait_until_gone(warehouse, "asleep")


async def test_the_client_has_slots_of_its_own(warehouse: ClickHouse) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(warehouse.stream("SELECT 1", "CSV"))
        with pytest.raises(StoreError, match="too many downloads") as raised:
            async with warehouse.stream("SELECT 1", "CSV"):
                pass
    assert raised.value.code == 202


async def test_a_queue_that_is_too_long_turns_away_instead_of_growing(http: HttpClient, warehouse: ClickHouse) -> None:
    async with contextlib.AsyncExitStack() as stack:
        queries = [
            await stack.enter_async_context(task(http.post(f"SELECT sum(number), 'crowd' {FOREVER}")))
            for _ in range(100)
        ]
        more = [asyncio.create_task(http.post("SELECT 1")) for _ in range(100)]
        done, waiting = await asyncio.wait([*more, *queries], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert done
        first = done.pop().result()
        assert isinstance(first, tuple)
        assert first[1]["X-ClickHouse-Exception-Code"] == "202"
        for query in waiting:
            query.cancel()
        await asyncio.wait(more)
    await wait_until_gone(warehouse, "crowd")
