"""Serves an application on listening sockets, within limits that nobody outside can exhaust.

Connections are accepted here and not by asyncio: it accepts without a bound, and Python 3.11 logs a complaint for each
free place in the backlog when descriptors run out (334,540 lines in two minutes).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from spotlightd.server.connections import Connection, Connections
from spotlightd.server.handler import GuardedHandler, add_server_name, watch_answers
from spotlightd.server.limits import ConnectionLimits

BACKLOG = 128
ACCEPTED_IN_A_ROW = 32
CHECK_SECONDS = 1.0
PAUSE_SECONDS = 0.2
_OUT_OF_MEANS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

OnDropped = Callable[[Mapping[str, int]], None]
"""Called once a second at most, with the number of dropped connections by their reason: head, body, idle, send (late),
room (closed for a new one), address (one address had too many), descriptors (there was none for a new connection),
network (the system refused it for another reason).
"""


async def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of the host. OSError when one cannot."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = opened.enter_context(socket.socket(family, kind, protocol))
            _listen(listener, (address[0], port or _port_of(sockets), *address[2:]))
            sockets.append(listener)
        opened.pop_all()
    return sockets


def _listen(listener: socket.socket, address: tuple[Any, ...]) -> None:
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(address)
    listener.listen(BACKLOG)


def _port_of(sockets: Sequence[socket.socket]) -> int:
    """The port of the first one: port 0 means any, and the same for all addresses."""
    return int(sockets[0].getsockname()[1]) if sockets else 0


@asynccontextmanager
async def serve_on(
    sockets: Sequence[socket.socket],
    app: web.Application,
    limits: ConnectionLimits,
    on_dropped: OnDropped,
    *,
    shutdown_seconds: float,
    **options: Any,
) -> AsyncIterator[Connections]:
    """Serve while the block runs; the sockets are closed at its end. `options` are those of aiohttp's protocol.

    At the end no connection is accepted first, then those that are open end, within `shutdown_seconds`.
    """
    app.on_response_prepare.append(add_server_name)
    options = {"access_log": None, "keepalive_timeout": limits.idle_seconds, **options}
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=shutdown_seconds, **options)
    places = Connections(limits)
    with ExitStack() as listeners:
        for listener in sockets:
            listeners.enter_context(listener)
        await runner.setup()
        door = _Door(_guarded_server(runner), places, options)
        try:
            async with _in_background(_watch(places, on_dropped)):
                async with _in_background(*(door.accept_from(listener) for listener in sockets)):
                    yield places
                listeners.close()
                await door.close()
        finally:
            await runner.cleanup()
            places.abort_all()
            await asyncio.sleep(0)  # asyncio closes their sockets in its next step


def _guarded_server(runner: web.AppRunner) -> web.Server:
    server = runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")
    watch_answers(server)
    return server


@asynccontextmanager
async def _in_background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Endless works that run beside the block."""
    tasks = [asyncio.create_task(work, name="serve") for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _wait_readable(listener: socket.socket) -> None:
    """Wait until somebody wants to connect. `loop.sock_accept` would lose a connection when it is cancelled."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(listener, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(listener)


async def _watch(places: Connections, on_dropped: OnDropped) -> None:
    """Close what is late, and report what was dropped: one report a second however many there are."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        places.drop_late()
        if dropped := places.take_dropped():
            on_dropped(dropped)


@dataclass(slots=True)
class _Door:
    """Accepts connections and gives each a place and a protocol."""

    server: web.Server
    places: Connections
    options: Mapping[str, Any]
    _opening: set[asyncio.Task[None]] = field(default_factory=set)

    async def accept_from(self, listener: socket.socket) -> None:
        while True:
            await _wait_readable(listener)
            for _ in range(ACCEPTED_IN_A_ROW):  # then the requests of these are read before others come in
                try:
                    connected, peer = listener.accept()
                except BlockingIOError:
                    break
                except OSError as problem:
                    await self._pause(problem)
                    break
                await self._let_in(connected, str(peer[0]))

    async def close(self) -> None:
        """Wait for the connections that are being opened."""
        if self._opening:
            await asyncio.wait(self._opening)

    async def _pause(self, problem: OSError) -> None:
        """A connection could not be accepted: try again soon. Without a descriptor, one that waits is given up first."""
        if problem.errno in _OUT_OF_MEANS:
            self.places.dropped["descriptors"] += 1
            self.places.drop_waiting()
        else:
            self.places.dropped["network"] += 1
        await asyncio.sleep(PAUSE_SECONDS)

    async def _let_in(self, connected: socket.socket, address: str) -> None:
        with ExitStack() as opened:
            opened.enter_context(connected)
            connection = await self.places.admit(address)
            if connection is None:
                return
            opened.pop_all()
        task = asyncio.create_task(self._open(connected, connection), name=f"connection from {address}")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connected: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connected.setblocking(False)
        handler = GuardedHandler(self.server, self.places, connection, loop=loop, **self.options)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: handler, connected)
        except OSError:
            self.places.remove(connection)
            connected.close()
        else:
            connection.attach(transport)
            handler.note_read_soon()
