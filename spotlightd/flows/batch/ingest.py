"""discover → subtract the ledger → fetch → store → parse → load → publish: first run, daily run, backfill and retry.

What is due is read from the ledger, never from trigger history, so a machine that slept catches up and a run that was
killed is simply done again. The order of the steps is the promise: bytes are durable before they are parsed, rows are
durable before they are published, and the ledger says so before each and after each.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from spotlightd.errors import FormatError, PublisherError, StoreError
from spotlightd.flows.loads.load import IngestContext, IngestResult, RefusedError, load_document
from spotlightd.log import logger, within
from spotlightd.model.provenance import Document, Outcome, Run
from spotlightd.model.source import Batch, Link
from spotlightd.ports.ledger import KnownAddress
from spotlightd.ports.publisher import Publisher, PublisherResponse

DAY = timedelta(days=1)
AGAIN_AFTER = timedelta(minutes=10)
PATIENCE = 8  # a document is asked for again after an eighth of the time that we have known it, at least daily


@dataclass(frozen=True, slots=True)
class IngestRange:
    """Days that are asked for, both included. `again` asks also for what was looked at lately, or failed: people do."""

    first: date = date.min
    last: date = date.max
    again: bool = False


Progress = Callable[[str, int, int], Awaitable[None]]


async def silent(_says: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


async def ingest(
    source: Batch,
    publisher: Publisher,
    stores: IngestContext,
    *,
    span: IngestRange = IngestRange(),
    progress: Progress = silent,
) -> list[IngestResult]:
    """One look at one source: every document that is due, newest first. One failure does not stop the others.

    What is said of the look, and of each document, bears a mark of its own: one `run` in the log. StoreError ends the
    look: our own stores are at fault, and nothing else would go better.
    """
    await progress("looking what there is", 0, 0)
    look = secrets.token_hex(4)
    with within(run=look):
        links = await _discovered(source, publisher, stores)
    known = await stores.ledger.known_addresses(source.name)
    now = datetime.now(UTC)
    due = [link for link in links if _wanted(link, span) and is_due(source, known.get(link.url), now, span)]
    due.sort(key=lambda link: (link.last, link.url), reverse=True)
    results = []
    for done, link in enumerate(due):
        await progress(link.covers, done, len(due))
        with within(run=secrets.token_hex(4)):
            result = await _one(source, publisher, stores, link, known.get(link.url))
        if stores.metrics:
            stores.metrics.count("documents_total", source=source.name, outcome=result.outcome)
            stores.metrics.count("rows_published_total", result.rows, source=source.name)
        results.append(result)
    await progress("", len(due), len(due))
    logger(source=source.name, run=look).info("source looked at", links=len(links), due=len(due))
    return results


def is_due(source: Batch, known: KnownAddress | None, now: datetime, span: IngestRange = IngestRange()) -> bool:
    """Whether a document is to be asked for, or loaded again from our copy because its parser changed.

    One that was never asked for is due. One that failed waits for its pause. One that is known is asked for again
    after a day, and ever more rarely as it grows older: publishers replace files in silence.
    """
    if span.again or known is None or known.checked_at is None or known.first_seen is None:
        return True
    if known.digest and known.parser != source.parser:
        return True
    if known.not_before is not None:
        return now >= known.not_before
    return now - known.checked_at >= max(DAY, (now - known.first_seen) / PATIENCE)


def _wanted(link: Link, span: IngestRange) -> bool:
    return link.last >= span.first and link.first <= span.last


async def _discovered(source: Batch, publisher: Publisher, stores: IngestContext) -> list[Link]:
    began = time.monotonic()
    try:
        links = [link async for link in source.discover(publisher)]
    except (PublisherError, FormatError) as problem:
        outcome: Outcome = problem.outcome if isinstance(problem, PublisherError) else "refused"
        await stores.ledger.record(_run(source, source.home, "", outcome, began, error=str(problem)))
        logger(source=source.name).warning("source failed", error=str(problem))
        raise
    return list({link.url: link for link in links}.values())


async def _one(
    source: Batch, publisher: Publisher, stores: IngestContext, link: Link, known: KnownAddress | None
) -> IngestResult:
    began, before = time.monotonic(), known or KnownAddress(link.url, link.covers, first_seen=datetime.now(UTC))
    log = logger(source=source.name, covers=link.covers, url=link.url)
    settled = True
    try:
        document = await _document(source, publisher, stores, link, before)
        if _is_settled(source, before, document):
            result = IngestResult(link, "unchanged")
        else:
            await stores.ledger.save_address(source.name, _waiting(before, document))
            result = await load_document(source, stores, link, document)
        log.info("document unchanged" if result.outcome == "unchanged" else "document stored", rows=result.rows)
    except PublisherError as problem:
        log.warning("document absent" if problem.outcome == "absent" else "document failed", error=str(problem))
        await stores.ledger.save_address(source.name, _failed(before, problem))
        await stores.ledger.record(_run(source, link.url, link.covers, problem.outcome, began, error=str(problem)))
        return IngestResult(link, problem.outcome, error=str(problem))
    except RefusedError as refused:
        log.warning("document refused", error=str(refused))
        document, settled = refused.document, refused.settled
        result = IngestResult(link, "refused", rejects=len(refused.rejects), error=str(refused))
    except StoreError as problem:
        log.error("store failed", error=str(problem))  # noqa: TRY400  (the sentence is what the operator needs)
        raise
    answered = _answered(source, before, document, result.outcome)
    await stores.ledger.save_address(source.name, answered if settled else replace(answered, outcome="twin"))
    await stores.ledger.record(
        _run(source, link.url, link.covers, result.outcome, began, document=document, result=result, error=result.error)
    )
    return result


async def _document(
    source: Batch, publisher: Publisher, stores: IngestContext, link: Link, before: KnownAddress
) -> Document:
    """The document as it is now, kept: fetched, or the one we have when the publisher says it has not changed."""
    kept = await stores.ledger.document(before.digest) if before.digest else None
    if kept is not None and before.parser != source.parser:
        return kept
    marks = {"etag": before.etag, "last_modified": before.last_modified} if kept else {}
    async with publisher.fetch(link.url, **marks) as fetched:
        if fetched is None:
            if kept is None:
                raise PublisherError(f"{link.url} answered 'not changed' to a first request", outcome="wrong body")
            return replace(kept, etag=before.etag, last_modified=before.last_modified)
        stored = await stores.documents.put(fetched.chunks)
        document = _kept(source, link, fetched, stored.digest, stored.size)
    await stores.ledger.save_document(document)
    return document


def _kept(source: Batch, link: Link, fetched: PublisherResponse, digest: str, size: int) -> Document:
    return Document(
        digest=digest, size=size, source=source.name, url=link.url, covers=link.covers, fetched_at=datetime.now(UTC),
        via=fetched.via, etag=fetched.etag, last_modified=fetched.last_modified, media_type=fetched.media_type,
    )  # fmt: skip


def _is_settled(source: Batch, before: KnownAddress, document: Document) -> bool:
    """These bytes were judged by this parser before. Only new bytes or a new parser change what is shown: otherwise two
    addresses of one slice would push each other out for ever.
    """
    same = (before.digest, before.parser) == (document.digest, source.parser)
    return same and before.outcome in {"published", "refused"}


def _waiting(before: KnownAddress, document: Document) -> KnownAddress:
    """These bytes are here, and no parser has judged them: while our stores fail, the publisher is not asked again."""
    return replace(
        before, digest=document.digest, etag=document.etag, last_modified=document.last_modified, outcome="", parser="",
        failures=0, not_before=None,
    )  # fmt: skip


def _answered(source: Batch, before: KnownAddress, document: Document, outcome: Outcome) -> KnownAddress:
    stands = before.outcome if _is_settled(source, before, document) else "published"
    return replace(
        before, digest=document.digest, etag=document.etag, last_modified=document.last_modified,
        checked_at=datetime.now(UTC), outcome=stands if outcome == "unchanged" else outcome, parser=source.parser,
        failures=0, not_before=None,
    )  # fmt: skip


def _failed(before: KnownAddress, problem: PublisherError) -> KnownAddress:
    """Asked again after ten minutes, then twice as long, a day at most; or when the publisher says."""
    pause = min(DAY, AGAIN_AFTER * 2 ** min(before.failures, 8))
    if problem.retry_after_seconds is not None:
        pause = max(pause, timedelta(seconds=problem.retry_after_seconds))
    now, failures = datetime.now(UTC), before.failures + 1
    return replace(before, checked_at=now, outcome=problem.outcome, failures=failures, not_before=now + pause)


def _run(
    source: Batch, url: str, covers: str, outcome: Outcome, began: float, *, document: Document | None = None,
    result: IngestResult | None = None, error: str = "",
) -> Run:  # fmt: skip
    return Run(
        at=datetime.now(UTC), source=source.name, url=url, covers=covers, outcome=outcome,
        digest=document.digest if document else "", rows=result.rows if result else 0,
        rejects=result.rejects if result else 0, bytes=document.size if document else 0,
        seconds=round(time.monotonic() - began, 6), error=error,
    )  # fmt: skip
