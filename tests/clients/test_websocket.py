"""A connection to a venue: only to allowed hosts, frames unchanged, bounded, its address in no message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import WSMsgType, web

from spotlightd.clients.http.websocket import WebSocket, open_websocket
from spotlightd.demo.exchange import PING, Exchange, Script, run_exchange
from spotlightd.model.stream import FeedError

KEY = "a-key-that-nobody-may-see"
QUIET = Script(rate=0.001, ping_seconds=3600)


def connect(
    exchange: Exchange, *, ping_seconds: float = 0.0, most: int = 1 << 20, key: str = KEY
) -> AbstractAsyncContextManager[WebSocket]:
    return open_websocket(
        f"{exchange.address}?token={key}",
        (),
        connect_seconds=5,
        ping_seconds=ping_seconds,
        max_frame_bytes=most,
        allow_private=True,
    )


async def wait_for_end(socket: WebSocket, seconds: float = 10.0) -> FeedError:
    """How the connection ends, within that time; frames before it are taken."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            await socket.receive(0.05)
        except FeedError as problem:
            return problem
    raise AssertionError(f"still open after {seconds:g} s")


async def get_refusal(url: str, hosts: tuple[str, ...] = ("ws.example.org",), **options: bool) -> str:
    with pytest.raises(FeedError) as caught:
        async with open_websocket(url, hosts, connect_seconds=2, ping_seconds=0, max_frame_bytes=1000, **options):
            pass
    assert KEY not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
    return str(caught.value)


# -- frames ------------------------------------------------------------------------------------------------------------


async def test_frames_arrive_byte_for_byte_even_those_that_are_no_utf8() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange) as socket:
        await socket.send('{"type":"subscribe","symbol":"AAPL"}')
        sent = [await exchange.garbage(kind) for kind in ("bad json", "no json", "deep", "utf8", "nan", "empty")]
        assert [await socket.receive(5) for _ in sent] == sent
        await exchange.open_connections[0].socket.send_bytes(b"\xff binary")
        assert await socket.receive(5) == b"\xff binary"
        assert exchange.requests == ['{"type":"subscribe","symbol":"AAPL"}']


async def test_nothing_within_the_time_is_none_and_loses_nothing() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange) as socket:
        assert await socket.receive(0.01) is None
        await exchange.send(PING)
        assert await socket.receive(5) == PING


async def test_pings_that_are_answered_do_not_prolong_the_wait_for_a_frame() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange, ping_seconds=0.05) as socket:
        started = time.monotonic()
        assert await socket.receive(0.4) is None
        assert time.monotonic() - started < 5
        assert exchange.connections == 1


async def test_a_frame_of_the_most_bytes_is_taken_and_a_longer_one_ends_the_connection() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange, most=1000) as socket:
        await exchange.send(b"x" * 1000)
        assert await socket.receive(5) == b"x" * 1000
        await exchange.send(b"x" * 1001)
        problem = await wait_for_end(socket)
        assert problem.cause == "connection lost"
        assert "more than 1,000 bytes" in str(problem)


async def test_a_listener_that_takes_nothing_holds_the_venue_up_and_fills_no_memory() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange, most=2 << 20) as socket:

        async def flood() -> None:
            for number in range(100):
                await exchange.send(b"%d" % number + b"x" * 1_000_000)

        flooding = asyncio.create_task(flood())
        sent = 0
        while sent < len(exchange.sent):
            sent = len(exchange.sent)
            await asyncio.wait([flooding], timeout=0.3)
        assert not flooding.done()
        assert sent < 50
        received = [await socket.receive(5) for _ in range(100)]
        assert received == [frame.value for frame in exchange.sent]
        await flooding


# -- endings -----------------------------------------------------------------------------------------------------------


async def test_a_close_reports_its_code_and_reason() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange) as socket:
        closing = asyncio.create_task(exchange.close(1008, "too fast"))
        problem = await wait_for_end(socket)
        assert problem.cause == "closed by the venue"
        assert "code 1008: too fast" in str(problem)
        assert (await wait_for_end(socket)).cause in {"closed by the venue", "connection lost"}
    await closing


async def test_a_venue_that_hangs_up_is_a_lost_connection() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange) as socket:
        exchange.abort()
        assert (await wait_for_end(socket)).cause == "connection lost"


async def test_a_half_open_connection_is_detected_by_a_ping() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange, ping_seconds=0.2) as socket:
        exchange.half_open()
        problem = await wait_for_end(socket)
        assert problem.cause == "connection lost"
        assert "ping" in str(problem)


async def test_leaving_a_half_open_connection_takes_no_longer_than_a_moment() -> None:
    async with run_exchange(QUIET) as exchange:
        async with connect(exchange):
            exchange.half_open()
            started = time.monotonic()
        assert time.monotonic() - started < 5


# -- where to ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"ws://ws.example.org/?token={KEY}", "is not wss"),
        (f"https://ws.example.org/?token={KEY}", "is not wss"),
        (f"wss://elsewhere.example.org/?token={KEY}", "is not a host of the stream (ws.example.org)"),
        (f"wss://ws.example.org:8443/?token={KEY}", "is not a host of the stream"),
        (f"wss://user:{KEY}@ws.example.org/", "user name or password"),
        (f"wss://[{KEY}/", "is not valid"),
    ],
)
async def test_an_address_that_is_not_the_venues_is_not_connected_to(url: str, expected: str) -> None:
    assert expected in await get_refusal(url)


async def test_a_name_that_leads_to_a_private_address_is_not_connected_to() -> None:
    expected = await get_refusal(f"wss://localhost/?token={KEY}", ("localhost",))
    assert "private address" in expected
    assert "[streams.addresses]" in expected


async def test_an_address_where_nothing_listens(free_port: int) -> None:
    assert "no connection to 127.0.0.1" in await get_refusal(
        f"ws://127.0.0.1:{free_port}/?token={KEY}", allow_private=True
    )


@pytest.mark.parametrize(
    ("status", "cause"), [(401, "refused by the venue"), (429, "refused by the venue"), (503, "connection refused")]
)
async def test_a_venue_that_answers_no_websocket(status: int, cause: str) -> None:
    async with run_exchange(QUIET) as exchange:
        exchange.refuse(status, retry_after="7")
        with pytest.raises(FeedError) as caught:
            async with connect(exchange):
                pass
    assert (caught.value.cause, caught.value.status, caught.value.retry_after_seconds) == (cause, status, 7)
    assert KEY not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


async def test_a_redirect_is_not_followed() -> None:
    async with run_exchange(QUIET) as exchange, redirecting(f"{exchange.address}?token={KEY}") as url:
        assert "redirect" in await get_refusal(f"{url}?token={KEY}", allow_private=True)
        assert exchange.connections == 0


@asynccontextmanager
async def redirecting(to: str) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": to.replace("ws://", "http://")})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_a_handshake_that_does_not_come_ends_in_time() -> None:
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        over.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FeedError, match=r"no connection to 127.0.0.1 within 0.2 s"):
            async with open_websocket(
                f"ws://127.0.0.1:{port}/",
                (),
                connect_seconds=0.2,
                ping_seconds=0,
                max_frame_bytes=10,
                allow_private=True,
            ):
                pass
        await over.wait()


async def test_a_ping_of_the_venue_is_answered() -> None:
    async with run_exchange(QUIET) as exchange, connect(exchange) as socket:
        await exchange.open_connections[0].socket.send_frame(b"are you there", WSMsgType.PING)
        await exchange.send(PING)
        assert await socket.receive(5) == PING
