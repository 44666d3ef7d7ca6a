"""Connections that send a part of a request and then nothing more."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

HALF_REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


async def open_half_requests(held: ExitStack, port: int, count: int) -> list[socket.socket]:
    """So many half requests, open until the stack is closed."""
    return [await open_connection(held, port, HALF_REQUEST) for _ in range(count)]


async def open_connection(held: ExitStack, port: int, data: bytes) -> socket.socket:
    """A connection that has sent the data and reads nothing. What it may receive is little."""
    client = held.enter_context(socket.socket())
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, data)
    return client
