"""One connection to a venue, over a websocket: only to where we meant, strictly bounded, its frames byte for byte.

What surprises:
- The address holds the key, and aiohttp's errors hold the address: none of them is shown, logged or chained.
- aiohttp follows redirects before the upgrade; here each is refused before anything is asked elsewhere.
- A receive with aiohttp's own time-out begins anew at every ping and pong, so that a venue which answers pings and
  sends nothing would never be noticed: the time is kept here.
- A time-out for each frame costs more than all of aiohttp (0.1 M frames a second of 100 bytes on loopback, 0.6 M
  without), so a task reads ahead, and only who finds nothing there waits with a time-out. Whoever takes frames in a
  loop is held up after AHEAD of them at the latest, so that the event loop has its turn.
- Text is taken as bytes: what is no UTF-8 arrives like everything else, and is for the decode to judge.
- Compression is not offered: a small frame can then not become a large one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal

import aiohttp
from yarl import URL

from spotlightd.clients.http import address
from spotlightd.clients.http.rate_limit import asked_pause
from spotlightd.model.offsets import Cause
from spotlightd.model.stream import FeedError

AHEAD = 256
AHEAD_BYTES = 4 << 20
SEND_SECONDS = 10.0
CLOSE_SECONDS = 1.0
PORT = 443
REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
MOVED = range(300, 400)


class WebSocket:
    """The port `Socket` over an open connection of aiohttp's, read by a task of its own (`pumping`)."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse[Literal[False]], host: str, max_frame_bytes: int
    ) -> None:
        self._socket = socket
        self._host = host
        self._most = max_frame_bytes
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._end: FeedError | None = None

    async def receive(self, seconds: float) -> bytes | None:
        if not self._frames and self._end is None:
            self._some.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._some.wait()
            except TimeoutError:
                return None
        if self._frames:
            self._room.set()
            value = self._frames.popleft()
            self._size -= len(value)
            return value
        raise self._end or FeedError("connection lost", f"nothing reads from {self._host} any more")

    async def pumping(self) -> None:
        """Read until the end. AHEAD frames wait at most, or AHEAD_BYTES and one frame; beyond them the venue does."""
        try:
            while self._end is None:
                message = await self._socket.receive()
                if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                    self._end = self._ended(message)
                    return
                self._frames.append(message.data)
                self._size += len(message.data)
                self._some.set()
                while len(self._frames) >= AHEAD or self._size >= AHEAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._end = self._end or FeedError("connection lost", f"nothing reads from {self._host} any more")
            self._some.set()

    async def send(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_str(text)
        except TimeoutError:
            raise FeedError("connection lost", f"{self._host} took nothing for {SEND_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError):
            raise FeedError("connection lost", f"{self._host} hung up while we wrote to it") from None

    def _ended(self, message: Any) -> FeedError:
        """Why there will be no more frames."""
        problem = message.data if isinstance(message.data, Exception) else self._socket.exception()
        if message.type is aiohttp.WSMsgType.CLOSE:
            said = address.shown(str(message.extra or ""))
            return FeedError(
                "closed by the venue", f"{self._host} closed, code {message.data or 'none'}{said and ': '}{said}"
            )
        if isinstance(problem, aiohttp.ServerTimeoutError):
            return FeedError("connection lost", f"{self._host} did not answer our ping")
        if isinstance(problem, aiohttp.WebSocketError):
            if problem.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                return FeedError(
                    "connection lost", f"{self._host} sent a frame of more than {self._most:,} bytes: hung up on"
                )
            return FeedError("connection lost", f"{self._host} broke the protocol: {address.shown(str(problem))}")
        return FeedError("connection lost", f"{self._host} hung up without a word")


@asynccontextmanager
async def connecting(
    url: str,
    hosts: Collection[str],
    *,
    connect_seconds: float,
    ping_seconds: float,
    max_frame_bytes: int,
    allow_private: bool = False,
) -> AsyncIterator[WebSocket]:
    """The port `Connect`. `allow_private`: the operator gave the address, which then may be anywhere, unencrypted too."""
    target = _allowed(url, hosts, allow_private=allow_private)
    async with _session(connect_seconds, allow_private=allow_private) as session:
        socket = await _opened(session, target, connect_seconds, ping_seconds, max_frame_bytes)
        open_socket = WebSocket(socket, str(target.host), max_frame_bytes)
        pump = asyncio.create_task(open_socket.pumping(), name=f"websocket of {target.host}")
        try:
            yield open_socket
        finally:
            pump.cancel()
            await asyncio.wait([pump])
            await _closed(socket)
        if not pump.cancelled():
            pump.result()


def _allowed(url: str, hosts: Collection[str], *, allow_private: bool) -> URL:
    """The address, if it may be connected to. What is wrong with it is said without showing it."""
    try:
        target = URL(url, encoded=address.EXACT.fullmatch(url) is not None)
        host, port = target.host or "", target.port
    except ValueError:
        raise FeedError("connection refused", "the address of the stream is none: not connected") from None
    if target.scheme not in (("ws", "wss") if allow_private else ("wss",)):
        raise FeedError("connection refused", f"the address at {host} is not wss: not connected")
    if target.user is not None or target.password is not None:
        raise FeedError("connection refused", f"the address at {host} holds a user name or password: not connected")
    if not allow_private and (host not in hosts or port != PORT):
        raise FeedError(
            "connection refused", f"{host}:{port} is not a host of the stream ({', '.join(hosts)}): not connected"
        )
    return target.with_fragment(None)


def _session(connect_seconds: float, *, allow_private: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=1, socket_factory=None if allow_private else address.public_socket)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
        headers={"User-Agent": f"spotlightd/{version('spotlightd')}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_not_elsewhere,),
        trust_env=False,
    )


async def _not_elsewhere(request: aiohttp.ClientRequest, ask: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await ask(request)
    if response.status in MOVED:
        response.close()
        raise FeedError("connection refused", f"{request.url.host} answered with a redirect: not followed")
    return response


async def _opened(
    session: aiohttp.ClientSession, target: URL, connect_seconds: float, ping_seconds: float, max_frame_bytes: int
) -> aiohttp.ClientWebSocketResponse[Literal[False]]:
    """The connection after its handshake. aiohttp refuses a frame of exactly its limit, hence one more."""
    try:
        async with asyncio.timeout(connect_seconds):
            return await session.ws_connect(
                target,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                heartbeat=ping_seconds or None,
                autoclose=False,
                max_msg_size=max_frame_bytes + 1,
                decode_text=False,
            )
    except TimeoutError:
        said = FeedError("connection refused", f"no connection to {target.host} within {connect_seconds:g} s")
    except (aiohttp.ClientError, OSError) as problem:
        said = _unreached(problem, str(target.host))
    raise said


def _unreached(problem: Exception, host: str) -> FeedError:
    """Why there is no connection, in a sentence that holds nothing of the address but the host."""
    cause: Cause = "connection refused"
    match problem:
        case aiohttp.WSServerHandshakeError():
            return _turned_away(problem, host)
        case aiohttp.ClientConnectorCertificateError():
            return FeedError(cause, f"{host} has no valid certificate: {problem.certificate_error}")
        case aiohttp.ClientConnectorError(os_error=address.PrivateAddressError() as private):
            remedy = "only an address in [streams.addresses] may be on a private network"
            return FeedError(cause, f"{host} leads to a private address ({private.strerror}): not connected; {remedy}")
        case aiohttp.ClientConnectorError():
            return FeedError(cause, f"no connection to {host}: {problem.os_error.strerror or problem.os_error}")
        case _:
            return FeedError(cause, f"{host} hung up before it answered")


def _turned_away(problem: aiohttp.WSServerHandshakeError, host: str) -> FeedError:
    cause: Cause = "refused by the venue" if problem.status in REFUSALS else "connection refused"
    later = problem.headers.get("Retry-After", "") if problem.headers else ""
    asked = asked_pause(later, datetime.now(UTC))
    said = f"{host} answered {problem.status} in place of a websocket"
    return FeedError(cause, said, status=problem.status, retry_after_seconds=asked)


async def _closed(socket: aiohttp.ClientWebSocketResponse[Literal[False]]) -> None:
    """Say good-bye, in bounded time whatever the venue does and however often we are told to stop.

    A task of its own: in one that is being cancelled a time-out of Python 3.11.2 ends with the wrong error.
    """
    task = asyncio.create_task(socket.close(), name="close websocket")
    try:
        await asyncio.wait([task], timeout=CLOSE_SECONDS)
    finally:
        task.cancel()
        await asyncio.wait([task])
