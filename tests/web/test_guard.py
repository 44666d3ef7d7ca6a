"""What surrounds every response: host names, headers, limits, and error pages."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest

from spotlightd.errors import SettingsError, StoreError
from spotlightd.ports.warehouse import Answer
from spotlightd.settings.serving import WebSettings
from spotlightd.web import middleware
from spotlightd.web.app import build_application, serve
from tests.web.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")
EVERYWHERE = (
    "/",
    "/data/sec_ftd",
    "/data/sec_ftd.csv",
    "/data/sec_ftd.json",
    "/s/GME",
    "/status",
    "/nope",
    "/data/sec_ftd?x=1",
    "/healthz",
)


@pytest.mark.parametrize("path", EVERYWHERE)
async def test_every_answer_carries_its_guards(world: World, path: str) -> None:
    _, _, answer = await world.get(path)
    assert answer.headers["Content-Security-Policy"] == middleware.POLICY
    assert answer.headers["Server"] == "spotlightd"
    assert "unsafe" not in middleware.POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "",
        "10.0.0.7",
        "[::2]",
        "localhost.evil",
        "localhost:evil",
        "localhost:80@evil",
        "127.0.0.1:1:2",
        "[::1]evil",
        "[::1",
        "localhost..",
        "localhost/",
        "a b",
    ],
)
async def test_a_foreign_host_name_is_refused(world: World, host: str) -> None:
    status, text, _ = await world.get("/data/sec_ftd", headers={"Host": host})
    assert status == 421
    assert "web.hosts" in text


async def test_a_request_that_names_a_foreign_host_twice_or_in_its_line_is_refused(world: World) -> None:
    port = int(world.address.rpartition(":")[2])
    for head in (
        "GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n",
        "GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        "GET /status HTTP/1.0\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert int(answer.split()[1]) in (400, 421), head


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "[::1]:8080", "data.paper.example:443"]
)
async def test_own_and_allowed_host_names_are_answered(world: World, host: str) -> None:
    async with world.served(settings=WebSettings(hosts=["Data.Paper.example"])) as named:
        status, _, _ = await named.get("/status", headers={"Host": host})
    assert status == 200


@pytest.mark.parametrize(
    "path", ["/nope", "/data/", "/data/sec_ftd/", "/s/", "/static/0/x.css", "/static/../app.py", "/source/12"]
)
async def test_a_missing_page_is_a_404_page(world: World, path: str) -> None:
    status, text, _ = await world.get(path)
    assert status == 404
    assert "<h1>" in text


async def test_the_explorer_is_read_only(world: World) -> None:
    assert world.session
    async with world.session.post(f"{world.address}/data/sec_ftd") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"
        assert "read-only" in await answer.text()


class Broken:
    """A warehouse that fails with the given error."""

    def __init__(self, problem: Exception) -> None:
        self._problem = problem

    async def rows(self, *_: Any, **__: Any) -> Answer:
        raise self._problem


@pytest.mark.parametrize(
    ("problem", "status", "detail"),
    [
        (StoreError("no answer within 6 s", slow=True), 503, "The warehouse cannot answer: no answer within 6 s"),
        (StoreError("connection refused"), 503, "The warehouse cannot answer: connection refused"),
        (StoreError("limit of 5 s", code=159, slow=True), 400, "exceeds the limits of a page: limit of 5 s"),
        (StoreError("too many", code=202), 503, "Too many downloads are running."),
        (ZeroDivisionError("ours"), 500, "This is an error in spotlightd itself"),
        (KeyError("ours"), 500, "This is an error in spotlightd itself"),
    ],
)
async def test_an_error_is_named_with_its_remedy(
    world: World, log_lines: list[MutableMapping[str, Any]], problem: Exception, status: int, detail: str
) -> None:
    async with world.served(warehouse=Broken(problem)) as broken:
        for path in ("/", "/data/sec_ftd", "/data/sec_ftd.json", "/s/GME"):
            answer_status, text, answer = await broken.get(path)
            assert answer_status == status
            assert detail in text
            assert answer.headers["Cache-Control"] == "no-store"
            assert ("Retry-After" in answer.headers) == (status == 503)
            assert "Traceback" not in text
            if path.endswith(".json"):
                assert json.loads(text)["error"]["remedy"]
    failed = [line for line in log_lines if line["event"] == "request failed"]
    assert len(failed) == (4 if status == 500 else 0)
    assert all(line["exc_info"] for line in failed)


async def test_the_status_page_opens_while_the_warehouse_is_silent(world: World) -> None:
    async with world.served(warehouse=Broken(StoreError("connection refused"))) as broken:
        status, text, _ = await broken.get("/status.json")
        assert (status, json.loads(text)["state"]["problems"]) == (
            200,
            ["the warehouse cannot answer: connection refused"],
        )
        status, text, _ = await broken.get("/status")
        assert status == 200
        assert '<mark class="tag red">not ready</mark> the warehouse cannot answer: connection refused' in text


async def test_a_query_beyond_its_limits_is_stopped_with_a_reason(world: World) -> None:
    async with world.served(settings=WebSettings(query_memory_bytes=1)) as tight:
        status, text, _ = await tight.get("/data/sec_ftd?_sort=description")
    assert status == 400
    assert "Narrow it with a filter" in text


class SlowToCount:
    """The world's warehouse, in which counting by value takes too long."""

    def __init__(self, warehouse: Any) -> None:
        self._warehouse = warehouse

    async def rows(self, sql: str, *values: Any, **named: Any) -> Answer:
        if "GROUP BY" in sql:
            raise StoreError("limit of 5 s", code=159, slow=True)
        answer: Answer = await self._warehouse.rows(sql, *values, **named)
        return answer


