"""Rows as a file, streamed from the engine to the reader: nothing is held, and nothing is ever silently short.

When the engine fails after bytes have left, the connection is reset without its end mark, so that every client sees an
error instead of a shorter file. Failures before the first byte have their status.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.ports.warehouse import Limits
from spotlightd.query import select
from spotlightd.query.filters import Question
from spotlightd.query.values import rfc3339
from spotlightd.sql.visibility import Snapshot
from spotlightd.web import formatting, responses
from spotlightd.web.state import APP_STATE

STALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Output:
    """One way to write rows: the engine's word for it, the media type, and settings that make it exact and flat."""

    format: str
    media_type: str
    settings: str


_EXACT = "date_time_output_format = 'iso', output_format_decimal_trailing_zeros = 0"
_ARROW = (
    "output_format_arrow_string_as_string = 1, output_format_arrow_fixed_string_as_fixed_byte_array = 0, "
    "output_format_arrow_low_cardinality_as_dictionary = 0, output_format_arrow_date_as_uint16 = 0, "
    "output_format_arrow_compression_method = 'none'"
)
_PARQUET = (
    "output_format_parquet_row_group_size = 100000, max_threads = 1, output_format_parquet_string_as_string = 1, "
    "output_format_parquet_fixed_string_as_fixed_byte_array = 0, output_format_parquet_date_as_uint16 = 0"
)
_JSON = f"{_EXACT}, output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 0"
OUTPUTS = {
    "csv": Output("CSVWithNames", "text/csv; charset=utf-8", _EXACT),
    "json": Output("JSONEachRow", "application/json", f"{_JSON}, output_format_json_array_of_rows = 1"),
    "ndjson": Output("JSONEachRow", "application/x-ndjson", f"{_JSON}, output_format_json_array_of_rows = 0"),
    "arrow": Output("ArrowStream", "application/vnd.apache.arrow.stream", _ARROW),
    "parquet": Output("Parquet", "application/vnd.apache.parquet", _PARQUET),
}


async def send(request: web.Request, asked: Question, pin: Snapshot, suffix: str, mark: str) -> web.StreamResponse:
    """All rows asked for. StoreError(202) when all slots are taken, StoreError(slow) beyond the limits of downloads."""
    output = OUTPUTS[suffix]
    answer = _opened(request, asked, suffix, mark)
    if request.method == "HEAD":
        return answer
    query = select.every(asked, pin)
    sql = f"{query.sql} SETTINGS {output.settings}"
    context = request.app[APP_STATE].context
    before, after = _around(asked, pin) if suffix == "json" else (b"", b"")
    limits = _limits(request)
    async with context.warehouse.stream(sql, output.format, query.params, limits=limits) as chunks:
        first = await anext(chunks, b"")
        responses.archive_answered(request)
        await answer.prepare(request)
        try:
            await _written(answer, before + first)
            await _passed_on(answer, chunks, after)
        except (StoreError, TimeoutError) as problem:
            logger().warning("request failed", path=request.path_qs, error=str(problem) or "the reader took nothing")
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the download was broken off on purpose") from None
    await answer.write_eof()
    return answer


async def _passed_on(answer: web.StreamResponse, chunks: AsyncIterator[bytes], after: bytes) -> None:
    async for chunk in chunks:
        await _written(answer, chunk)
    if after:
        await _written(answer, after)


async def _written(answer: web.StreamResponse, chunk: bytes) -> None:
    if chunk:
        async with asyncio.timeout(STALL_SECONDS):
            await answer.write(chunk)


def _limits(request: web.Request) -> Limits:
    asked = request.app[APP_STATE].context.settings
    return Limits(
        seconds=asked.download_seconds, result_rows=asked.download_rows, memory_bytes=asked.query_memory_bytes
    )


def _opened(request: web.Request, asked: Question, suffix: str, mark: str) -> web.StreamResponse:
    values = [value for one in asked.conditions for value in one.values][:4]
    name = formatting.file_name("-".join([asked.dataset.name, *values]))
    answer = web.StreamResponse()
    answer.headers["Content-Type"] = OUTPUTS[suffix].media_type
    kind = "inline" if suffix == "json" else "attachment"
    answer.headers["Content-Disposition"] = f'{kind}; filename="{name}.{suffix}"'
    responses.finish(request, answer, mark)
    return answer


def _around(asked: Question, pin: Snapshot) -> tuple[bytes, bytes]:
    """What stands around the array of rows in a JSON answer."""
    head = json.dumps(described(asked, pin), ensure_ascii=False, default=str)
    return head.removesuffix("}").encode() + b', "rows": ', b"}\n"


def described(asked: Question, pin: Snapshot) -> dict[str, object]:
    """What a JSON answer says about its rows."""
    dataset = asked.dataset
    columns = [{"name": c.name, "type": c.type, "unit": c.unit, "meaning": c.meaning} for c in asked.shown]
    return {
        "dataset": dataset.name,
        "title": dataset.title,
        "publisher": dataset.publisher,
        "as_of": rfc3339(pin.at) if pin.at else None,
        "notes": list(dataset.notes),
        "columns": columns,
    }
