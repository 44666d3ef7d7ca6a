"""A TCP proxy on loopback that delays, splits, stalls, drops, resets and refuses, as networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PIECE_BYTES = 1 << 16


@dataclass
class Proxy:
    """Passes bytes on to `port`, as the fields say; they may be changed at any time and hold for open connections too.

    stalled       nothing passes in either direction, and nothing is closed: half-open
    deaf          what the client asks passes, what it is answered is swallowed
    refusing      new connections are closed at once
    answer        what every new connection is answered, whatever it asks, instead of being passed on
    delay_seconds each piece waits so long
    piece_bytes   pieces are cut to this size
    """

    port: int = 0
    stalled: bool = False
    deaf: bool = False
    refusing: bool = False
    answer: bytes = b""
    delay_seconds: float = 0.0
    piece_bytes: int = PIECE_BYTES
    listening: int = 0
    connections: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.listening}"

    def reset(self) -> None:
        """Cut all open connections off."""
        for writer in list(self._open):
            writer.transport.abort()

    def healthy(self) -> None:
        """Pass everything again. Connections that lost bytes are cut, because the rest would be unreadable."""
        broken = self.deaf
        self.stalled = self.deaf = self.refusing = False
        self.answer = b""
        self.delay_seconds, self.piece_bytes = 0.0, PIECE_BYTES
        if broken:
            self.reset()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.refusing:
                return
            if self.answer:
                await self._answer(reader, writer)
                return
            there, back = await asyncio.open_connection(HOST, self.port)
        except OSError:
            writer.transport.abort()
            return
        finally:
            if self.refusing:
                writer.transport.abort()
        self._open |= {writer, back}
        ways = [
            asyncio.create_task(self._pass(reader, back, answer=False), name="proxy asks"),
            asyncio.create_task(self._pass(there, writer, answer=True), name="proxy answers"),
        ]
        self._tasks.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            self._tasks.difference_update(ways)
            for one in (writer, back):
                self._open.discard(one)
                one.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            await reader.read(self.piece_bytes)
            writer.write(self.answer)
            await writer.drain()
            writer.write_eof()
            await reader.read()  # who hangs up first while there is something to read cuts the answer off
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while data := await reader.read(self.piece_bytes):
                while self.stalled:  # noqa: ASYNC110 - a field that tests set
                    await asyncio.sleep(0.01)
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds * random.uniform(0.5, 1.5))
                if not (answer and self.deaf):
                    writer.write(data)
                    await writer.drain()


@asynccontextmanager
async def proxying(port: int = 0, *, at: int = 0) -> AsyncIterator[Proxy]:
    """A proxy to that port of loopback (which may be set later) while the block runs; `at` = where, 0 = anywhere."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.connected, HOST, at)
    proxy.listening = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.reset()
        for task in list(proxy._tasks):
            task.cancel()
        await server.wait_closed()
