"""No answer is ever silently short, empty, or mixed with another's: every kind of failure, early and late, every format."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.errors import StoreError
from spotlightd.ports.warehouse import Limits

from .world import HttpClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORMATS = ("ArrowStream", "CSVWithNames", "JSONEachRow", "JSON", "JSONCompact", "Parquet", "Native", "TabSeparated")
WAYS = ("rows", *FORMATS)
SHAPE = "SETTINGS max_threads = 1, max_block_size = 8192"
ROW = "number, repeat('x', 40) AS text"
FAILURES = {
    ("time limit", "early"): ("SELECT count() FROM numbers(1000000000000)", Limits(seconds=0.2), 159),
    ("time limit", "late"): (f"SELECT {ROW}, sleepEachRow(0.00002) FROM numbers(10000000) {SHAPE}", Limits(seconds=1), 159),
    ("row limit", "early"): (f"SELECT {ROW} FROM numbers(100000) {SHAPE}", Limits(result_rows=10), 396),
    ("row limit", "late"): (f"SELECT {ROW} FROM numbers(1000000) {SHAPE}", Limits(result_rows=100_000), 396),
    ("bad cast", "early"): (f"SELECT {ROW}, toUInt8('x') FROM numbers(100000) {SHAPE}", None, 6),
    ("bad cast", "late"): (
        f"SELECT {ROW}, toUInt8(if(number = 100000, 'x', '1')) FROM numbers(1000000) {SHAPE}", None, 6,
    ),
    ("throwIf", "early"): (f"SELECT {ROW}, throwIf(number = 0) FROM numbers(100000) {SHAPE}", None, 395),
    ("throwIf", "late"): (f"SELECT {ROW}, throwIf(number = 100000) FROM numbers(1000000) {SHAPE}", None, 395),
    ("throwIf", "a little late"): (f"SELECT {ROW}, throwIf(number = 9000) FROM numbers(1000000) {SHAPE}", None, 395),
}  # fmt: skip


async def read(warehouse: ClickHouse, way: str, sql: str, limits: Limits | None) -> int:
    """All of an answer; how much it was."""
    if way == "rows":
        return len((await warehouse.rows(sql, limits=limits)).rows)
    async with warehouse.stream(sql, way, limits=limits) as chunks:
        return sum([len(chunk) async for chunk in chunks])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "when"), FAILURES)
async def test_a_statement_that_fails_raises_whatever_the_format(
    warehouse: ClickHouse, way: str, kind: str, when: str
) -> None:
    sql, limits, code = FAILURES[kind, when]
    with pytest.raises(StoreError) as raised:
        await read(warehouse, way, sql, limits)
    assert raised.value.code == code, raised.value
    assert raised.value.slow == (kind in {"time limit", "row limit"})
    answer = await warehouse.rows("SELECT 'good', 42")
    assert answer.rows == (("good", 42),)


@pytest.mark.parametrize("coding", ["zstd", "lz4", "gzip"])
async def test_a_late_failure_breaks_a_compressed_answer_off_too(http: HttpClient, coding: str) -> None:
    sql = f"{FAILURES['throwIf', 'late'][0]} FORMAT CSV"
    address = {"enable_http_compression": "1"}
    async with http.session.post(http.url, data=sql, params=address, headers={"Accept-Encoding": coding}) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_the_same_statement_without_a_failure_gives_everything_in_every_format(warehouse: ClickHouse) -> None:
    sql = f"SELECT {ROW} FROM numbers(300000) {SHAPE}"
    async with warehouse.stream(sql, "CSVWithNames") as chunks:
        lines = b"".join([chunk async for chunk in chunks]).splitlines()
    assert len(lines) == 300_001
    async with warehouse.stream(sql, "JSON") as chunks:
        whole = json.loads(b"".join([chunk async for chunk in chunks]))
    assert whole["rows"] == len(whole["data"]) == 300_000
    assert len((await warehouse.rows(sql)).rows) == 300_000


async def test_concurrent_answers_are_never_mixed_with_each_other_or_with_failed_ones(
    warehouse: ClickHouse,
) -> None:
    async def good(mark: int) -> bool:
        sql = "SELECT {mark:UInt64} AS mark, number FROM numbers(20000) SETTINGS max_block_size = 1000"
        rows = (await warehouse.rows(sql, {"mark": mark})).rows
        return len(rows) == 20_000 and all(row == (mark, at) for at, row in enumerate(rows))

    async def bad(mark: int) -> bool:
        sql = "SELECT {mark:UInt64}, throwIf(number = 15000) FROM numbers(20000) SETTINGS max_block_size = 1000"
        try:
            await warehouse.rows(sql, {"mark": mark})
        except StoreError as problem:
            return problem.code == 395
        return False

    outcomes = await asyncio.gather(*(bad(mark) if mark % 3 == 0 else good(mark) for mark in range(60)))
    assert all(outcomes)


async def test_a_whole_answer_that_would_fill_the_daemons_memory_is_refused(warehouse: ClickHouse) -> None:
    with pytest.raises(StoreError) as raised:
        await warehouse.rows("SELECT repeat('x', 999999 + number % 2) FROM numbers(300) SETTINGS max_block_size = 10")
    assert (raised.value.code, raised.value.slow) == (396, True)
