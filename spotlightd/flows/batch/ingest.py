"""Discover, choose what is due, fetch, store, parse, load, publish: first run, daily run, backfill and retry.

The ledger decides what is due (`is_due`), never the trigger history. So a machine that was asleep catches up, and a run that was
killed is done again. The order of the steps is guaranteed: bytes are durable before they are parsed, rows are durable
before they are published, and the ledger records each step before and after it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from spotlightd.backoff import Backoff
from spotlightd.errors import FormatError, PublisherError, StoreError
from spotlightd.flows.loads.load import IngestContext, IngestResult, RefusedError, load_document
from spotlightd.log import log_context, logger
from spotlightd.model.provenance import Document, Outcome, Run
from spotlightd.model.source import Batch, Link
from spotlightd.model.text import count
from spotlightd.ports.ledger import KnownAddress
from spotlightd.ports.progress import Checkpoint, ignore_progress, to_checkpoint
from spotlightd.ports.publisher import Publisher, PublisherResponse

DAY = timedelta(days=1)
RETRY = Backoff(first=600.0, most=86_400.0, jitter=0.0)
NOT_LOADED: dict[str, str] = {"unchanged": "document unchanged", "covered": "document covered"}
REFRESH_SHARE = 8  # a document is fetched again after an eighth of the time since it was first seen, at least daily


@dataclass(frozen=True, slots=True)
class IngestRange:
    """The wanted days, both ends included. `again` also fetches documents that were fetched lately or failed."""

    first: date = date.min
    last: date = date.max
    again: bool = False


async def ingest(
    source: Batch,
    publisher: Publisher,
    context: IngestContext,
    *,
    span: IngestRange = IngestRange(),
    checkpoint: Checkpoint | None = None,
) -> list[IngestResult]:
    """Fetch and load every document of a source that is due, newest first. One failure does not stop the others.

    What was refused because of another document is tried once more at the end, when the other may have been replaced.
    The check of the source and each document have their own `run` in the log. StoreError ends the ingest: a store of
    this instance has failed, and the other documents would fail too.
    """
    checkpoint = checkpoint or to_checkpoint(ignore_progress)
    await checkpoint("listing the documents", 0, 0)
    run = secrets.token_hex(4)
    with log_context(run=run):
        links = await _discover(source, publisher, context)
    wanted = [link for link in links if _is_wanted(link, span)]
    known = await context.ledger.known_addresses(source.name, [link.url for link in wanted])
    now = datetime.now(UTC)
    due = [link for link in wanted if is_due(source, known.get(link.url), now, span)]
    due.sort(key=lambda link: (link.last, link.url), reverse=True)
    results = await _ingest_links(source, publisher, context, due, known, checkpoint)
    open_links = [result.link for result in results if not result.is_final]
    if open_links and any(result.outcome == "published" for result in results):
        final = [result for result in results if result.is_final]
        known = await context.ledger.known_addresses(source.name, [link.url for link in open_links])
        results = final + await _ingest_links(source, publisher, context, open_links, known, checkpoint)
    await checkpoint("", len(due), len(due))
    logger(source=source.name, run=run).info("source checked", links=len(links), due=len(due))
    return results


async def _ingest_links(
    source: Batch,
    publisher: Publisher,
    context: IngestContext,
    links: Sequence[Link],
    known: Mapping[str, KnownAddress],
    checkpoint: Checkpoint,
) -> list[IngestResult]:
    results = []
    for done, link in enumerate(links):
        await checkpoint(link.covers, done, len(links))
        with log_context(run=secrets.token_hex(4)):
            result = await _ingest_link(source, publisher, context, link, known.get(link.url))
        if context.metrics:
            context.metrics.count("documents_total", source=source.name, outcome=result.outcome)
            context.metrics.count("rows_published_total", result.rows, source=source.name)
        results.append(result)
    return results


def is_due(source: Batch, known: KnownAddress | None, now: datetime, span: IngestRange = IngestRange()) -> bool:
    """Whether a document is to be fetched, or loaded again from the stored copy because its parser changed.

    A new document is due. One that failed waits for its pause. A known one is fetched again after a day, and less often
    as it grows older: publishers replace files without notice. A part whose whole is visible is not fetched again.
    """
    if span.again or known is None or known.checked_at is None or known.first_fetched_at is None:
        return True
    if known.digest and known.parser != source.parser:
        return True
    if known.outcome == "covered":
        return False
    if known.not_before is not None:
        return now >= known.not_before
    return now - known.checked_at >= max(DAY, (now - known.first_fetched_at) / REFRESH_SHARE)


def _is_wanted(link: Link, span: IngestRange) -> bool:
    return link.last >= span.first and link.first <= span.last


async def _discover(source: Batch, publisher: Publisher, context: IngestContext) -> list[Link]:
    """All documents that exist. The look is recorded, whatever its outcome."""
    started = time.monotonic()
    try:
        links = {link.url: link async for link in source.discover(publisher)}
        _require_links(source, len(links))
    except (PublisherError, FormatError) as problem:
        outcome: Outcome = problem.outcome if isinstance(problem, PublisherError) else "refused"
        await _record_look(source, context, outcome, started, str(problem))
        logger(source=source.name).warning("source failed", error=str(problem))
        raise
    await _record_look(source, context, "discovered", started)
    return list(links.values())


async def _record_look(
    source: Batch, context: IngestContext, outcome: Outcome, started: float, error: str = ""
) -> None:
    if context.metrics:
        context.metrics.count("looks_total", source=source.name, outcome=outcome)
    await context.ledger.record(_make_run(source, source.home, "", outcome, started, error=error))


def _require_links(source: Batch, found: int) -> None:
    """PublisherError when a look found too few documents: a page of excuses is not the news that there is nothing."""
    if found < source.least_links:
        raise PublisherError(
            f"{source.home} was answered, but it lists {count(found, 'document')} of {source.name}, where there are at "
            f"least {source.least_links:,}: the publisher served another page, or changed this one",
            outcome="wrong body",
        )


async def _ingest_link(
    source: Batch, publisher: Publisher, context: IngestContext, link: Link, known: KnownAddress | None
) -> IngestResult:
    started, before = time.monotonic(), known or KnownAddress(link.url, link.covers, first_fetched_at=datetime.now(UTC))
    log = logger(source=source.name, covers=link.covers, url=link.url)
    try:
        document = await _fetch_document(source, publisher, context, link, before)
        if _is_judged(source, before, document):
            result = IngestResult(link, "unchanged")
        else:
            await context.ledger.save_address(source.name, _mark_stored(before, document))
            result = await load_document(source, context, link, document)
        event = NOT_LOADED.get(result.outcome, "document stored")
        log.info(event, rows=result.rows)
    except PublisherError as problem:
        log.warning("document not found" if problem.outcome == "absent" else "document failed", error=str(problem))
        await context.ledger.save_address(source.name, _mark_failed(before, problem))
        await context.ledger.record(
            _make_run(source, link.url, link.covers, problem.outcome, started, error=str(problem))
        )
        return IngestResult(link, problem.outcome, error=str(problem))
    except RefusedError as refused:
        log.warning("document refused", error=str(refused))
        document = refused.document
        result = IngestResult(
            link, "refused", rejects=len(refused.rejects), error=str(refused), is_final=refused.is_final
        )
    except StoreError as problem:
        log.error("store failed", error=str(problem))  # noqa: TRY400  (operators need no traceback)
        raise
    address = _mark_checked(source, before, document, result.outcome)
    await context.ledger.save_address(source.name, address if result.is_final else replace(address, outcome="twin"))
    await context.ledger.record(
        _make_run(
            source, link.url, link.covers, result.outcome, started, document=document, result=result, error=result.error
        )
    )
    return result


async def _fetch_document(
    source: Batch, publisher: Publisher, context: IngestContext, link: Link, before: KnownAddress
) -> Document:
    """Fetch and store the document. Returns the stored copy when the publisher answers that it has not changed."""
    copy = await context.ledger.document(before.digest) if before.digest else None
    if copy is not None and before.parser != source.parser:
        return copy
    validators = {"etag": before.etag, "last_modified": before.last_modified} if copy else {}
    async with publisher.fetch(link.url, **validators) as fetched:
        if fetched is None:
            if copy is None:
                raise PublisherError(f"{link.url} answered 'not changed' to a first request", outcome="wrong body")
            return replace(copy, etag=before.etag, last_modified=before.last_modified)
        stored = await context.documents.put(fetched.chunks)
        document = _make_document(source, link, fetched, stored.digest, stored.size)
    await context.ledger.save_document(document)
    return document


def _make_document(source: Batch, link: Link, fetched: PublisherResponse, digest: str, size: int) -> Document:
    return Document(
        digest=digest, size=size, source=source.name, url=link.url, covers=link.covers, fetched_at=datetime.now(UTC),
        via=fetched.via, etag=fetched.etag, last_modified=fetched.last_modified, media_type=fetched.media_type,
    )  # fmt: skip


def _is_judged(source: Batch, before: KnownAddress, document: Document) -> bool:
    """Whether this parser has already loaded or refused these bytes. Only new bytes or a new parser change the visible
    rows; otherwise two addresses of one slice would replace each other for ever.
    """
    same = (before.digest, before.parser) == (document.digest, source.parser)
    return same and before.outcome in {"published", "refused"}


def _mark_stored(before: KnownAddress, document: Document) -> KnownAddress:
    """Record that the bytes are stored but not parsed yet: while a store fails, they are not fetched again."""
    return replace(
        before, digest=document.digest, etag=document.etag, last_modified=document.last_modified, outcome="", parser="",
        failures=0, not_before=None,
    )  # fmt: skip


def _mark_checked(source: Batch, before: KnownAddress, document: Document, outcome: Outcome) -> KnownAddress:
    previous = before.outcome if _is_judged(source, before, document) else "published"
    return replace(
        before, digest=document.digest, etag=document.etag, last_modified=document.last_modified,
        checked_at=datetime.now(UTC), outcome=previous if outcome == "unchanged" else outcome, parser=source.parser,
        failures=0, not_before=None,
    )  # fmt: skip


def _mark_failed(before: KnownAddress, problem: PublisherError) -> KnownAddress:
    """Record the failure and when to fetch again: after ten minutes, doubling up to a day, or later if the publisher
    asks.
    """
    failures = before.failures + 1
    pause = timedelta(seconds=RETRY.pause(failures))
    if problem.retry_after_seconds is not None:
        pause = max(pause, timedelta(seconds=problem.retry_after_seconds))
    now = datetime.now(UTC)
    return replace(before, checked_at=now, outcome=problem.outcome, failures=failures, not_before=now + pause)


def _make_run(
    source: Batch, url: str, covers: str, outcome: Outcome, started: float, *, document: Document | None = None,
    result: IngestResult | None = None, error: str = "",
) -> Run:  # fmt: skip
    return Run(
        at=datetime.now(UTC), source=source.name, url=url, covers=covers, outcome=outcome,
        digest=document.digest if document else "", rows=result.rows if result else 0,
        rejects=result.rejects if result else 0, bytes=document.size if document else 0,
        seconds=round(time.monotonic() - started, 6), error=error,
    )  # fmt: skip
