"""A venue on loopback that misbehaves on command. It replays real frames, or sends numbered ticks built from them.

The market goes on whether or not anyone listens: ticks of a time without a connection are missed, as at a real venue.
`ticks` holds the time of each tick and `sent` the frames of each connection, so that a test can count; the demo keeps none. It answers a
subscription to one of `refused_symbols` with an error frame, and sends the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from spotlightd.demo.recordings import PAUSE_SECONDS, create_ticks, read_recordings

HOST = "127.0.0.1"
STEP_SECONDS = 0.01
PING = b'{"type":"ping"}'
TOO_MANY = b'{"msg":"Subscribing to too many symbols","type":"error"}'
INVALID = '{"msg":"Invalid symbol %s","type":"error"}'
GARBAGE = {
    "bad json": b'{"data":[{"c":null,"p":66972.77,"s":"BINANCE:BTC',
    "no json": b"\x00\x01garbage",
    "deep": b'{"data":' + b"[" * 50_000 + b"]" * 50_000 + b',"type":"trade"}',
    "utf8": b'{"data":[{"c":null,"p":1,"s":"\xff\xfe\xc0","t":1721555886208,"v":1}],"type":"trade"}',
    "nan": b'{"data":[{"c":null,"p":NaN,"s":"AAPL","t":1721555886208,"v":Infinity}],"type":"trade"}',
    "empty": b"",
}


@dataclass(frozen=True, slots=True)
class Script:
    """How the venue behaves without commands.

    speed         real frames come this many times faster than they did
    fresh_times   real frames are sent with current times; otherwise unchanged, byte for byte
    rate          ticks per second, in place of the real frames; 0 = none
    per_frame     ticks in one frame
    ping_seconds  between two of the venue's own pings, which are frames
    max_symbols   more symbols than this are answered with an error frame
    clock_seconds the venue's clock, by which its ticks are timed, is so far ahead of this machine's
    one_per_key   a second connection with the same token ends the first
    keeps_sent    `sent` holds every frame: 20 MB in two hours of ten frames a second
    """

    speed: float = 1.0
    fresh_times: bool = False
    rate: float = 0.0
    per_frame: int = 1
    ping_seconds: float = 10.0
    max_symbols: int = 50
    clock_seconds: float = 0.0
    one_per_key: bool = True
    keeps_sent: bool = True


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame written to a connection (0 = the first) at that time, in nanoseconds since 1970."""

    at: int
    connection: int
    value: bytes


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, as the venue sees it."""

    number: int
    token: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    symbols: set[str] = field(default_factory=set)
    is_half_open: bool = False


class Exchange:
    """A venue at `address`. Its methods are commands while it runs."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.address = ""
        self.connections = 0
        self.sent: list[SentFrame] = []
        self.ticks = array("q")
        self.open_connections: list[Connection] = []
        self.requests: list[str] = []
        self.refused_symbols: set[str] = set()
        self._refusal: tuple[int, str] | None = None
        self._muted = False
        self._times = 1
        self._shuffled: list[bytes] = []
        self._group = 1
        self._factor = 1.0
        self._flowing = asyncio.Event()
        self._flowing.set()

    # -- commands ------------------------------------------------------------------------------------------------------

    async def send(self, value: bytes, *, symbol: str = "") -> None:
        """Send a frame now to all who subscribed to the symbol, or to all. `mute` and `stall` do not hold it back."""
        for connection in [each for each in self.open_connections if not symbol or symbol in each.symbols]:
            if not connection.is_half_open:
                if self.script.keeps_sent:
                    self.sent.append(SentFrame(time.time_ns(), connection.number, value))
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await connection.socket.send_frame(value, WSMsgType.TEXT)

    async def garbage(self, kind: str) -> bytes:
        """Send an entry of GARBAGE, or `huge`: 16 MiB and one byte. Returns the bytes sent."""
        value = b"9" * ((16 << 20) + 1) if kind == "huge" else GARBAGE[kind]
        await self.send(value)
        return value

    async def close(self, code: int = 1001, reason: str = "") -> None:
        """Close all connections, with a code and a reason."""
        for connection in tuple(self.open_connections):
            with contextlib.suppress(ConnectionError, RuntimeError):
                await connection.socket.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """End all connections without a close frame."""
        for connection in tuple(self.open_connections):
            connection.transport.abort()

    def half_open(self) -> None:
        """Open connections stay open, but the venue no longer reads from them or writes to them."""
        for connection in self.open_connections:
            connection.is_half_open = True
            connection.transport.pause_reading()

    def stall(self) -> None:
        """Stop the market and the pings, until `resume`."""
        self._flowing.clear()

    def mute(self) -> None:
        """Send no frames until `resume`. The market goes on, and WebSocket pings are answered."""
        self._muted = True

    def resume(self) -> None:
        """End `stall`, `mute`, `repeat` and `reorder`."""
        self._muted, self._times, self._group = False, 1, 1
        self._flowing.set()

    def repeat(self, times: int) -> None:
        """Send every frame this many times."""
        self._times = times

    def reorder(self, group: int) -> None:
        """Send frames in groups of this size, each group in reverse order."""
        self._group = group

    async def burst(self, factor: float, seconds: float) -> None:
        """Numbered ticks come this many times faster for that long."""
        self._factor = factor
        try:
            await asyncio.sleep(seconds)
        finally:
            self._factor = 1.0

    def refuse(self, status: int, retry_after: str = "") -> None:
        """Answer new connections with that status, until `accept`."""
        self._refusal = (status, retry_after)

    def accept(self) -> None:
        self._refusal = None

    # -- the venue -----------------------------------------------------------------------------------------------------

    async def accept_connection(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        if self._refusal is not None:
            status, retry_after = self._refusal
            return web.Response(status=status, headers={"Retry-After": retry_after} if retry_after else {})
        socket = web.WebSocketResponse(compress=False, timeout=1.0, writer_limit=1 << 20)
        await socket.prepare(request)
        if request.transport is None:
            return socket
        connection = Connection(self.connections - 1, request.query.get("token", ""), socket, request.transport)
        self._displace(connection)
        self.open_connections.append(connection)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._handle(connection, message.data)
        finally:
            self.open_connections.remove(connection)
        return socket

    def _displace(self, connection: Connection) -> None:
        for other in self.open_connections:
            if self.script.one_per_key and connection.token and other.token == connection.token:
                other.transport.abort()

    async def _handle(self, connection: Connection, text: str) -> None:
        self.requests.append(text)
        request = json.loads(text)
        if request["type"] == "unsubscribe":
            connection.symbols.discard(request["symbol"])
        elif len(connection.symbols) >= self.script.max_symbols:
            await connection.socket.send_frame(TOO_MANY, WSMsgType.TEXT)
        elif request["symbol"] in self.refused_symbols:
            await connection.socket.send_frame((INVALID % request["symbol"]).encode(), WSMsgType.TEXT)
        else:
            connection.symbols.add(request["symbol"])

    async def _deliver(self, symbol: str, value: bytes) -> None:
        if self._muted:
            return
        self._shuffled.append(value)
        if len(self._shuffled) >= self._group:
            group, self._shuffled = self._shuffled, []
            for frame in reversed(group):
                for _ in range(self._times):
                    await self.send(frame, symbol=symbol)

    async def replay(self) -> None:
        """Send the real frames, again and again."""
        frames = read_recordings()
        while True:
            started = time.monotonic()
            for frame in frames:
                await asyncio.sleep(started + frame.due / self.script.speed - time.monotonic())
                await self._flowing.wait()
                value = frame.move_times(time.time_ns() // 1_000_000) if self.script.fresh_times else frame.value
                await self._deliver(next(iter(frame.symbols), ""), value)
            await asyncio.sleep(PAUSE_SECONDS / self.script.speed)

    async def send_ticks(self) -> None:
        """Send numbered ticks at the script's rate, for the symbols that were subscribed to first."""
        maker, due, before = None, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(STEP_SECONDS)
            await self._flowing.wait()
            now = time.monotonic()
            due += min(now - before, 1.0) * self.script.rate * self._factor
            before = now
            symbols = frozenset(symbol for each in self.open_connections for symbol in each.symbols)
            maker = maker or (create_ticks(symbols, self.script.per_frame) if symbols else None)
            while maker and due >= self.script.per_frame:
                due -= self.script.per_frame
                now_ns = time.time_ns()
                venue_ms = now_ns // 1_000_000 + round(self.script.clock_seconds * 1000)
                symbol, value = maker.build_frame(len(self.ticks), venue_ms)
                self.ticks.extend([now_ns] * self.script.per_frame)
                await self._deliver(symbol, value)

    async def send_pings(self) -> None:
        while True:
            await asyncio.sleep(self.script.ping_seconds)
            await self._flowing.wait()
            if not self._muted:
                await self.send(PING)


@asynccontextmanager
async def run_exchange(script: Script | None = None, *, port: int = 0) -> AsyncIterator[Exchange]:
    """A venue on a port of loopback (0 = a free one) while the block runs."""
    exchange = Exchange(script or Script())
    app = web.Application()
    app.router.add_get("/", exchange.accept_connection)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    market = exchange.send_ticks if exchange.script.rate else exchange.replay
    works = {"market": market, "pings": exchange.send_pings}
    tasks = [asyncio.create_task(work(), name=f"exchange {name}") for name, work in works.items()]
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        exchange.address = f"ws://{HOST}:{runner.addresses[0][1]}/"
        yield exchange
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        exchange.abort()
        await runner.cleanup()
    for task in tasks:
        if not task.cancelled():
            task.result()
