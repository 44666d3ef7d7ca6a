"""`/source/{sha256}`: a stored document, what became of it, one of its lines in its surroundings, and its bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from spotlightd.datasets import system
from spotlightd.errors import FormatError, StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.ports.parser import Excerpt
from spotlightd.query import records
from spotlightd.query.errors import HttpProblem, bad, missing
from spotlightd.web import formatting, responses
from spotlightd.web.pages import frame
from spotlightd.web.pages.export import STALL_SECONDS
from spotlightd.web.state import APP_STATE

AROUND = 5
_MOST_MEMBER, _MOST_LINE = 65_535, 4_294_967_295


async def show_document(request: web.Request) -> web.StreamResponse:
    """A document; or, of a digest that names what a stream sent in a day and no bytes, those frames."""
    digest = request.match_info["digest"]
    member, line = _place(request, "member", 0, _MOST_MEMBER), _place(request, "line", 0, _MOST_LINE)
    reader = responses.reader(request)
    asked = (records.documents, records.loads_from, records.superseders)
    documents, loads, ended = [one.dicts() for one in await reader.all(*(question(digest) for question in asked))]
    if not (documents or loads):
        raise _unknown(digest)
    if not documents and frame.of(request.app[APP_STATE].context, loads[0]["source"]):
        raise web.HTTPSeeOther(frame.of_slice(loads[0]["source"], loads[0]["covers"]))
    fetched, now = min((one["fetched_at"] for one in documents), default=None), reader.now()
    rejects, runs = [
        one.dicts()
        for one in await reader.all(records.rejects(digest, fetched, now), records.runs(digest, fetched, now))
    ]
    pointed = await shown(request, digest, member, line, AROUND) if line else None
    return responses.page(request, "source.html", {
        "digest": digest, "documents": documents, "loads": loads, "runs": runs, "pointed": pointed,
        "rejects": rejects[: records.MOST_LINES], "more_rejects": len(rejects) > records.MOST_LINES,
        "ended": {gone: load for load in reversed(ended) for gone in load["supersedes"]},
        "name": _file_name(documents, digest), "size": documents[0]["size"] if documents else None,
        "refused": _refused(loads, runs),
    })  # fmt: skip


def reads(dataset: Dataset) -> bool:
    """Whether rows of it that are archived stand on a document's page."""
    return dataset in (system.runs, system.rejects)


def _unknown(digest: str) -> HttpProblem:
    return missing(
        f"There is no document {digest[:12]}… here.", "Another instance may have it; /status lists what is kept here."
    )


def _refused(loads: list[dict[str, Any]], runs: list[dict[str, Any]]) -> str:
    """The sentence of the last refusal, if nothing of the document was ever published."""
    sentences = [run["error"] for run in runs if run["outcome"] == "refused"]
    return sentences[-1] if sentences and not loads else ""


def _place(request: web.Request, name: str, least: int, most: int) -> int:
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdigit()) or not least <= int(text[:12]) <= most:
        raise bad(name, f"{text!r} is not a number from {least} to {most}")
    return int(text[:12])


def _file_name(documents: list[dict[str, Any]], digest: str) -> str:
    """The name that the publisher gave the file."""
    address = documents[0]["url"].rsplit("/", 1)[-1].partition("?")[0] if documents else ""
    return formatting.file_name(address or f"{digest[:16]}.bin")


async def raw(request: web.Request) -> web.StreamResponse:
    """The document's bytes as they came. Never shown inside a page: an attachment of no type."""
    digest = request.match_info["digest"]
    documents = (await responses.reader(request).rows(records.documents(digest))).dicts()
    if not documents:
        raise _unknown(digest)
    mark = f'"{digest}"'
    if responses.unchanged(request, mark):
        return responses.not_modified(mark)
    answer = web.StreamResponse()
    answer.content_type = "application/octet-stream"
    answer.content_length = documents[0]["size"]
    answer.headers["Content-Disposition"] = f'attachment; filename="{_file_name(documents, digest)}"'
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    answer.headers["ETag"] = mark
    if request.method == "HEAD":
        return answer
    async with aclosing(request.app[APP_STATE].context.documents.read(digest)) as chunks:
        first = await anext(chunks, b"")
        await answer.prepare(request)
        return await _passed_on(request, answer, first, chunks)


async def _passed_on(
    request: web.Request, answer: web.StreamResponse, first: bytes, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await answer.write(first)
        async for chunk in chunks:
            async with asyncio.timeout(STALL_SECONDS):
                await answer.write(chunk)
    except (StoreError, TimeoutError) as problem:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the download was broken off on purpose") from problem
    await answer.write_eof()
    return answer


SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Shown:
    """The excerpt, or the sentence why it cannot be shown."""

    member: int
    line: int
    excerpt: Excerpt | None
    trouble: str = ""


async def shown(request: web.Request, digest: str, member: int, line: int, around: int) -> Shown:
    """`around` lines before and after it."""
    try:
        async with asyncio.timeout(SECONDS):
            return Shown(member, line, await request.app[APP_STATE].context.excerpt(digest, member, line, around))
    except (FormatError, StoreError) as problem:
        return Shown(member, line, None, f"The line cannot be shown: {problem}.")
    except TimeoutError:
        return Shown(member, line, None, f"The line cannot be shown: reading took longer than {SECONDS:.0f} s.")
