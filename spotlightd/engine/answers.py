"""An answer's way from the engine to the client: through a pipe of its own, so that it never mixes with another's.

A short answer, or one asked for with `wait_end_of_query`, is held until its end is known: a failure is then a plain
error. A longer one is a download: it takes one of the slots for downloads, so that slow readers use up nothing that
short queries need, and a late failure is told in the stream and by breaking off the connection.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from aiohttp import HttpVersion11, hdrs, web

from spotlightd.engine import compression
from spotlightd.engine.errors import TIMED_OUT, TOO_LARGE, Failed, failure
from spotlightd.engine.limits import Work
from spotlightd.engine.request import Question
from spotlightd.engine.service import Service
from spotlightd.engine.sql import Statement

PIPE_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
SHORT_BYTES = 1 << 16
WHOLE_BYTES = 1 << 28
LAST_SECONDS = 2.0
Summary = dict[str, str]


async def answer(request: web.Request, service: Service, asked: Question, statement: Statement) -> web.StreamResponse:
    """Run a reading statement and send its answer."""
    form = statement.format or asked.format
    head = headers(asked.query_id) | {"X-ClickHouse-Format": form}
    async with service.working(service.readers, asked.query_id) as work, _pipe() as (pipe, inlet):
        sql = f"{statement.sql}\nINTO OUTFILE '/proc/self/fd/{inlet}' TRUNCATE FORMAT {form}\n{statement.after}"
        done = service.start(work, lambda: service.handles.read(asked, sql))
        work.when_done(lambda: os.close(inlet))
        held, ended = await _held(pipe, whole=asked.whole or request.version < HttpVersion11)
        if not ended:
            return await _download(request, service, asked, work, _Flow(pipe, held, done), head)
        head |= {"X-ClickHouse-Summary": json.dumps(await done)}
    return await _whole(request, service, asked, b"".join(held), head)


def headers(query_id: str) -> dict[str, str]:
    return {
        "X-ClickHouse-Query-Id": query_id,
        "X-ClickHouse-Server-Display-Name": "spotlightd",
        "X-ClickHouse-Timezone": "UTC",
    }


class _Flow:
    """What is held of an answer, the pipe with the rest, and the engine's outcome."""

    def __init__(self, pipe: asyncio.StreamReader, held: list[bytes], done: asyncio.Future[Summary]) -> None:
        self._pipe = pipe
        self._held = held
        self.done = done

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._held:
            yield piece
        self._held.clear()
        while piece := await self._pipe.read(PIECE_BYTES):
            yield piece


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """A pipe: its end to read, and the number of its end to write, to be closed when the engine is done with it."""
    outlet, inlet = os.pipe()
    fcntl.fcntl(outlet, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    reader = asyncio.StreamReader(limit=PIPE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(outlet, "rb", 0)
    )
    try:
        yield reader, inlet
    finally:
        transport.close()  # frees an engine thread that is writing to it


async def _held(pipe: asyncio.StreamReader, *, whole: bool) -> tuple[list[bytes], bool]:
    """Read until the end is known, or until it is clear that the answer is long. Failed when a whole one is too long."""
    held: list[bytes] = []
    size = 0
    while whole or size < SHORT_BYTES:
        piece = await pipe.read(PIECE_BYTES)
        if not piece:
            return held, True
        held.append(piece)
        size += len(piece)
        if size > WHOLE_BYTES:
            raise failure(TOO_LARGE, f"The answer is longer than {WHOLE_BYTES} bytes: stream it instead")
    return held, False


def _encoder(request: web.Request, asked: Question) -> compression.Encoder | None:
    return compression.encoder(request.headers.get(hdrs.ACCEPT_ENCODING, "")) if asked.compressed else None


async def _whole(
    request: web.Request, service: Service, asked: Question, body: bytes, head: dict[str, str]
) -> web.StreamResponse:
    """Send an answer whose end is known. Its statement is done, so that it takes up no place."""
    encoder = _encoder(request, asked)
    if encoder is not None:
        body = await service.packed(lambda: encoder.add(body) + encoder.end())
        head = head | {hdrs.CONTENT_ENCODING: encoder.name}
    if len(body) <= SHORT_BYTES:
        return web.Response(body=body, headers=head)
    response = web.StreamResponse(headers=head | {hdrs.CONTENT_LENGTH: str(len(body))})
    await response.prepare(request)
    try:
        for at in range(0, len(body), PIECE_BYTES):
            await _send(response.write(body[at : at + PIECE_BYTES]), service)
        await _send(response.write_eof(), service)
    except Failed:
        _abort(request)
    return response


async def _download(
    request: web.Request, service: Service, asked: Question, work: Work, flow: _Flow, head: dict[str, str]
) -> web.StreamResponse:
    """Send a long answer as it comes, from a download slot; 503 when none is free."""
    await work.move(service.downloads)
    encoder = _encoder(request, asked)
    tag = secrets.token_hex(8)
    coded = {hdrs.CONTENT_ENCODING: encoder.name} if encoder else {}
    response = web.StreamResponse(headers=head | coded | {"X-ClickHouse-Exception-Tag": tag})
    await response.prepare(request)
    try:
        async for piece in flow.pieces():
            await _send(response.write(await _coded(service, encoder, piece)), service)
        await flow.done
        if encoder is not None:
            await _send(response.write(encoder.end()), service)
        await _send(response.write_eof(), service)
    except Failed as problem:
        late = late_words(tag, problem)
        await _break_off(request, response, encoder.add(late) if encoder else late)
    return response


async def _coded(service: Service, encoder: compression.Encoder | None, piece: bytes) -> bytes:
    return piece if encoder is None else await service.packed(lambda: encoder.add(piece))


async def _send(writing: Awaitable[None], service: Service) -> None:
    """Failed when the client takes nothing for so long."""
    seconds = service.configuration.send_seconds
    try:
        async with asyncio.timeout(seconds):
            await writing
    except TimeoutError:
        raise failure(TIMED_OUT, f"The client took nothing for {seconds:g} s") from None


async def _break_off(request: web.Request, response: web.StreamResponse, last: bytes) -> None:
    """Say why, and close without the end mark that a complete answer has."""
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await response.write(last)
    except (TimeoutError, ConnectionError):
        _abort(request)
        return
    if request.transport is not None:
        request.transport.close()  # sends what is still waiting, if the client takes it
        asyncio.get_running_loop().call_later(LAST_SECONDS, request.transport.abort)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def late_words(tag: str, problem: Failed) -> bytes:
    """ClickHouse's block at the end of a stream that failed."""
    text = problem.text.encode() + b"\n"
    mark = tag.encode()
    return b"\r\n__exception__\r\n" + mark + b"\r\n" + text + f"{len(text)} {tag}\r\n__exception__\r\n".encode()
