"""One connection to a venue, over a websocket: only to an allowed host, bounded, its frames unchanged byte for byte.

- The address contains the key, and aiohttp's errors contain the address: none of them is shown, logged or chained.
- aiohttp follows redirects before the upgrade; here every redirect is refused before another request is sent.
- aiohttp's own time-out of a receive starts again at every ping and pong, so that a venue that answers pings and sends
  nothing would never be noticed. So the time is measured here.
- A time-out for each frame costs more than the rest of aiohttp (0.1 M frames a second of 100 bytes on loopback, 0.6 M
  without). So a task reads ahead, and only a receive that finds no frame waits with a time-out. A loop that receives
  frames waits after MAX_WAITING_FRAMES of them at the latest, so that other tasks of the event loop can run.
- Text is passed on as bytes: a frame that is not UTF-8 arrives like any other, and the decoder rejects it.
- Compression is not offered, so that a small frame cannot become a large one.
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
from spotlightd.clients.http.rate_limit import parse_retry_after
from spotlightd.model.offsets import Cause
from spotlightd.model.stream import FeedError

MAX_WAITING_FRAMES = 256
MAX_WAITING_BYTES = 4 << 20
SEND_SECONDS = 10.0
CLOSE_SECONDS = 1.0
PORT = 443
REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
REDIRECTS = range(300, 400)


class WebSocket:
    """The port `Socket` over an open connection of aiohttp. A task reads it (`pump`)."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse[Literal[False]], host: str, max_frame_bytes: int
    ) -> None:
        self._socket = socket
        self._host = host
        self._most = max_frame_bytes
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._has_frames = asyncio.Event()
        self._has_room = asyncio.Event()
        self._error: FeedError | None = None

    async def receive(self, seconds: float) -> bytes | None:
        if not self._frames and self._error is None:
            self._has_frames.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._has_frames.wait()
            except TimeoutError:
                return None
        if self._frames:
            self._has_room.set()
            frame = self._frames.popleft()
            self._size -= len(frame)
            return frame
        raise self._error or FeedError("connection lost", f"nothing reads from {self._host} any more")

    async def pump(self) -> None:
        """Read until the connection ends. At most MAX_WAITING_FRAMES frames wait, or MAX_WAITING_BYTES and one frame;
        then reading stops until there is room.
        """
        try:
            while self._error is None:
                message = await self._socket.receive()
                if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                    self._error = self._explain_end(message)
                    return
                self._frames.append(message.data)
                self._size += len(message.data)
                self._has_frames.set()
                while len(self._frames) >= MAX_WAITING_FRAMES or self._size >= MAX_WAITING_BYTES:
                    self._has_room.clear()
                    await self._has_room.wait()
        finally:
            self._error = self._error or FeedError("connection lost", f"nothing reads from {self._host} any more")
            self._has_frames.set()

    async def send(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_str(text)
        except TimeoutError:
            raise FeedError("connection lost", f"{self._host} took nothing for {SEND_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError):
            raise FeedError(
                "connection lost", f"{self._host} closed the connection while it was being written to"
            ) from None

    def _explain_end(self, message: Any) -> FeedError:
        """The reason why there will be no more frames."""
        problem = message.data if isinstance(message.data, Exception) else self._socket.exception()
        if message.type is aiohttp.WSMsgType.CLOSE:
            reason = address.format_address(str(message.extra or ""))
            return FeedError(
                "closed by the venue", f"{self._host} closed, code {message.data or 'none'}{reason and ': '}{reason}"
            )
        if isinstance(problem, aiohttp.ServerTimeoutError):
            return FeedError("connection lost", f"{self._host} did not answer our ping")
        if isinstance(problem, aiohttp.WebSocketError):
            if problem.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                return FeedError(
                    "connection lost",
                    f"{self._host} sent a frame of more than {self._most:,} bytes, so the connection was closed",
                )
            return FeedError(
                "connection lost", f"{self._host} broke the protocol: {address.format_address(str(problem))}"
            )
        return FeedError("connection lost", f"{self._host} closed the connection without a close frame")


@asynccontextmanager
async def open_websocket(
    url: str,
    hosts: Collection[str],
    *,
    connect_seconds: float,
    ping_seconds: float,
    max_frame_bytes: int,
    allow_private: bool = False,
) -> AsyncIterator[WebSocket]:
    """The port `Connect`. `allow_private`: the operator configured the address, so any host and no encryption is allowed."""
    target = _check_address(url, hosts, allow_private=allow_private)
    async with _session(connect_seconds, allow_private=allow_private) as session:
        socket = await _connect(session, target, connect_seconds, ping_seconds, max_frame_bytes)
        open_socket = WebSocket(socket, str(target.host), max_frame_bytes)
        pump = asyncio.create_task(open_socket.pump(), name=f"websocket of {target.host}")
        try:
            yield open_socket
        finally:
            pump.cancel()
            await asyncio.wait([pump])
            await _close(socket)
        if not pump.cancelled():
            pump.result()


def _check_address(url: str, hosts: Collection[str], *, allow_private: bool) -> URL:
    """The parsed address. FeedError, without the address in it, if a connection to it is not allowed."""
    try:
        target = URL(url, encoded=address.EXACT.fullmatch(url) is not None)
        host, port = target.host or "", target.port
    except ValueError:
        raise FeedError("connection refused", "the address of the stream is not valid: not connected") from None
    if target.scheme not in (("ws", "wss") if allow_private else ("wss",)):
        raise FeedError("connection refused", f"the address at {host} is not wss: not connected")
    if target.user is not None or target.password is not None:
        raise FeedError("connection refused", f"the address at {host} contains a user name or password: not connected")
    if not allow_private and (host not in hosts or port != PORT):
        raise FeedError(
            "connection refused", f"{host}:{port} is not a host of the stream ({', '.join(hosts)}): not connected"
        )
    return target.with_fragment(None)


def _session(connect_seconds: float, *, allow_private: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=1, socket_factory=None if allow_private else address.open_public_socket)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
        headers={"User-Agent": f"spotlightd/{version('spotlightd')}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_refuse_redirect,),
        trust_env=False,
    )


async def _refuse_redirect(
    request: aiohttp.ClientRequest, send_request: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    response = await send_request(request)
    if response.status in REDIRECTS:
        response.close()
        raise FeedError("connection refused", f"{request.url.host} answered with a redirect: not followed")
    return response


async def _connect(
    session: aiohttp.ClientSession, target: URL, connect_seconds: float, ping_seconds: float, max_frame_bytes: int
) -> aiohttp.ClientWebSocketResponse[Literal[False]]:
    """The connection after its handshake. aiohttp refuses a frame of exactly its limit, hence the one byte more."""
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
        error = FeedError("connection refused", f"no connection to {target.host} within {connect_seconds:g} s")
    except (aiohttp.ClientError, OSError) as problem:
        error = _explain_failure(problem, str(target.host))
    raise error  # outside of the except block, so that aiohttp's error with the address in it is not chained


def _explain_failure(problem: Exception, host: str) -> FeedError:
    """Why there is no connection. The message has the host, and nothing else of the address."""
    cause: Cause = "connection refused"
    match problem:
        case aiohttp.WSServerHandshakeError():
            return _explain_refusal(problem, host)
        case aiohttp.ClientConnectorCertificateError():
            return FeedError(cause, f"{host} has no valid certificate: {problem.certificate_error}")
        case aiohttp.ClientConnectorError(os_error=address.PrivateAddressError() as private):
            remedy = "only an address in [streams.addresses] may be on a private network"
            return FeedError(
                cause, f"{host} resolves to a private address ({private.strerror}): not connected; {remedy}"
            )
        case aiohttp.ClientConnectorError():
            return FeedError(cause, f"no connection to {host}: {problem.os_error.strerror or problem.os_error}")
        case _:
            return FeedError(cause, f"{host} closed the connection before it answered")


def _explain_refusal(problem: aiohttp.WSServerHandshakeError, host: str) -> FeedError:
    cause: Cause = "refused by the venue" if problem.status in REFUSALS else "connection refused"
    header = problem.headers.get("Retry-After", "") if problem.headers else ""
    retry_after = parse_retry_after(header, datetime.now(UTC))
    reason = f"{host} answered {problem.status} in place of a websocket"
    return FeedError(cause, reason, status=problem.status, retry_after_seconds=retry_after)


async def _close(socket: aiohttp.ClientWebSocketResponse[Literal[False]]) -> None:
    """Close the websocket, in bounded time whatever the venue does and however often this task is cancelled.

    It is closed in another task: in a task that is being cancelled, a time-out of Python 3.11.2 raises the wrong error.
    """
    task = asyncio.create_task(socket.close(), name="close websocket")
    try:
        await asyncio.wait([task], timeout=CLOSE_SECONDS)
    finally:
        task.cancel()
        await asyncio.wait([task])
