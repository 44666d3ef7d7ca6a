"""Pass an answer from the engine to the client through its own pipe, so that answers never mix.

A short answer, or one requested with `wait_end_of_query`, is buffered until it is complete, so that a failure is a plain
error; on the disk when it is long. A longer answer is a download, and so is a slow one whose client asks for rows as they
come (`wait_end_of_query=0`). A late failure of a download is written into the stream, and the connection is closed early.
All long answers take one of the download slots, so that slow readers do not occupy what short queries need.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import HttpVersion11, hdrs, web

from spotlightd.engine import compression
from spotlightd.engine.answers.spool import Spool
from spotlightd.engine.errors import TIMED_OUT, StatementError, failure
from spotlightd.engine.limits import Work
from spotlightd.engine.requests.options import RequestOptions
from spotlightd.engine.service import Service
from spotlightd.engine.statements.statement import Statement

PIPE_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
SHORT_BYTES = 1 << 16
WHOLE_BYTES = 1 << 26
FIRST_SECONDS = 0.25
LAST_SECONDS = 2.0
Summary = dict[str, str]


async def answer(
    request: web.Request, service: Service, options: RequestOptions, statement: Statement
) -> web.StreamResponse:
    """Run a statement that reads, and send its answer."""
    form = statement.format or options.format
    head = make_headers(options.query_id) | {"X-ClickHouse-Format": form}
    async with service.admit(service.readers, options.query_id) as work, _pipe() as (pipe, inlet):
        outcome = service.start(work, _choose_call(service, options, statement, form, inlet))
        work.on_done(lambda: os.close(inlet))
        whole = options.whole or request.version < HttpVersion11
        chunks, is_complete = await _read_start(
            pipe, WHOLE_BYTES if whole else SHORT_BYTES, FIRST_SECONDS if options.eager else None
        )
        if not is_complete:
            send = _send_spooled if whole else _send_download
            return await send(request, service, options, work, _Download(pipe, chunks, outcome), head)
        head |= _summarize(await outcome)
    return await _send_whole(request, service, options, b"".join(chunks), head)


def _choose_call(
    service: Service, options: RequestOptions, statement: Statement, form: str, inlet: int
) -> Callable[[], Summary]:
    """The call that runs the statement and writes its answer into the pipe."""
    if form == "Native" and options.protocol_version:
        return lambda: service.handles.read_native(options, statement, inlet)
    sql = f"{statement.sql}\nINTO OUTFILE '/proc/self/fd/{inlet}' TRUNCATE FORMAT {form}\n{statement.after}"
    return lambda: service.handles.read(options, sql)


def make_headers(query_id: str) -> dict[str, str]:
    return {
        "X-ClickHouse-Query-Id": query_id,
        "X-ClickHouse-Server-Display-Name": "spotlightd",
        "X-ClickHouse-Timezone": "UTC",
    }


class _Download:
    """A long answer: the chunks read so far, the pipe with the rest, and the engine's outcome."""

    def __init__(self, pipe: asyncio.StreamReader, chunks: list[bytes], outcome: asyncio.Future[Summary]) -> None:
        self._pipe = pipe
        self._chunks = chunks
        self.outcome = outcome

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._chunks:
            yield piece
        self._chunks.clear()
        while piece := await self._pipe.read(PIECE_BYTES):
            yield piece


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """A pipe: a reader, and the file number of the end to write, which the caller closes when the engine has finished."""
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


async def _read_start(pipe: asyncio.StreamReader, most_bytes: int, seconds: float | None) -> tuple[list[bytes], bool]:
    """Read to the end, or until the answer turns out to be longer, or so many seconds after its first byte; returns the
    chunks, and whether they are all.
    """
    chunks: list[bytes] = []
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as patience:
            while size < most_bytes:
                piece = await pipe.read(PIECE_BYTES)
                if not piece:
                    return chunks, True
                if not chunks and seconds is not None:
                    patience.reschedule(asyncio.get_running_loop().time() + seconds)
                chunks.append(piece)
                size += len(piece)
    return chunks, False


def _summarize(summary: Summary) -> dict[str, str]:
    return {"X-ClickHouse-Summary": json.dumps(summary)}


def _choose_encoder(request: web.Request, options: RequestOptions) -> compression.Encoder | None:
    return compression.choose_encoder(request.headers.get(hdrs.ACCEPT_ENCODING, "")) if options.compressed else None


