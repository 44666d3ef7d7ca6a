"""A scripted publisher on loopback that can misbehave in every known way. Its documents are constructed.

Each path has a list of answers, sent one after the other; the last one repeats. An answer is an async function of the
request and the writer; it returns whether the connection stays open. `requests` lists every request with its time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: dict[str, str]
    at: float
    method: str = "GET"
    content: bytes = b""


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[bool]]


class ScriptedPublisher:
    """An HTTP/1.1 server that answers by script, and 404 to other paths. `now` gives the times in `requests`."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.requests: list[Request] = []
        self._now = now
        self._answers: dict[str, list[Answer]] = {}
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve_connection, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def script(self, path: str, *answers: Answer) -> None:
        self._answers[path] = list(answers)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(await self._read_request(reader), writer):
                pass
        writer.transport.abort() if writer.is_closing() else writer.close()
        self._connections.discard(connection)

    async def _read_request(self, reader: asyncio.StreamReader) -> Request:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split(" ")
        return Request(path, headers, self._now(), method, content)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        self.requests.append(request)
        answers = self._answers.get(request.path, [reply(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return await answer(request, writer)


def head(status: int, headers: dict[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


def reply(status: int = 200, content: bytes = b"", **headers: str) -> Answer:
    """A whole answer. Header names are written with _ for -."""
    header_lines = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(request: Request, writer: asyncio.StreamWriter) -> bool:
        length = {} if status == HTTPStatus.NOT_MODIFIED else {"Content-Length": str(len(content))}
        writer.write(head(status, length | header_lines) + (b"" if request.method == "HEAD" else content))
        await writer.drain()
        return True

    return answer


def document(content: bytes, *, etag: str = "", last_modified: str = "", media_type: str = "application/zip") -> Answer:
    """A whole answer, or 304 to who has it already."""
    header_lines = {"Content_Type": media_type} | ({"ETag": etag} if etag else {})
    header_lines |= {"Last_Modified": last_modified} if last_modified else {}

    async def answer(request: Request, writer: asyncio.StreamWriter) -> bool:
        is_known = (etag and request.headers.get("if-none-match") == etag) or (
            last_modified and request.headers.get("if-modified-since") == last_modified
        )
        return await (reply(304) if is_known else reply(200, content, **header_lines))(request, writer)

    return answer


def redirect(to: str, status: int = 302) -> Answer:
    return reply(status, b"moved", Location=to)


def cut_short(content: bytes, *, of: int) -> Answer:
    """Promises `of` bytes, sends fewer, and closes properly."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(head(200, {"Content-Length": str(of)}) + content)
        await writer.drain()
        return False

    return answer


def cut_short_chunked(content: bytes) -> Answer:
    """A chunked body whose last chunk never comes."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(head(200, {"Transfer-Encoding": "chunked"}) + b"%x\r\n%s\r\n" % (len(content), content))
        await writer.drain()
        return False

    return answer


def reset(content: bytes, *, of: int) -> Answer:
    """Sends a part and then resets the connection (RST, not FIN), once the part has arrived."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(head(200, {"Content-Length": str(of)}) + content)
        await writer.drain()
        _reset(writer)
        return False

    return answer


def hang_up() -> Answer:
    """Takes the request and resets the connection without a word."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        _reset(writer)
        return False

    return answer


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def silence(content: bytes = b"", *, of: int = 0) -> Answer:
    """Sends nothing, or the head and a part, and then nothing more."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        if of:
            writer.write(head(200, {"Content-Length": str(of)}) + content)
            await writer.drain()
        await asyncio.Event().wait()
        return False

    return answer


def trickle(content: bytes, *, every: float) -> Answer:
    """One byte at a time: a slow loris turned round."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(head(200, {"Content-Length": str(len(content))}))
        for index in range(len(content)):
            writer.write(content[index : index + 1])
            await writer.drain()
            await asyncio.sleep(every)
        return True

    return answer


def endless(begins_with: bytes = b"") -> Answer:
    """A body without a length and without an end."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(head(200, {"Connection": "close"}) + begins_with)
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    return answer


def garbage(content: bytes) -> Answer:
    """Bytes that are not HTTP."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(content)
        await writer.drain()
        return False

    return answer