async def test_a_table_has_its_rows_where_counting_them_by_value_takes_too_long(world: World) -> None:
    async with world.served(warehouse=SlowToCount(world.warehouse)) as slow:
        status, text, answer = await slow.get("/data/sec_ftd?_facet=symbol")
    assert status == 200
    assert "Counting these rows exceeds the limits of a page: limit of 5 s. Narrow them with a filter." in text
    assert "36467W109" in text
    assert "ETag" not in answer.headers


async def test_pages_wait_for_a_slot_and_fail_when_none_becomes_free(world: World) -> None:
    running = 0
    most = 0
    gate = asyncio.Event()

    class Slow:
        async def rows(self, *_: Any, **__: Any) -> Answer:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1
            return Answer(("a", "b"), ((1, None),))

    async with world.served(warehouse=Slow(), settings=WebSettings(at_once=2, wait_seconds=0.5)) as slow:
        requests = [asyncio.create_task(slow.get("/data/sec_ftd")) for _ in range(5)]
        done, _ = await asyncio.wait(requests, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        status, text, answer = done.pop().result()
        gate.set()
        await asyncio.gather(*requests)
    assert most == 2
    assert status == 503
    assert "Too many pages" in text
    assert answer.headers["Retry-After"] == "5"


async def test_twenty_heavy_pages_at_once_are_all_answered(world: World) -> None:
    heavy = "/data/sec_ftd?_facet=symbol,cusip,settlement_date&_size=1000&_sort_desc=description"
    async with world.served(settings=WebSettings(query_seconds=60.0, wait_seconds=60.0)) as patient:
        answers = await asyncio.gather(*(patient.get(heavy) for _ in range(20)))
    assert [status for status, _, _ in answers] == [200] * 20


async def test_the_next_free_port_is_used_when_one_is_taken(world: World) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        async with serve(build_application(world.context), "127.0.0.1", port) as bound_port:
            assert port < bound_port <= port + 20
            status, _, _ = await replace(world, address=f"http://127.0.0.1:{bound_port}").get("/healthz")
            assert status == 200


async def test_an_address_of_another_machine_is_a_settings_error(world: World) -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1"):
        async with serve(build_application(world.context), "192.0.2.1", 0):
            pass


async def test_static_files_may_be_cached_for_a_year_under_their_digest(world: World) -> None:
    _, text, _ = await world.get("/")
    address = text.split('rel="stylesheet" href="')[1].split('"')[0]
    status, _, answer = await world.get(address)
    assert status == 200
    assert "immutable" in answer.headers["Cache-Control"]
    status, _, _ = await world.get(address.replace(address.split("/")[2], "0" * 16))
    assert status == 404


async def test_every_response_states_the_time_of_its_queries(world: World) -> None:
    _, _, answer = await world.get("/s/GME")
    assert answer.headers["Server-Timing"].startswith("sql;dur=")


async def test_robots_are_excluded_from_endless_addresses(world: World) -> None:
    _, text, _ = await world.get("/robots.txt")
    assert "Disallow: /*?" in text