async def _send_whole(
    request: web.Request, service: Service, options: RequestOptions, body: bytes, head: dict[str, str]
) -> web.StreamResponse:
    """Send a complete answer. Its statement has ended, so that it takes up no place."""
    encoder = _choose_encoder(request, options)
    if encoder is not None:
        body = await service.compress(lambda: encoder.add(body) + encoder.end())
        head = head | {hdrs.CONTENT_ENCODING: encoder.name}
    if len(body) <= SHORT_BYTES:
        return web.Response(body=body, headers=head)
    response = web.StreamResponse(headers=head | {hdrs.CONTENT_LENGTH: str(len(body))})
    await response.prepare(request)
    try:
        for start in range(0, len(body), PIECE_BYTES):
            await _send(response.write(body[start : start + PIECE_BYTES]), service)
        await _send(response.write_eof(), service)
    except StatementError:
        _abort(request)
    return response


async def _send_spooled(
    request: web.Request, service: Service, options: RequestOptions, work: Work, flow: _Download, head: dict[str, str]
) -> web.StreamResponse:
    """Send a long answer when it is complete, using a download slot; 503 when none is free."""
    await work.move(service.downloads)
    with Spool(service.configuration.temporary) as spool:
        async for piece in flow.pieces():
            await spool.add(piece)
        head = head | _summarize(await flow.outcome)
        encoder = _choose_encoder(request, options) if request.version >= HttpVersion11 else None
        size = {hdrs.CONTENT_ENCODING: encoder.name} if encoder else {hdrs.CONTENT_LENGTH: str(spool.size)}
        response = web.StreamResponse(headers=head | size)
        await response.prepare(request)
        try:
            await _send_pieces(response, service, encoder, spool.pieces())
            await _send_end(response, service, encoder)
        except StatementError:
            _abort(request)
        return response


async def _send_download(
    request: web.Request, service: Service, options: RequestOptions, work: Work, flow: _Download, head: dict[str, str]
) -> web.StreamResponse:
    """Send a long answer as it arrives, using a download slot; 503 when none is free."""
    await work.move(service.downloads)
    encoder = _choose_encoder(request, options)
    tag = secrets.token_hex(8)
    coded = {hdrs.CONTENT_ENCODING: encoder.name} if encoder else {}
    response = web.StreamResponse(headers=head | coded | {"X-ClickHouse-Exception-Tag": tag})
    await response.prepare(request)
    try:
        await _send_pieces(response, service, encoder, flow.pieces())
        await flow.outcome
        await _send_end(response, service, encoder)
    except StatementError as problem:
        ending = format_late_error(tag, problem)
        await _break_off(request, response, encoder.add(ending) if encoder else ending)
    return response


async def _send_pieces(
    response: web.StreamResponse, service: Service, encoder: compression.Encoder | None, pieces: AsyncIterator[bytes]
) -> None:
    async for piece in pieces:
        await _send(response.write(await _encode(service, encoder, piece)), service)


async def _send_end(response: web.StreamResponse, service: Service, encoder: compression.Encoder | None) -> None:
    if encoder is not None:
        await _send(response.write(encoder.end()), service)
    await _send(response.write_eof(), service)


async def _encode(service: Service, encoder: compression.Encoder | None, piece: bytes) -> bytes:
    return piece if encoder is None else await service.compress(lambda: encoder.add(piece))


async def _send(writing: Awaitable[None], service: Service) -> None:
    """StatementError when the client reads nothing for `send_seconds`."""
    seconds = service.configuration.send_seconds
    try:
        async with asyncio.timeout(seconds):
            await writing
    except TimeoutError:
        raise failure(TIMED_OUT, f"The client read nothing for {seconds:g} s") from None


async def _break_off(request: web.Request, response: web.StreamResponse, last: bytes) -> None:
    """Send the error, then close the connection without the end mark of a complete answer."""
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await response.write(last)
    except (TimeoutError, ConnectionError):
        _abort(request)
        return
    if request.transport is not None:
        request.transport.close()  # still sends what is buffered, if the client reads it
        asyncio.get_running_loop().call_later(LAST_SECONDS, request.transport.abort)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def format_late_error(tag: str, problem: StatementError) -> bytes:
    """The block that ClickHouse writes at the end of a stream that failed."""
    text = problem.text.encode() + b"\n"
    mark = tag.encode()
    return b"\r\n__exception__\r\n" + mark + b"\r\n" + text + f"{len(text)} {tag}\r\n__exception__\r\n".encode()
