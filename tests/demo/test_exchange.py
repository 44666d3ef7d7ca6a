"""The demo's exchange: it replays what was received, and follows its commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from spotlightd.demo.exchange import PING, TOO_MANY, Exchange, Script, run_exchange
from spotlightd.demo.recordings import create_ticks, read_recordings
from tests.polling import until

DATA = Path("spotlightd/demo/data/finnhub")
REAL = {line for path in DATA.glob("*.jsonl") for line in path.read_bytes().splitlines()}
QUIET = Script(rate=0.001, ping_seconds=3600)
SYMBOLS = ("AAPL", "TSLA", "BINANCE:BTCUSDT")


@asynccontextmanager
async def subscribed(
    exchange: Exchange, symbols: tuple[str, ...] = SYMBOLS, key: str = ""
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{exchange.address}?token={key or 1}") as socket:
        for symbol in symbols:
            await socket.send_json({"type": "subscribe", "symbol": symbol})
        yield socket


async def took(socket: aiohttp.ClientWebSocketResponse, frames: int) -> list[bytes]:
    return [(await socket.receive_str(timeout=5)).encode() for _ in range(frames)]


async def silent(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Take what is on its way, until nothing is."""
    with contextlib.suppress(TimeoutError):
        while True:
            await socket.receive_str(timeout=0.1)


def trades(value: bytes) -> list[dict[str, Any]]:
    return list(json.loads(value).get("data", []))


async def test_the_venue_of_a_demo_keeps_no_frame_that_it_sent() -> None:
    async with run_exchange(replace(QUIET, keeps_sent=False)) as exchange, subscribed(exchange) as socket:
        await until(lambda: exchange.open_connections)
        await exchange.send(PING)
        assert await took(socket, 1) == [PING]
        assert not exchange.sent


# -- what is replayed --------------------------------------------------------------------------------------------------


def test_the_recordings_are_all_real_frames_due_by_their_own_times() -> None:
    frames = read_recordings()
    assert {frame.value for frame in frames} == REAL
    assert len(frames) == 12
    apple = [frame for frame in frames if frame.symbols == {"AAPL"}]
    assert [round(frame.due, 3) for frame in apple] == [0, 0, 0, 0.112, 0.112, 0.112, 0.263, 0.263, 0.263]


async def test_a_replay_is_byte_for_byte_and_begins_anew() -> None:
    async with run_exchange(Script(speed=100)) as exchange, subscribed(exchange) as socket:
        got = await took(socket, 40)
        assert set(got) == REAL
        assert got == [frame.value for frame in exchange.sent][:40]


async def test_only_what_was_subscribed_to_is_sent() -> None:
    async with run_exchange(Script(speed=100)) as exchange, subscribed(exchange, ("TSLA",)) as socket:
        got = await took(socket, 10)
        assert {trade["s"] for frame in got for trade in trades(frame)} == {"TSLA"}
        assert b'{"type":"ping"}' in got
        await socket.send_json({"type": "unsubscribe", "symbol": "TSLA"})
        await until(lambda: not exchange.open_connections[0].symbols)


async def test_fresh_times_are_of_now_and_change_nothing_else() -> None:
    async with run_exchange(Script(speed=100, fresh_times=True)) as exchange, subscribed(exchange) as socket:
        frames = [trades(value) for value in await took(socket, 12)]
    now = time.time() * 1000
    newest = [max(trade["t"] for trade in frame) for frame in frames if frame]
    assert all(now - 10_000 < moment <= now + 1 for moment in newest)
    real = [{key: value for key, value in trade.items() if key != "t"} for frame in REAL for trade in trades(frame)]
    assert all(
        {key: value for key, value in trade.items() if key != "t"} in real for frame in frames for trade in frame
    )


# -- what can be counted -----------------------------------------------------------------------------------------------


