"""What ClickHouse's own Python driver needs: sessions, tables that come with a statement, bytes of any kind."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.answers import answer
from spotlightd.engine.sessions import MOST_SESSIONS

from .world import HttpClient, wait_until_running

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACTORS = b"Robert Redford\t1936\tThe Sting\nAl Pacino\t1940\tScarface"


async def post_form(
    http: HttpClient, fields: Mapping[str, str | bytes], files: Mapping[str, bytes], **address: Any
) -> tuple[int, bytes]:
    """POST a form, as the driver sends long parameters and external tables."""
    parts = [
        *((f'name="{name}"', text.encode() if isinstance(text, str) else text) for name, text in fields.items()),
        *((f'name="{name}"; filename="{name}.csv"', data) for name, data in files.items()),
    ]
    head = "--parts\r\nContent-Disposition: form-data; {}\r\nContent-Type: application/octet-stream\r\n\r\n"
    body = b"".join([head.format(about).encode() + data + b"\r\n" for about, data in parts]) + b"--parts--\r\n"
    status, _, answer = await http.post(body, {"Content-Type": "multipart/form-data; boundary=parts"}, **address)
    return status, answer


# -- inline data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["body", "address", "form"])
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {t} (s) FORMAT TabSeparated\nvalue;\n",
        "WITH 1 AS y INSERT INTO {t} (s) FORMAT TabSeparated\nvalue;\n",
        "WITH {{SELECT:Int32}} AS y INSERT INTO {t} (s) FORMAT TabSeparated\nvalue;\n",
        "WITH 1 AS insert, 2 AS format INSERT INTO {t} (s) FORMAT TabSeparated\nvalue;\n",
        "/* SELECT */ WITH (SELECT 1) AS y -- INSERT INTO x\nINSERT INTO TABLE {t} SETTINGS max_threads = 1 FORMAT TSV\nvalue;\n",
    ],
)
async def test_of_an_insert_with_inline_data_its_rows_are_stored_and_nothing_else(
    http: HttpClient, sql: str, place: str
) -> None:
    table = "spotlightd.inline_rows"
    await http.post(f"CREATE OR REPLACE TABLE {table} (s String) ENGINE = MergeTree ORDER BY s")
    text = sql.format(t=table)
    if place == "form":
        status, body = await post_form(http, {"query": text}, {}, param_SELECT="13")
    elif place == "body":
        status, _, body = await http.post(text, param_SELECT="13")
    else:
        status, _, body = await http.post(b"", query=text, param_SELECT="13")
    assert status == 200, body
    assert await http.text(f"SELECT groupArray(s) FROM {table}") == "['value;']"


async def test_data_of_the_body_begin_a_new_line_behind_data_of_the_address(http: HttpClient) -> None:
    table = "spotlightd.two_places"
    await http.post(f"CREATE OR REPLACE TABLE {table} (n UInt64) ENGINE = MergeTree ORDER BY n")
    status, _, body = await http.post(b"2\n", query=f"INSERT INTO {table} FORMAT CSV 1")
    assert status == 200, body
    assert await http.text(f"SELECT groupArray(n) FROM {table}") == "[1,2]"


async def test_an_insert_that_is_explained_is_not_run_and_neither_is_what_stands_behind_an_empty_line(
    http: HttpClient,
) -> None:
    table = "spotlightd.explained"
    await http.post(f"CREATE OR REPLACE TABLE {table} (s String) ENGINE = MergeTree ORDER BY s")
    text = await http.text(f"EXPLAIN AST INSERT INTO {table} FORMAT TSV\nvalue\n\nDROP TABLE {table}\n")
    assert "InsertQuery" in text
    assert await http.text(f"SELECT count() FROM {table}") == "0"


async def test_rows_behind_values_may_be_longer_than_a_statement(http: HttpClient) -> None:
    table = "spotlightd.many_values"
    await http.post(f"CREATE OR REPLACE TABLE {table} (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
    rows = ", ".join(f"({number}, '; {number} '' FORMAT CSV{'x' * 40}')" for number in range(30_000))
    status, _, body = await http.post(io.BytesIO(f"INSERT INTO {table} (n, s) VALUES {rows};".encode()))
    assert status == 200, body
    assert await http.text(f"SELECT count(), sum(n), max(length(s)) FROM {table}") == "30000\t449985000\t60"


async def test_input_is_refused_with_a_remedy(http: HttpClient) -> None:
    status, headers, body = await http.post(
        "INSERT INTO FUNCTION null('s String') SELECT s FROM input('s String') FORMAT CSV\n1"
    )
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    assert b"external table" in body


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_when_there_are_too_many_sessions_the_longest_idle_one_is_dropped(http: HttpClient) -> None:
    for number in range(MOST_SESSIONS):
        await http.post("CREATE TEMPORARY TABLE mine (a UInt8)", session_id=f"crowd-{number}")
    assert (await http.post("SELECT * FROM mine", session_id="crowd-0"))[0] == 200  # now 1 was idle longest
    assert await http.text("SELECT 1", session_id="newcomer") == "1"
    assert (await http.post("SELECT * FROM mine", session_id="crowd-0"))[0] == 200
    assert (await http.post("SELECT * FROM mine", session_id="crowd-2"))[0] == 200
    status, headers, _ = await http.post("SELECT 1", session_id="crowd-1", session_check="1")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "372")


async def test_a_session_in_use_is_never_dropped(http: HttpClient, warehouse: ClickHouse) -> None:
    long = asyncio.create_task(http.post("SELECT 'stays', sleep(2)", session_id="in use"))
    await wait_until_running(warehouse, "stays")
    for number in range(MOST_SESSIONS + 1):
        assert (await http.post("SELECT 1", session_id=f"beside-{number}"))[0] == 200
    assert (await long)[0] == 200


async def test_settings_and_database_of_an_address_do_not_stay_in_its_session(http: HttpClient) -> None:
    sql = "SELECT currentDatabase(), getSetting('max_block_size'), getSetting('max_threads')"
    before = await http.text(sql, session_id="plain")
    assert (
        await http.text(sql, session_id="plain", max_block_size="7", max_threads="1", database="system")
        == "system\t7\t1"
    )
    assert await http.text(sql, session_id="plain", max_block_size="8") == before.replace("\t65409\t", "\t8\t")
    assert await http.text(sql, session_id="plain") == before


async def test_what_a_refused_request_set_does_not_stay_in_its_session(http: HttpClient) -> None:
    sql = "SELECT getSetting('max_block_size')"
    before = await http.text(sql, session_id="refused")
    addresses: tuple[dict[str, Any], ...] = ({"database": "nowhere"}, {"no_such_setting": "1"})
    for address in addresses:
        status, _, _ = await http.post(sql, session_id="refused", max_block_size="7", **address)
        assert status == 404
        assert await http.text(sql, session_id="refused") == before


async def test_a_session_keeps_what_its_own_statements_set(http: HttpClient) -> None:
    sql = "SELECT currentDatabase(), getSetting('max_block_size'), getSetting('max_threads')"
    await http.post("SET max_block_size = 77, max_threads = 1", session_id="own", max_block_size="5")
    await http.post("USE system", session_id="own", database="default")
    assert await http.text(sql, session_id="own") == "system\t77\t1"
    assert await http.text(sql, session_id="own", max_block_size="8", database="default") == "default\t8\t1"
    assert await http.text(sql, session_id="own") == "system\t77\t1"


async def test_a_get_request_in_a_session_changes_nothing_and_a_post_after_it_does(http: HttpClient) -> None:
    table = "spotlightd.by_session"
    for sql in (f"CREATE TABLE {table} (a Int8) ENGINE = Memory", f"INSERT INTO {table} FORMAT CSV 1"):
        async with http.session.get(http.url, params={"query": sql, "session_id": "reader"}) as response:
            assert response.headers["X-ClickHouse-Exception-Code"] == "164"
    async with http.session.get(http.url, params={"query": "SELECT 1", "session_id": "reader"}) as response:
        assert await response.text() == "1\n"
    status, _, body = await http.post(f"CREATE TABLE {table} (a Int8) ENGINE = Memory", session_id="reader")
    assert status == 200, body


# -- external tables ---------------------------------------------------------------------------------------------------


async def test_a_file_of_the_form_is_a_table_for_that_statement(http: HttpClient) -> None:
    address = {"query": "SELECT name FROM actors ORDER BY birth_year DESC"}
    columns = "name String, birth_year UInt16, movie String"
    sessions: tuple[dict[str, Any], ...] = ({}, {"session_id": "with tables"})
    for session in sessions:
        status, body = await post_form(http, {}, {"actors": ACTORS}, **address, **session, actors_structure=columns)
        assert (status, body) == (200, b"Al Pacino\nRobert Redford\n")
        status, _, body = await http.post("SELECT * FROM actors", **session)
        assert status == 404, body


async def test_a_table_of_the_session_survives_an_external_table_of_its_name(http: HttpClient) -> None:
    await http.post("CREATE TEMPORARY TABLE actors (n UInt8)", session_id="has actors")
    status, body = await post_form(
        http, {}, {"actors": ACTORS}, query="SELECT 1", session_id="has actors", actors_types="String,UInt16,String"
    )
    assert (status, b"ALREADY_EXISTS" in body) == (500, True)
    assert (await http.post("SELECT n FROM actors", session_id="has actors"))[0] == 200


async def test_external_tables_have_formats_types_and_settings(http: HttpClient) -> None:
    sql = "SELECT a._1, b.n FROM a JOIN b ON a._2 = b.n WHERE b.n > {least:UInt8}"
    files = {"a": b"x,1\nbad,line\ny,2\n", "b": b'{"n": 2}\n', "empty": b""}
    status, body = await post_form(
        http, {"query": sql, "param_least": "1"}, files,
        a_format="CSV", a_types="String,Decimal(18, 0)", b_format="JSONEachRow", b_structure="n Decimal(18, 0)",
        empty_structure="n UInt8", input_format_allow_errors_num="1", readonly="1",
    )  # fmt: skip
    assert (status, body) == (200, b"y\t2\n")


async def test_an_external_table_may_be_stored(http: HttpClient) -> None:
    table = "spotlightd.stored_actors"
    status, body = await post_form(
        http, {}, {"actors": ACTORS}, actors_types="String,UInt16,String",
        query=f"CREATE TABLE {table} ENGINE = MergeTree ORDER BY tuple() EMPTY AS SELECT * FROM actors",
    )  # fmt: skip
    assert status == 200, body
    status, body = await post_form(
        http,
        {},
        {"actors": ACTORS},
        actors_types="String,UInt16,String",
        query=f"INSERT INTO {table} SELECT * FROM actors",
    )
    assert status == 200, body
    assert await http.text(f"SELECT count() FROM {table}") == "2"


@pytest.mark.parametrize(
    "columns", ["", "a String) ENGINE = Memory; --", "a String))", ")a String(", "a String; b String"]
)
async def test_columns_that_are_none_are_refused(http: HttpClient, columns: str) -> None:
    status, body = await post_form(http, {"query": "SELECT 1"}, {"t": b"1"}, t_structure=columns)
    assert status == 400, body


# -- bytes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["body", "address", "form"])
async def test_a_statement_may_hold_bytes_that_are_not_utf8(http: HttpClient, place: str) -> None:
    raw = b"SELECT hex('\xff\xfe'), lower('\xc3')"
    if place == "form":
        status, body = await post_form(http, {"query": raw}, {})
    elif place == "body":
        status, _, body = await http.post(raw)
    else:
        async with http.session.post(f"{http.url}/?query=SELECT%20hex('%FF%FE'),lower('%C3')", data=b"") as response:
            status, body = response.status, await response.read()
    assert (status, body) == (200, b"FFFE\t\xc3\n")


async def test_values_and_parameters_may_be_bytes_that_are_not_utf8(http: HttpClient) -> None:
    table = "spotlightd.raw_values"
    await http.post(f"CREATE OR REPLACE TABLE {table} (s String) ENGINE = MergeTree ORDER BY s")
    assert (await http.post(f"INSERT INTO {table} VALUES ('".encode() + b"\xff')"))[0] == 200
    assert await http.text(f"SELECT hex(s) FROM {table}") == "FF"
    status, body = await post_form(http, {"query": "SELECT hex({s:String})", "param_s": b"\xff"}, {})
    assert (status, body) == (200, b"FF\n")


async def test_an_error_may_quote_bytes_that_are_not_utf8(http: HttpClient) -> None:
    status, headers, body = await http.post(b"SELECT nothing_\xff")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "62"), body


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tables", "one", "settings"])
async def test_the_tables_of_system_have_a_create_statement(http: HttpClient, name: str) -> None:
    assert f"system.{name}" in await http.text(f"SHOW CREATE TABLE system.{name}")


@pytest.mark.parametrize("compressed", ["0", "1"])
async def test_a_whole_answer_of_any_length_is_sent(http: HttpClient, compressed: str) -> None:
    """The engine is another process, so its limit of what it holds in memory is reached for real."""
    rows = (answer.WHOLE_BYTES >> 10) + 1000
    size = 0
    async with http.session.post(
        http.url,
        data=f"SELECT repeat('x', 1023) FROM numbers({rows})",
        params={"wait_end_of_query": "1", "enable_http_compression": compressed},
        headers={"Accept-Encoding": "zstd"},
        auto_decompress=True,
    ) as response:
        assert response.status == 200
        assert "X-ClickHouse-Summary" in response.headers
        async for piece in response.content.iter_any():
            size += len(piece)
    assert size == rows << 10


async def test_a_whole_answer_that_fails_late_is_a_plain_error_however_long_it_is(http: HttpClient) -> None:
    rows = (answer.WHOLE_BYTES >> 10) + 1000
    status, headers, _ = await http.post(
        f"SELECT repeat('x', 1023), throwIf(number = {rows}) FROM numbers({rows + 10})", wait_end_of_query="1"
    )
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "395")


EACH_TYPE = """SELECT number, toString(number) AS text, repeat('x', 200) AS long, toLowCardinality(text) AS coded, [1, 2] AS list,
map('a', [number]) AS pairs, (1, 'b') AS two, CAST((1, 'b'), 'Tuple(n Int8, s String)') AS named, toDecimal64(1, 2) AS price,
toNullable(text) AS perhaps, toFixedString('ab', 2) AS fixed, toUUID('00000000-0000-0000-0000-000000000001') AS sure,
CAST('a', 'Enum8(''a'' = 1)') AS choice, toDateTime64(1, 3, 'Asia/Tokyo') AS exact, toDateTime(1, 'Europe/Berlin') AS early,
toInt256(1) AS huge, toDateTime(1676369730, 'Asia/Shanghai') AS late FROM numbers(3)"""


@pytest.mark.parametrize("version", [1, 54336, 54337, 54453])
async def test_native_has_what_the_clients_version_of_the_protocol_has(http: HttpClient, version: int) -> None:
    setting: dict[str, Any] = {"low_cardinality_allow_in_native_format": "0"} if version < 54405 else {}
    _, _, oldest = await http.post(f"{EACH_TYPE} FORMAT Native", **setting)
    status, _, answer = await http.post(f"{EACH_TYPE} FORMAT Native", client_protocol_version=str(version))
    assert status == 200, answer
    expected = bytes.fromhex("010002ffffffff00") + oldest
    if version >= 54337:
        for name, zone in ((b"early", b"Europe/Berlin"), (b"late", b"Asia/Shanghai")):
            kind = b"DateTime('" + zone + b"')"
            expected = expected.replace(name + b"\x08DateTime", name + bytes([len(kind)]) + kind)
    assert answer == expected


async def test_each_block_of_native_has_its_head(http: HttpClient) -> None:
    sql = "SELECT number FROM numbers(5) SETTINGS max_block_size = 2, max_threads = 1"
    _, _, answer = await http.post(sql, client_protocol_version="54405", default_format="Native")
    assert answer.count(bytes.fromhex("010002ffffffff00") + b"\x01") == 3
    status, _, answer = await http.post("SHOW DATABASES", client_protocol_version="54405", default_format="Native")
    assert (status, answer[:8]) == (200, bytes.fromhex("010002ffffffff00"))


async def test_a_version_of_the_protocol_that_is_not_served_is_refused(http: HttpClient) -> None:
    status, headers, _ = await http.post("SELECT 1 FORMAT Native", client_protocol_version="54480")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (501, "48")
    assert await http.text("SELECT 1 FORMAT TSV", client_protocol_version="54480") == "1"  # it matters to Native only


async def test_an_answer_in_native_that_fails_late_breaks_off(http: HttpClient) -> None:
    sql = "SELECT repeat('x', 40), throwIf(number = 100000) FROM numbers(1000000) SETTINGS max_block_size = 8192"
    with pytest.raises(aiohttp.ClientPayloadError):
        await http.post(sql, client_protocol_version="54405", default_format="Native")


async def test_rows_come_soon_when_the_client_asks_for_that(http: HttpClient) -> None:
    """A failure then comes in the stream, however short the answer is."""
    sql = "SELECT sleepEachRow(0.02), throwIf(number = 40) FROM numbers(100) SETTINGS max_block_size = 1"
    address: dict[str, Any] = {"client_protocol_version": "54405", "default_format": "Native"}
    with pytest.raises(aiohttp.ClientPayloadError):
        await http.post(sql, wait_end_of_query="0", **address)
    status, headers, _ = await http.post(sql, **address)
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "395")
