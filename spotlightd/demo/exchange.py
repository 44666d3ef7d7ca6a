"""A venue on loopback that can be told to misbehave: real frames replayed, or numbered ticks made from them.

The market goes on whether or not anyone listens: ticks that were made while nobody was connected were missed, as at a
real venue. `ticks` knows when each was made and `sent` what went down which connection, so that a test can count.
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

from spotlightd.demo.tapes import PAUSE_SECONDS, taped, ticks

HOST = "127.0.0.1"
STEP_SECONDS = 0.01
PING = b'{"type":"ping"}'
TOO_MANY = b'{"msg":"Subscribing to too many symbols","type":"error"}'
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
    """How the venue behaves when it is not told otherwise.

    speed         real frames come that many times faster than they did
    fresh_times   they are sent with times of now; else unchanged, byte for byte
    rate          ticks made in a second, in place of the real frames; 0 = none
    per_frame     ticks in one frame
    ping_seconds  between two of the venue's own pings, which are frames
    max_symbols   more than that are answered with an error frame
    one_per_key   a second connection with the same token ends the first
    """

    speed: float = 1.0
    fresh_times: bool = False
    rate: float = 0.0
    per_frame: int = 1
    ping_seconds: float = 10.0
    max_symbols: int = 50
    one_per_key: bool = True


@dataclass(frozen=True, slots=True)
class Sent:
    """What was written to a connection (0 = the first), and when, in nanoseconds since 1970."""

    at: int
    connection: int
    value: bytes


@dataclass(slots=True, eq=False)
class Line:
    """One connection, as the venue sees it."""

    number: int
    token: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    symbols: set[str] = field(default_factory=set)
    deaf: bool = False


class Exchange:
    """A venue that answers at `address`; its methods are commands while it runs."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.address = ""
        self.connections = 0
        self.sent: list[Sent] = []
        self.ticks = array("q")
        self.lines: list[Line] = []
        self.told: list[str] = []
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
        """Send that now, to all who subscribed to the symbol; to all for none. Not held back by `mute` or `stall`."""
        for line in [one for one in self.lines if not symbol or symbol in one.symbols]:
            if not line.deaf:
                self.sent.append(Sent(time.time_ns(), line.number, value))
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await line.socket.send_frame(value, WSMsgType.TEXT)

    async def garbage(self, kind: str) -> bytes:
        """Send something of GARBAGE, or `huge`: 16 MiB and one byte. Answers what was sent."""
        value = b"9" * ((16 << 20) + 1) if kind == "huge" else GARBAGE[kind]
        await self.send(value)
        return value

    async def trouble(self) -> None:
        """The frame by which the venue refuses what was asked."""
        await self.send(TOO_MANY)

    async def close(self, code: int = 1001, reason: str = "") -> None:
        """Close all connections, with a code and a reason."""
        for line in tuple(self.lines):
            with contextlib.suppress(ConnectionError, RuntimeError):
                await line.socket.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """Hang up on all, without a word."""
        for line in tuple(self.lines):
            line.transport.abort()

    def half_open(self) -> None:
        """The connections that are there stay open, but nothing is read from them or written to them any more."""
        for line in self.lines:
            line.deaf = True
            line.transport.pause_reading()

    def stall(self) -> None:
        """The market stands still, pings too, until `resume`."""
        self._flowing.clear()

    def mute(self) -> None:
        """Pings of the protocol are answered and the market goes on, but no frame is sent, until `resume`."""
        self._muted = True

    def resume(self) -> None:
        """No more stall, muteness, repeats or disorder."""
        self._muted, self._times, self._group = False, 1, 1
        self._flowing.set()

    def repeat(self, times: int) -> None:
        """Send every frame that many times."""
        self._times = times

    def reorder(self, group: int) -> None:
        """Send so many frames at a time, the last of them first."""
        self._group = group

    async def burst(self, factor: float, seconds: float) -> None:
        """Made ticks come that many times faster for that long."""
        self._factor = factor
        try:
            await asyncio.sleep(seconds)
        finally:
            self._factor = 1.0

    def refuse(self, status: int, retry_after: str = "") -> None:
        """Answer whoever wants to connect with that status, until `accept`."""
        self._refusal = (status, retry_after)

    def accept(self) -> None:
        self._refusal = None

    # -- the venue -----------------------------------------------------------------------------------------------------

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        if self._refusal is not None:
            status, later = self._refusal
            return web.Response(status=status, headers={"Retry-After": later} if later else {})
        socket = web.WebSocketResponse(compress=False, timeout=1.0, writer_limit=1 << 20)
        await socket.prepare(request)
        if request.transport is None:
            return socket
        line = Line(self.connections - 1, request.query.get("token", ""), socket, request.transport)
        self._displace(line)
        self.lines.append(line)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._told(line, message.data)
        finally:
            self.lines.remove(line)
        return socket

    def _displace(self, line: Line) -> None:
        for other in self.lines:
            if self.script.one_per_key and line.token and other.token == line.token:
                other.transport.abort()

    async def _told(self, line: Line, text: str) -> None:
        self.told.append(text)
        asked = json.loads(text)
        if asked["type"] == "unsubscribe":
            line.symbols.discard(asked["symbol"])
        elif len(line.symbols) >= self.script.max_symbols:
            await line.socket.send_frame(TOO_MANY, WSMsgType.TEXT)
        else:
            line.symbols.add(asked["symbol"])

    async def _deliver(self, symbol: str, value: bytes) -> None:
        if self._muted:
            return
        self._shuffled.append(value)
        if len(self._shuffled) >= self._group:
            group, self._shuffled = self._shuffled, []
            for one in reversed(group):
                for _ in range(self._times):
                    await self.send(one, symbol=symbol)

    async def replaying(self) -> None:
        """The real frames, round after round."""
        frames = taped()
        while True:
            begun = time.monotonic()
            for one in frames:
                await asyncio.sleep(begun + one.due / self.script.speed - time.monotonic())
                await self._flowing.wait()
                value = one.fresh(time.time_ns() // 1_000_000) if self.script.fresh_times else one.value
                await self._deliver(next(iter(one.symbols), ""), value)
            await asyncio.sleep(PAUSE_SECONDS / self.script.speed)

    async def ticking(self) -> None:
        """Made ticks at the script's rate. They are of the symbols that were first subscribed to."""
        maker, due, before = None, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(STEP_SECONDS)
            await self._flowing.wait()
            now = time.monotonic()
            due += min(now - before, 1.0) * self.script.rate * self._factor
            before = now
            wanted = frozenset(symbol for line in self.lines for symbol in line.symbols)
            maker = maker or (ticks(wanted, self.script.per_frame) if wanted else None)
            while maker and due >= self.script.per_frame:
                due -= self.script.per_frame
                at = time.time_ns()
                symbol, value = maker.frame(len(self.ticks), at // 1_000_000)
                self.ticks.extend([at] * self.script.per_frame)
                await self._deliver(symbol, value)

    async def pinging(self) -> None:
        while True:
            await asyncio.sleep(self.script.ping_seconds)
            await self._flowing.wait()
            if not self._muted:
                await self.send(PING)


@asynccontextmanager
async def exchanging(script: Script | None = None, *, port: int = 0) -> AsyncIterator[Exchange]:
    """A venue on a port of loopback (0 = a free one) while the block runs."""
    exchange = Exchange(script or Script())
    app = web.Application()
    app.router.add_get("/", exchange.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    works = {"market": exchange.ticking if exchange.script.rate else exchange.replaying, "pings": exchange.pinging}
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