def test_made_ticks_are_real_trades_with_a_number_and_a_time() -> None:
    maker = create_ticks(frozenset({"TSLA"}), per_frame=3)
    symbol, value = maker.build_frame(6, 1_700_000_000_000)
    assert symbol == "TSLA"
    assert [(trade["v"], trade["t"], trade["s"]) for trade in trades(value)] == [
        (number, 1_700_000_000_000, "TSLA") for number in (6, 7, 8)
    ]
    assert {"c", "p", "s", "t", "v"} == set(trades(value)[0])
    assert "c" not in trades(create_ticks(frozenset({"AAPL"})).build_frame(0, 1)[1])[0]
    assert create_ticks(frozenset({"NOBODY"})).trades == create_ticks().trades


async def test_ticks_are_numbered_without_a_hole_and_come_faster_in_a_burst() -> None:
    async with run_exchange(Script(rate=1000, per_frame=2)) as exchange, subscribed(exchange) as socket:
        numbers = [trade["v"] for value in await took(socket, 200) for trade in trades(value)]
        assert numbers == list(range(400))
        assert list(exchange.ticks) == sorted(exchange.ticks)
        begun = len(exchange.ticks)
        await exchange.burst(10, 0.2)
        assert len(exchange.ticks) - begun > 500


async def test_the_market_goes_on_without_listeners() -> None:
    async with run_exchange(Script(rate=500)) as exchange:
        async with subscribed(exchange) as socket:
            await took(socket, 5)
        ticks = len(exchange.ticks)
        await until(lambda: len(exchange.ticks) > ticks + 50)
        async with subscribed(exchange) as socket:
            (first,) = await took(socket, 1)
            assert trades(first)[0]["v"] >= ticks + 50


# -- commands -----------------------------------------------------------------------------------------------------------


async def test_it_closes_hangs_up_and_refuses() -> None:
    async with run_exchange(QUIET) as exchange:
        async with subscribed(exchange) as socket:
            closing = asyncio.create_task(exchange.close(1008, "too fast"))
            message = await socket.receive(5)
            assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 1008, "too fast")
            await closing
        async with subscribed(exchange) as socket:
            await until(lambda: len(exchange.open_connections) == 1)
            exchange.abort()
            assert (await socket.receive(5)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        exchange.refuse(429, "3")
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with subscribed(exchange):
                pass
        assert caught.value.status == 429
        exchange.accept()
        async with subscribed(exchange) as socket:
            await exchange.send(PING)
            assert await took(socket, 1) == [PING]
        assert exchange.connections == 4


async def test_it_stalls_and_falls_mute() -> None:
    async with run_exchange(Script(rate=500)) as exchange, subscribed(exchange) as socket:
        await took(socket, 5)
        exchange.stall()
        await silent(socket)
        ticks = len(exchange.ticks)
        exchange.resume()
        await until(lambda: len(exchange.ticks) > ticks)
        exchange.mute()
        sent, ticks = len(exchange.sent), len(exchange.ticks)
        await until(lambda: len(exchange.ticks) > ticks + 20)
        assert len(exchange.sent) <= sent + 1
        exchange.resume()
        await until(lambda: len(exchange.sent) > sent + 20)


async def test_it_repeats_and_reorders() -> None:
    async with run_exchange(Script(rate=500)) as exchange, subscribed(exchange) as socket:
        await took(socket, 5)
        exchange.repeat(2)
        exchange.reorder(3)
        mark = len(exchange.sent)
        await until(lambda: len(exchange.sent) > mark + 24)
        numbers = [trades(frame.value)[0]["v"] for frame in exchange.sent[mark : mark + 24]]
        assert numbers != sorted(numbers)
        assert all(numbers.count(number) == 2 for number in numbers[6:12])


async def test_it_answers_too_many_symbols_and_a_second_connection_with_the_same_key() -> None:
    async with run_exchange(Script(rate=0.001, max_symbols=2)) as exchange, subscribed(exchange) as first:
        assert await took(first, 1) == [TOO_MANY]
        async with subscribed(exchange, key="another"):
            await until(lambda: len(exchange.open_connections) == 2)
        async with subscribed(exchange):
            assert (await first.receive(5)).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
