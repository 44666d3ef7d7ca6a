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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from spotlightd.engine import coding
from spotlightd.engine.failure import TIMED_OUT, TOO_LARGE, Failed, failure
from spotlightd.engine.request import Asked
from spotlightd.engine.rooms import Work
from spotlightd.engine.service import Service
from spotlightd.engine.sql import Statement

PIPE_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
SHORT_BYTES = 1 << 16
WHOLE_BYTES = 1 << 28
Summary = dict[str, str]


async def answer(request: web.Request, service: Service, asked: Asked, statement: Statement) -> web.StreamResponse:
    """Run a reading statement and send its answer."""
    form = statement.format or asked.format
    async with service.working(service.readers, asked.query_id) as work, _pipe() as (pipe, inlet, close):
        sql = f"{statement.sql}\nINTO OUTFILE '/proc/self/fd/{inlet}' TRUNCATE FORMAT {form}\n{statement.after}"
        done: asyncio.Future[Summary] = service.start(work, lambda: service.handles.read(asked, sql))
        done.add_done_callback(lambda _: close())
        head = headers(asked.query_id) | {"X-ClickHouse-Format": form}
        held, ended = await _held(pipe, whole=asked.whole or request.version < (1, 1))
        if ended:
            summary = await done
            body, coded = await _packed(request, service, asked, b"".join(held))
            return web.Response(body=body, headers=head | coded | {"X-ClickHouse-Summary": json.dumps(summary)})
        return await _download(request, service, asked, work, _Flow(pipe, held, done), head)


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
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int, Callable[[], None]]]:
    """A pipe: its end to read, the number of its end to write, and what closes that one (once the engine is done)."""
    outlet, inlet = os.pipe()
    fcntl.fcntl(outlet, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    reader = asyncio.StreamReader(limit=PIPE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(outlet, "rb", 0)
    )
    try:
        yield reader, inlet, lambda: os.close(inlet)
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


async def _packed(request: web.Request, service: Service, asked: Asked, body: bytes) -> tuple[bytes, dict[str, str]]:
    encoder = coding.encoder(request.headers.get("Accept-Encoding", "")) if asked.compressed and body else None
    if encoder is None:
        return body, {}
    packed = await _in_thread(service, lambda: encoder.add(body) + encoder.end())
    return packed, {"Content-Encoding": encoder.name}


async def _in_thread(service: Service, call: Callable[[], bytes]) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(service.packing, call)


async def _download(
    request: web.Request, service: Service, asked: Asked, work: Work[Summary], flow: _Flow, head: dict[str, str]
) -> web.StreamResponse:
    """Send a long answer as it comes, from a download slot; 503 when none is free."""
    await work.move(service.downloads)
    encoder = coding.encoder(request.headers.get("Accept-Encoding", "")) if asked.compressed else None
    tag = secrets.token_hex(8)
    coded = {"Content-Encoding": encoder.name} if encoder else {}
    response = web.StreamResponse(headers=head | coded | {"X-ClickHouse-Exception-Tag": tag})
    await response.prepare(request)
    seconds = service.configuration.send_seconds
    try:
        async for piece in flow.pieces():
            await _send(
                response, await _in_thread(service, lambda p=piece: encoder.add(p)) if encoder else piece, seconds
            )
        await flow.done
    except Failed as problem:
        late = late_words(tag, problem)
        await _break_off(request, response, encoder.add(late) if encoder else late, seconds)
        return response
    if encoder:
        await _send(response, encoder.end(), seconds)
    await response.write_eof()
    return response


async def _send(response: web.StreamResponse, data: bytes, seconds: float) -> None:
    """Failed when the client takes nothing for so long."""
    try:
        async with asyncio.timeout(seconds):
            await response.write(data)
    except TimeoutError:
        raise failure(TIMED_OUT, f"The client took nothing for {seconds:g} s") from None


async def _break_off(request: web.Request, response: web.StreamResponse, last: bytes, seconds: float) -> None:
    """Say why, and close without the end mark that a complete answer has."""
    transport = request.transport
    if transport is None:
        return
    try:
        async with asyncio.timeout(min(seconds, 1.0)):
            await response.write(last)
    except (TimeoutError, ConnectionError):
        transport.abort()
        return
    transport.close()
    asyncio.get_running_loop().call_later(seconds, transport.abort)


def late_words(tag: str, problem: Failed) -> bytes:
    """ClickHouse's block at the end of a stream that failed."""
    text = problem.text.encode() + b"\n"
    mark = tag.encode()
    return b"\r\n__exception__\r\n" + mark + b"\r\n" + text + f"{len(text)} {tag}\r\n__exception__\r\n".encode()
