"""`/source/{sha256}`: a stored document, the rows that came from it, one of its lines in context, and its bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from spotlightd.datasets import system
from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.query import records
from spotlightd.query.errors import HttpProblem, not_found
from spotlightd.web import degraded, formatting, responses
from spotlightd.web.parts import frames
from spotlightd.web.parts.byte_range import ByteRange, read_range
from spotlightd.web.parts.export import STALL_SECONDS, break_off
from spotlightd.web.parts.lines import read_line, read_place
from spotlightd.web.routes import DIGEST, Route
from spotlightd.web.state import APP_STATE

LINES_AROUND = 5


async def show_document(request: web.Request) -> web.StreamResponse:
    """A document. For a digest that stands for a stream's received day, a redirect to the frames of that day."""
    digest = request.match_info["digest"]
    member, line = read_place(request)
    reader = responses.get_reader(request)
    answers = await reader.together(records.documents(digest), records.loads_from(digest), records.superseders(digest))
    documents, loads, superseders = [answer.dicts() for answer in answers]
    if not (documents or loads):
        raise _unknown_document(digest)
    if not documents and frames.frames_dataset(request.app[APP_STATE].context, loads[0]["source"]):
        raise web.HTTPSeeOther(frames.slice_address(loads[0]["source"], loads[0]["covers"]))
    fetched_at = min((document["fetched_at"] for document in documents), default=None)
    snapshot = reader.current()
    answers = await reader.together(
        records.rejects(digest, fetched_at, snapshot),
        records.runs(digest, fetched_at, snapshot),
        *([records.neighbours(loads[-1])] if loads else []),
    )
    rejects, runs, *neighbours = [answer.dicts() for answer in answers]
    excerpt = await read_line(request, digest, member, line, LINES_AROUND) if line else None
    return responses.render_page(request, "source.html", {
        "digest": digest, "documents": documents, "loads": loads, "runs": runs, "line": excerpt,
        "rejects": rejects[: records.MOST_LINES], "has_more_rejects": len(rejects) > records.MOST_LINES,
        "superseded_by": {load_id: load for load in reversed(superseders) for load_id in load["supersedes"]},
        "name": _file_name(documents, digest), "size": documents[0]["size"] if documents else None,
        "refusal": _find_refusal(loads, runs), "neighbours": neighbours[0][0] if neighbours else None,
    })  # fmt: skip


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page of a document reads archived rows of the dataset."""
    return dataset in (system.runs, system.rejects)


def _unknown_document(digest: str) -> HttpProblem:
    return not_found(
        f"There is no document {digest[:12]}… here.",
        "Another instance may have it; /status lists what this one collects.",
    )


def _find_refusal(loads: list[dict[str, Any]], runs: list[dict[str, Any]]) -> str:
    """Why the document was refused last, if none of its rows was ever published."""
    refusals = [run["error"] for run in runs if run["outcome"] == "refused"]
    return refusals[-1] if refusals and not loads else ""


def _file_name(documents: list[dict[str, Any]], digest: str) -> str:
    """The publisher's name of the file."""
    name = documents[0]["url"].rsplit("/", 1)[-1].partition("?")[0] if documents else ""
    return formatting.make_file_name(name or f"{digest[:16]}.bin")


async def send_raw(request: web.Request) -> web.StreamResponse:
    """The document's unchanged bytes, or a part of them. As an attachment without a type, so that no browser renders it."""
    digest = request.match_info["digest"]
    documents = (await responses.get_reader(request).rows(records.documents(digest))).dicts()
    if not documents:
        raise _unknown_document(digest)
    etag, size = f'"{digest}"', documents[0]["size"]
    if responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    part = read_range(request, size, etag)
    response = _make_raw_response(part, size, etag)
    response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(documents, digest)}"'
    if request.method == "HEAD" or (part and not part.length):
        return response
    chosen = {"first": part.first, "length": part.length} if part else {}
    async with aclosing(request.app[APP_STATE].context.documents.read(digest, **chosen)) as chunks:
        first = await anext(chunks, b"")
        await response.prepare(request)
        await _write_all(request, response, first, chunks)
    return response


def _make_raw_response(part: ByteRange | None, size: int, etag: str) -> web.StreamResponse:
    """The headers of the whole file, of a part of it, or of the refusal of a part that it does not have."""
    if part and not part.length:
        sentence = f"The document has {size:,} bytes, and none of the requested ones: ask without Range.\n"
        return web.Response(status=416, text=sentence, headers={"Content-Range": f"bytes */{size}"})
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Type": "application/octet-stream",
        "ETag": etag,
    }
    if part is None:
        response = web.StreamResponse(headers=headers)
        response.content_length = size
        return response
    last = part.first + part.length - 1
    response = web.StreamResponse(status=206, headers={**headers, "Content-Range": f"bytes {part.first}-{last}/{size}"})
    response.content_length = part.length
    return response


async def _write_all(
    request: web.Request, response: web.StreamResponse, first: bytes, chunks: AsyncIterator[bytes]
) -> None:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await response.write(first)
        async for chunk in chunks:
            async with asyncio.timeout(STALL_SECONDS):
                await response.write(chunk)
    except (StoreError, TimeoutError) as error:
        break_off(request, error)
    await response.write_eof()


async def send_cell(request: web.Request) -> web.StreamResponse:
    """The page of a PDF as a picture, with a cell marked. The bytes of a digest never change, so a browser may keep it."""
    digest = request.match_info["digest"]
    line = await read_line(request, digest, *read_place(request), 0, with_picture=True)
    if line.excerpt is None or not line.excerpt.picture:
        raise not_found(line.error or f"The document {digest[:12]}… has no pages to draw.", "Download it and look.")
    headers = {"Cache-Control": "private, max-age=86400"}
    return web.Response(body=line.excerpt.picture, content_type="image/png", headers=headers)


ROUTES = (
    Route(f"/source/{DIGEST}", degraded.with_fallback(show_document, reads_archived)),
    Route(f"/source/{DIGEST}/raw", send_raw),
    Route(f"/source/{DIGEST}/cell.png", send_cell),
)
