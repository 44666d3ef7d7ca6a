"""`verify`: runs a citation again on this instance and compares the result."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from spotlightd.commands.collect.backfill import run_backfill
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.receipts.library import make_library
from spotlightd.commands.session import open_session
from spotlightd.errors import SettingsError
from spotlightd.ports.ledger import Job
from spotlightd.query import citation, verify
from spotlightd.query.citation import Citation
from spotlightd.query.verify import Verdict
from spotlightd.settings.settings import Settings

NOT_FETCHED = (
    "data of a stream cannot be fetched: its frames are stored only where they were received, and no publisher has them;"
    " verify the citation at the instance that it was made at"
)


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """0: the result is the same. 1: documents are missing here, or the result differs; the documents are named."""
    cited = citation.from_json(await _read_file(arguments.file))
    verdict = await _verify(cited, settings)
    if verdict.outcome == "missing documents" and arguments.fetch:
        await _fetch_missing(verdict, settings, out)
        verdict = await _verify(cited, settings)
    print_verdict(out, verdict)
    return 0 if verdict.outcome == "same" else 1


async def _read_file(path: Path) -> bytes:
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


async def _verify(cited: Citation, settings: Settings) -> Verdict:
    async with open_session(settings) as session:
        return await verify.verify(make_library(session), cited)


async def _fetch_missing(verdict: Verdict, settings: Settings, out: Out) -> None:
    """Backfill every source that has a missing document."""
    fetched = [missing for missing in verdict.missing if not missing.local_parsers and missing.document.url]
    for name in sorted({missing.document.source for missing in fetched}):
        out.note(f"fetching missing documents of {name}")
        await run_backfill(Job("backfill", name), settings, out)
    if any(not missing.document.url for missing in verdict.missing):
        out.note(NOT_FETCHED)


def print_verdict(out: Out, verdict: Verdict) -> None:
    """The verdict for people, with a remedy for each kind of missing document; as JSON for programs."""
    missing: list[dict[str, Any]] = [
        {
            "sha256": missing.document.sha256,
            "url": missing.document.url,
            "parser": missing.document.parser,
            "source": missing.document.source,
            "here": missing.local_parsers,
        }
        for missing in verdict.missing
    ]
    differences = [
        {
            "sha256": difference.document.sha256,
            "url": difference.document.url,
            "cited": difference.document.rows,
            "found": difference.rows_found,
        }
        for difference in verdict.differences
    ]
    if out.as_json:
        out.value({"outcome": verdict.outcome, "rows_cited": verdict.rows_cited, "rows_found": verdict.rows_found,
                   "missing": missing, "differences": differences})  # fmt: skip
        return
    rows_found = "" if missing else f", {verdict.rows_found:,} found here"
    out.result(f"{verdict.outcome}: {verdict.rows_cited:,} rows cited{rows_found}")
    for document in sorted(missing, key=lambda document: bool(document["url"])):  # frames first
        out.result(f"  {_describe_missing(document)}")
    for row in differences:
        out.result(f"  differs: {row['url']} {row['sha256']}: {row['cited']:,} rows cited, {row['found']:,} here")
    for remedy in _remedies(missing):
        out.result(f"  {remedy}")


def _describe_missing(document: dict[str, Any]) -> str:
    parsers = ", ".join(document["here"])
    if document["url"]:
        reason = f"read by parser {parsers}, not by the cited" if parsers else "not here"
        return f"{reason}: {document['url']} {document['sha256']}, parser {document['parser']}"
    reason = f"decoded by {parsers}, not by the cited" if parsers else "not received here"
    return f"{reason}: frames of {document['source']}, {document['sha256']}, decode {document['parser']}"


def _remedies(missing: list[dict[str, Any]]) -> list[str]:
    remedies = []
    if any(not document["here"] and not document["url"] for document in missing):
        remedies.append(NOT_FETCHED)
    if any(not document["here"] and document["url"] for document in missing):
        remedies.append(
            "fetch missing documents with --fetch, if the publisher still serves the same bytes; or import a bundle of them"
        )
    if any(document["here"] for document in missing):
        remedies.append("rows of another parser version can only be compared where the cited version read the document")
    return remedies


COMMAND = Command(
    "verify",
    "run a citation again on this instance, and report whether the result is the same",
    "spotlightd verify gme.citation.json --fetch",
    (
        argument("file", type=Path, metavar="FILE", help="a citation, as `spotlightd cite` wrote it"),
        argument("--fetch", action="store_true", help="fetch documents that are missing here, then compare"),
    ),
    run,
)
