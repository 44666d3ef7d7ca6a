"""Rows as a file, streamed from the engine to the client. Nothing is buffered, and no file is ever silently short.

When the engine fails after the first byte was sent, the connection is reset without its end mark, so that every client
sees an error instead of a shorter file. Failures before the first byte get their status.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import NoReturn

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.ports.warehouse import Limits
from spotlightd.query import select
from spotlightd.query.outputs import OUTPUTS
from spotlightd.query.question import Question
from spotlightd.query.values import rfc3339
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import compression, formatting, responses
from spotlightd.web.compression import Encoder
from spotlightd.web.state import APP_STATE

STALL_SECONDS = 60.0
THREAD_BYTES = 32_768  # a larger piece is compressed in a thread: gzip takes 1 ms for 64 kB


@dataclass(frozen=True, slots=True)
class _Body:
    """Writes a response's body, compressed if the client asked for that."""

    response: web.StreamResponse
    encoder: Encoder | None

    async def write(self, chunk: bytes) -> None:
        if self.encoder is None:
            await self._send(chunk)
        elif len(chunk) < THREAD_BYTES:
            await self._send(self.encoder.add(chunk))
        else:
            await self._send(await asyncio.to_thread(self.encoder.add, chunk))

    async def end(self) -> None:
        if self.encoder is not None:
            await self._send(await asyncio.to_thread(self.encoder.end))

    async def _send(self, data: bytes) -> None:
        if data:
            async with asyncio.timeout(STALL_SECONDS):
                await self.response.write(data)


async def send_file(
    request: web.Request, question: Question, snapshot: Snapshot, suffix: str, etag: str
) -> web.StreamResponse:
    """All rows. StoreError(202) when all slots are taken, StoreError(slow) beyond the limits of downloads."""
    output = OUTPUTS[suffix]
    response = _make_response(request, question, suffix, etag)
    coding = compression.add_coding_headers(request, response) if output.is_text else ""
    if request.method == "HEAD":
        return response
    query = select.select_download(question, snapshot)
    sql = f"{query.sql} SETTINGS {output.settings}"
    context = request.app[APP_STATE].context
    before, after = _json_frame(question, snapshot) if suffix == "json" else (b"", b"")
    limits = download_limits(request)
    async with (
        responses.whole_turn(request) as turn,
        context.warehouse.stream(sql, output.format, query.params, limits=limits) as chunks,
    ):
        first = await anext(chunks, b"")
        await turn.aclose()  # what follows takes one of the places of downloads
        responses.note_archive_answer(request)
        await response.prepare(request)
        body = _Body(response, compression.make_encoder(coding) if coding else None)
        try:
            await body.write(before + first)
            async for chunk in chunks:
                await body.write(chunk)
            await body.write(after)
            await body.end()
        except (StoreError, TimeoutError) as error:
            reason = str(error) or f"the client read nothing for {STALL_SECONDS:.0f} s"
            logger().warning("request failed", path=request.path_qs, error=reason)
            break_off(request, error)
    await response.write_eof()
    return response


def break_off(request: web.Request, cause: Exception) -> NoReturn:
    """End the connection without its end mark, so that the client sees an error. Raises."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("the download was broken off on purpose") from cause


def download_limits(request: web.Request) -> Limits:
    settings = request.app[APP_STATE].context.settings
    return Limits(
        seconds=settings.download_seconds,
        result_rows=settings.download_rows,
        memory_bytes=settings.query_memory_bytes,
    )


def _make_response(request: web.Request, question: Question, suffix: str, etag: str) -> web.StreamResponse:
    values = [value for condition in question.conditions for value in condition.values][:4]
    name = formatting.make_file_name("-".join([question.dataset.name, *values]))
    response = web.StreamResponse()
    response.headers["Content-Type"] = OUTPUTS[suffix].media_type
    disposition = "inline" if suffix == "json" else "attachment"
    response.headers["Content-Disposition"] = f'{disposition}; filename="{name}.{suffix}"'
    responses.set_cache_headers(request, response, etag)
    return response


def _json_frame(question: Question, snapshot: Snapshot) -> tuple[bytes, bytes]:
    """The text before and after the array of rows in a JSON file."""
    head = json.dumps(describe_rows(question, snapshot), ensure_ascii=False, default=str)
    return head.removesuffix("}").encode() + b', "rows": ', b"}\n"


def describe_rows(question: Question, snapshot: Snapshot) -> dict[str, object]:
    """What a JSON document says about its rows."""
    dataset = question.dataset
    columns = [
        {"name": column.name, "type": column.type, "unit": column.unit, "meaning": column.meaning}
        for column in question.selected
    ]
    return {
        "dataset": dataset.name,
        "title": dataset.title,
        "publisher": dataset.publisher,
        "as_of": rfc3339(snapshot.at) if snapshot.at else None,
        "notes": list(dataset.notes),
        "columns": columns,
    }
