"""The engine speaks ClickHouse's HTTP protocol: errors, sessions, settings, parameters, compression."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import io
import json
from typing import Any

import aiohttp
import lz4.frame
import pytest
import zstandard

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.process import Engine

from .world import HttpClient, wait_until_running

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNPACK = {
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "gzip": gzip.decompress,
}


async def test_ping_needs_no_password(engine: Engine) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{engine.url}/ping") as response:
        assert (response.status, await response.text()) == (200, "Ok.\n")


@pytest.mark.parametrize("user", ["spotlightd:wrong", ":", "spotlightd:", "other:{password}", "ünï:cödé"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_statement_needs_the_password(engine: Engine, user: str, method: str) -> None:
    code = base64.b64encode(user.format(password=engine.password).encode()).decode()
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Basic {code}"}) as session,
        session.request(method, engine.url, params={"query": "SELECT 1"}) as response,
    ):
        assert response.status == 403
        assert response.headers["X-ClickHouse-Exception-Code"] == "516"
        assert engine.password not in await response.text()


async def test_the_password_may_come_in_clickhouses_own_headers(engine: Engine) -> None:
    head = {"X-ClickHouse-User": engine.user, "X-ClickHouse-Key": engine.password}
    async with (
        aiohttp.ClientSession(headers=head) as session,
        session.get(engine.url, params={"query": "SELECT 1"}) as response,
    ):
        assert await response.text() == "1\n"


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELEC 1", 62, 400),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT * FROM nowhere", 60, 404),
        ("SELECT * FROM nowhere.t", 81, 404),
        ("SELECT nothing FROM system.one", 47, 404),
        ("SELECT 1 FORMAT Nonsense", 73, 404),
        ("SELECT 1 SETTINGS nonsense = 1", 115, 404),
        ("SELECT {a:UInt8}", 456, 400),
        ("SELECT throwIf(1)", 395, 500),
        ("INSERT INTO nowhere FORMAT CSV\n1", 60, 404),
        ("DROP TABLE nowhere", 60, 404),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 62, 400),
    ],
)
async def test_an_error_has_clickhouses_code_status_and_message(
    http: HttpClient, sql: str, code: int, status: int
) -> None:
    actual_status, headers, body = await http.post(sql)
    assert actual_status == status
    assert headers["X-ClickHouse-Exception-Code"] == str(code)
    assert body.decode().startswith(f"Code: {code}. DB::Exception: ")
    assert body.decode().rstrip().endswith(")")


async def test_a_late_error_comes_in_the_stream_behind_the_announced_tag(http: HttpClient) -> None:
    sql = "SELECT repeat('x', 40), throwIf(number = 100000) FROM numbers(1000000) SETTINGS max_block_size = 8192 FORMAT CSV"
    received = b""
    async with http.session.post(http.url, data=sql) as response:
        tag = response.headers["X-ClickHouse-Exception-Tag"].encode()
        with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012  what came before the end is looked at
            async for chunk in response.content.iter_any():
                received += chunk
    tail = received[-1000:]
    assert b"__exception__\r\n" + tag + b"\r\nCode: 395. DB::Exception: " in tail
    assert tail.endswith(tag + b"\r\n__exception__\r\n")


async def test_an_answer_has_its_format_its_id_and_a_summary(http: HttpClient) -> None:
    _, headers, _ = await http.post("SELECT number FROM numbers(10)", query_id="mine", default_format="JSONEachRow")
    assert headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Timezone"] == "UTC"
    assert json.loads(headers["X-ClickHouse-Summary"])["result_rows"] == "10"


async def test_settings_of_an_address_hold_for_that_request_only(http: HttpClient) -> None:
    sql = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    assert await http.text(sql, max_block_size="1234") == "1234"
    assert await http.text(sql) != "1234"
    status, headers, _ = await http.post("SELECT 1", no_such_setting="1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "115")


async def test_the_default_settings_are_in_force(http: HttpClient) -> None:
    sql = "SELECT name, value FROM system.settings WHERE name IN ('async_insert', 'max_memory_usage', 'compile_expressions')"
    settings = dict(line.split("\t") for line in (await http.text(f"{sql} FORMAT TSV")).splitlines())
    assert settings == {"async_insert": "0", "max_memory_usage": str(1 << 30), "compile_expressions": "0"}
    assert await http.text("SELECT timezone()") in {"UTC", "Etc/UTC"}


@pytest.mark.parametrize(
    ("kind", "raw", "answer"),
    [
        ("String", r"it's \\ \t \n `x` \"y\"", r"it\'s \\ \t \n `x` " + '"y"'),
        ("String", "日本 é 😀", "日本 é 😀"),
        ("String", "'; DROP TABLE t; --", r"\'; DROP TABLE t; --"),
        ("Array(String)", r"['a\'b','c\\d',',']", r"['a\'b','c\\d',',']"),
        ("Array(UInt8)", "[1,2]", "[1,2]"),
        ("Nullable(String)", r"\N", r"\N"),
        ("Date", "2021-01-04", "2021-01-04"),
        ("DateTime64(6,'UTC')", "2021-01-04 01:02:03.000004", "2021-01-04 01:02:03.000004"),
        ("Decimal(18, 4)", "12.3400", "12.34"),
    ],
)
async def test_a_parameter_is_a_value_and_nothing_else(http: HttpClient, kind: str, raw: str, answer: str) -> None:
    assert await http.text(f"SELECT {{x:{kind}}}", param_x=raw) == answer


async def test_a_parameter_of_a_wrong_kind_is_refused(http: HttpClient) -> None:
    status, headers, _ = await http.post("SELECT {x:UInt8}", param_x="1; DROP TABLE t")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "457")


async def test_statement_and_parameters_may_come_as_a_form(http: HttpClient) -> None:
    form = aiohttp.FormData()
    form.add_field("query", "SELECT length({x:Array(UInt64)})", content_type="text/plain")
    form.add_field("param_x", str(list(range(20_000))), content_type="text/plain")
    async with http.session.post(http.url, data=form) as response:
        assert await response.text() == "20000\n"


async def test_a_get_request_changes_nothing(http: HttpClient) -> None:
    async with http.session.get(
        http.url, params={"query": "CREATE TABLE spotlightd.visited (a Int8) ENGINE = Memory"}
    ) as response:
        assert response.headers["X-ClickHouse-Exception-Code"] == "164"


async def test_a_session_keeps_settings_and_temporary_tables_and_another_does_not_see_them(http: HttpClient) -> None:
    await http.post("CREATE TEMPORARY TABLE mine (a UInt8)", session_id="one")
    await http.post("INSERT INTO mine VALUES (7)", session_id="one")
    await http.post("SET max_block_size = 77", session_id="one")
    assert await http.text("SELECT a FROM mine", session_id="one") == "7"
    assert await http.text("SELECT getSetting('max_block_size')", session_id="one") == "77"
    others: tuple[dict[str, Any], ...] = ({}, {"session_id": "two"})
    for address in others:
        status, _, _ = await http.post("SELECT a FROM mine", **address)
        assert status == 404


async def test_a_failed_statement_leaves_nothing_in_its_session(http: HttpClient) -> None:
    late = "SELECT repeat('x', 40), throwIf(number = 100000) FROM numbers(1000000) SETTINGS max_block_size = 8192"
    for sql in (
        late,
        f"INSERT INTO FUNCTION null('x String, y UInt8') {late}",
        f"CREATE TABLE spotlightd.x ENGINE = Memory AS {late}",
    ):
        with contextlib.suppress(aiohttp.ClientPayloadError):
            await http.post(sql, session_id="failing")
        assert await http.text("SELECT 'good', 42", session_id="failing") == "good\t42"


async def test_a_session_in_use_is_locked(http: HttpClient, warehouse: ClickHouse) -> None:
    long = asyncio.create_task(http.post("SELECT 'locks', sleep(2)", session_id="busy"))
    await wait_until_running(warehouse, "locks")
    _, headers, _ = await http.post("SELECT 1", session_id="busy")
    assert headers["X-ClickHouse-Exception-Code"] == "373"
    assert (await long)[0] == 200
    assert await http.text("SELECT 1", session_id="busy") == "1"


async def test_a_session_that_must_exist_and_does_not_is_refused(http: HttpClient) -> None:
    status, headers, _ = await http.post("SELECT 1", session_id="never", session_check="1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "372")


@pytest.mark.parametrize("coding", UNPACK)
@pytest.mark.parametrize("rows", [1, 100_000])
@pytest.mark.parametrize("whole", ["0", "1"])
async def test_answers_are_compressed_as_the_client_asks(http: HttpClient, coding: str, rows: int, whole: str) -> None:
    status, headers, body = await http.post(
        f"SELECT number FROM numbers({rows})",
        {"Accept-Encoding": f"br, {coding}"},
        enable_http_compression="1",
        wait_end_of_query=whole,
    )
    assert (status, headers["Content-Encoding"]) == (200, coding)
    assert UNPACK[coding](body) == b"".join(b"%d\n" % at for at in range(rows))


async def test_answers_are_compressed_only_on_request(http: HttpClient) -> None:
    _, headers, body = await http.post("SELECT 1", {"Accept-Encoding": "gzip"})
    assert ("Content-Encoding" in headers, body) == (False, b"1\n")


@pytest.mark.parametrize("coding", ["lz4", "zstd", "gzip"])
async def test_compressed_statements_and_data_are_understood(http: HttpClient, coding: str) -> None:
    pack = {"lz4": lz4.frame.compress, "zstd": zstandard.ZstdCompressor().compress, "gzip": gzip.compress}[coding]
    table = f"spotlightd.packed_{coding}"
    await http.post(f"CREATE TABLE {table} (n UInt64) ENGINE = MergeTree ORDER BY n")
    body = f"INSERT INTO {table} FORMAT CSV\n".encode() + b"".join(b"%d\n" % at for at in range(50_000))
    head = {"Content-Encoding": coding}
    assert (await http.post(pack(body), head))[0] == 200
    assert (await http.post(pack(b"1\n2\n"), head, query=f"INSERT INTO {table} FORMAT CSV"))[0] == 200
    _, _, counted = await http.post(pack(f"SELECT count() FROM {table}".encode()), head)
    assert counted == b"50002\n"
    status, headers, _ = await http.post(pack(body)[:-5], head)
    assert (status, headers["X-ClickHouse-Exception-Code"]) != (200, "0")
    assert await http.text(f"SELECT count() FROM {table}") == "50002"


async def test_an_insert_reports_the_written_rows_and_the_place_of_an_error(http: HttpClient) -> None:
    await http.post("CREATE TABLE spotlightd.written (n UInt64) ENGINE = MergeTree ORDER BY n")
    _, headers, _ = await http.post("INSERT INTO spotlightd.written FORMAT CSV\n1\n2\n3\n")
    assert json.loads(headers["X-ClickHouse-Summary"])["written_rows"] == "3"
    status, _, body = await http.post("INSERT INTO spotlightd.written FORMAT CSV\n4\nfive\n")
    assert status >= 400
    assert "five" in body.decode()
    assert await http.text("SELECT count() FROM spotlightd.written") == "3"


async def test_a_second_statement_of_the_same_id_is_refused_while_the_first_runs(
    http: HttpClient, warehouse: ClickHouse
) -> None:
    first = asyncio.create_task(http.post("SELECT 'first', sleep(2)", query_id="twice"))
    await wait_until_running(warehouse, "first")
    _, headers, _ = await http.post("SELECT 1", query_id="twice")
    assert headers["X-ClickHouse-Exception-Code"] == "216"
    assert (await first)[0] == 200
    assert await http.text("SELECT 1", query_id="twice") == "1"


async def test_data_that_are_not_utf8_are_stored_as_they_are(http: HttpClient) -> None:
    await http.post("CREATE TABLE spotlightd.raw (text String) ENGINE = MergeTree ORDER BY text")
    assert (await http.post(b"INSERT INTO spotlightd.raw FORMAT TSV\n\xff\xfe\n"))[0] == 200
    assert await http.text("SELECT hex(text) FROM spotlightd.raw") == "FFFE"


async def test_a_statement_that_is_too_long_is_refused(http: HttpClient) -> None:
    status, headers, _ = await http.post(io.BytesIO(b"SELECT '" + b"x" * (2 << 20) + b"'"))
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "62")
