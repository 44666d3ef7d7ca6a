"""A server under half requests, garbage and a lack of descriptors, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from spotlightd.server.connections import Connections
from spotlightd.server.limits import ConnectionLimits
from spotlightd.server.listening import bind, serve_on
from tests.polling import until
from tests.server.half_requests import open_connection, open_half_requests

STREAM = b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
WAIT_SECONDS = 30.0


@dataclass
class Served:
    """A server with a page that answers at once, and one that waits for `gate`."""

    port: int
    connections: Connections
    gate: asyncio.Event
    reports: list[Mapping[str, int]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def total(self) -> Counter[str]:
        return sum((Counter(report) for report in self.reports), Counter(self.connections.dropped))

    async def status(self, path: str = "/") -> int:
        async with (
            asyncio.timeout(WAIT_SECONDS),
            aiohttp.ClientSession() as session,
            session.get(self.address + path) as answer,
        ):
            await answer.read()
            return answer.status

    async def send(self, data: bytes) -> bytes:
        """Raw bytes; the whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        async with asyncio.timeout(WAIT_SECONDS):
            answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def served(
    limits: ConnectionLimits | None = None, sockets: list[socket.socket] | None = None, **options: Any
) -> AsyncIterator[Served]:
    gate, reports = asyncio.Event(), list[Mapping[str, int]]()

    async def show_page(_: web.Request) -> web.Response:
        return web.Response(text="page")

    async def wait(_: web.Request) -> web.Response:
        await gate.wait()
        return web.Response(text="waited")

    async def stream_little(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        return response

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    app = web.Application()
    app.router.add_get("/", show_page)
    app.router.add_get("/wait", wait)
    app.router.add_get("/stream", stream)
    app.router.add_get("/little", stream_little)
    listeners = sockets or await bind("127.0.0.1", 0)
    port = listeners[0].getsockname()[1]
    async with serve_on(
        listeners, app, limits or ConnectionLimits(16, 16), reports.append, shutdown_seconds=1.0, **options
    ) as connections:
        yield Served(port, connections, gate, reports)


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Keeps connections open until the end of a test."""
    with ExitStack() as held:
        yield held


async def test_pages_are_answered_under_ten_times_as_many_half_requests_as_places(held: ExitStack) -> None:
    async with served() as server:
        for _ in range(10):
            await open_half_requests(held, server.port, 16)
            assert await server.status() == 200
        assert len(server.connections) <= 16
        assert server.total()["room"] >= 140


async def test_a_half_request_ends_after_its_time(held: ExitStack) -> None:
    async with served(ConnectionLimits(16, 16, head_seconds=0.1)) as server:
        (client,) = await open_half_requests(held, server.port, 1)
        async with asyncio.timeout(WAIT_SECONDS):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        assert server.total()["head"] == 1


async def test_requests_beyond_the_places_wait_and_are_answered() -> None:
    async with served(ConnectionLimits(4, 4)) as server:
        waiting = [asyncio.create_task(server.status("/wait")) for _ in range(4)]
        await until(lambda: len(server.connections) == 4, "four requests are waiting")
        late = asyncio.create_task(server.status())
        server.gate.set()
        assert [await answer for answer in waiting] == [200] * 4
        assert await late == 200


async def test_readers_that_take_nothing_leave_room_for_pages(held: ExitStack) -> None:
    async with served(ConnectionLimits(8, 8)) as server:
        for _ in range(8):
            await open_connection(held, server.port, STREAM)
        for _ in range(5):
            assert await server.status() == 200
        assert server.total()["room"] >= 1


async def test_a_late_reader_is_disconnected(held: ExitStack) -> None:
    async with served(ConnectionLimits(8, 8, send_seconds=0.1)) as server:
        await open_connection(held, server.port, STREAM)
        await until(lambda: server.total()["send"] == 1, "the reader is disconnected")
        assert len(server.connections) == 0


class Exhausted(socket.socket):
    """A listening socket that finds no descriptor, so many times."""

    failures = 0

    def accept(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


async def test_without_descriptors_it_tries_again_and_reports_once_a_second() -> None:
    listener = Exhausted()
    listener.setblocking(False)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.failures = 12
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with served(sockets=[listener]) as server:
        assert await server.status() == 200
        assert server.total()["descriptors"] == 12
        assert len(server.reports) <= loop.time() - started + 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /little HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x02\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
    ],
)
async def test_no_answer_tells_a_version(head: bytes) -> None:
    async with served(ConnectionLimits(16, 16, idle_seconds=0.1)) as server:
        answer = await server.send(head)
        assert b"Server: spotlightd\r\n" in answer
        for word in (b"aiohttp", b"Python"):
            assert word not in answer.partition(b"\r\n\r\n")[0]


async def test_all_addresses_of_a_host_get_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(*_: Any, **__: Any) -> Any:
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", ("127.0.0.1", 0)), (socket.AF_INET, kind, 6, "", ("127.0.0.2", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    listeners = await bind("localhost", 0)
    try:
        (port,) = {listener.getsockname()[1] for listener in listeners}
        assert port > 0
    finally:
        for listener in listeners:
            listener.close()


async def test_a_port_in_use_leaves_no_socket_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await bind("127.0.0.1", taken.getsockname()[1])
