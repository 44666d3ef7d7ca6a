"""Fetches one document of a source, and stores it. The ledger knows the address and its document when this returns."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from time import monotonic

from spotlightd.backoff import Backoff
from spotlightd.errors import PublisherError
from spotlightd.flows.loads.context import IngestContext, IngestResult
from spotlightd.model.provenance import Document, Outcome, Run
from spotlightd.model.source import Batch, Link
from spotlightd.ports.ledger import KnownAddress
from spotlightd.ports.publisher import Publisher, PublisherResponse

RETRY = Backoff(first=600.0, most=86_400.0, jitter=0.0)
PROBE_DAYS = timedelta(
    days=14
)  # after the last day of a document: one that is published later is found by a backfill only
LEAST_PROBES = 2


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to fetch and load one link: what was known of its address before, when it began, its name in the log."""

    link: Link
    before: KnownAddress
    started: float
    run: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document that is stored and waits to be loaded. `is_judged`: there is nothing to load."""

    attempt: Attempt
    document: Document
    is_judged: bool = False


def begin_attempt(link: Link, known: KnownAddress | None) -> Attempt:
    before = known or KnownAddress(link.url, link.covers, first_fetched_at=datetime.now(UTC))
    return Attempt(link, before, monotonic(), secrets.token_hex(4))


async def fetch_document(source: Batch, publisher: Publisher, context: IngestContext, attempt: Attempt) -> Fetched:
    """Fetch and store the document, or find the stored copy: when a new parser is to read it, or the publisher has no newer
    one. PublisherError when it cannot be fetched.
    """
    before = attempt.before
    link = attempt.link
    copy = await context.ledger.document(before.digest) if before.digest else None
    if copy is not None:  # two days without data have the same bytes: these are the ones of this address
        copy = replace(copy, url=link.url, covers=link.covers)
    if copy is not None and before.parser != source.parser:
        return Fetched(attempt, copy)
    new = await _request_document(source, publisher, context, attempt, has_copy=copy is not None)
    if new is None:
        if copy is None:
            raise PublisherError(f"{before.url} answered 'not changed' to a first request", outcome="wrong body")
        document = replace(copy, etag=before.etag, last_modified=before.last_modified)
    else:
        document = new
    is_judged = _is_judged(source, before, document)
    if new is not None and is_judged:
        await context.ledger.save_document(new)
    elif new is not None:
        await context.ledger.save_stored(new, _mark_stored(before, new))
    elif not is_judged:
        await context.ledger.save_address(source.name, _mark_stored(before, document))
    return Fetched(attempt, document, is_judged)


async def _request_document(
    source: Batch, publisher: Publisher, context: IngestContext, attempt: Attempt, *, has_copy: bool
) -> Document | None:
    """The document as the publisher serves it now, stored; None when it has not changed."""
    link, before = attempt.link, attempt.before
    is_conditional = has_copy and link.post is None
    async with publisher.fetch(
        link.url,
        etag=before.etag if is_conditional else "",
        last_modified=before.last_modified if is_conditional else "",
        post=link.post,
        is_probe=link.is_probe,
    ) as response:
        if response is None:
            return None
        stored = await context.documents.put(response.chunks)
        return _make_document(source, link, response, stored.digest, stored.size)


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


def mark_checked(source: Batch, fetched: Fetched, result: IngestResult) -> KnownAddress:
    """What is known of an address after its document was loaded, or not."""
    before, document = fetched.attempt.before, fetched.document
    previous = before.outcome if fetched.is_judged else "published"
    outcome = (previous if result.outcome == "unchanged" else result.outcome) if result.is_final else "twin"
    return replace(
        before, digest=document.digest, etag=document.etag, last_modified=document.last_modified,
        checked_at=datetime.now(UTC), outcome=outcome, parser=source.parser,
        failures=0, not_before=None,
    )  # fmt: skip


def mark_failed(attempt: Attempt, problem: PublisherError, now: datetime) -> KnownAddress:
    """Record the failure and when to fetch again: after ten minutes, doubling up to a day, or later if the publisher
    asks. No time: it is not fetched again, because it is in the publisher's archive, or was absent for long.
    """
    before, failures = attempt.before, attempt.before.failures + 1
    marked = replace(before, checked_at=now, outcome=problem.outcome, failures=failures, not_before=None)
    if problem.outcome == "archived" or (is_missing(attempt.link, problem) and _is_given_up(attempt, now)):
        return marked
    pause = timedelta(seconds=RETRY.pause(failures))
    if problem.retry_after_seconds is not None:
        pause = max(pause, timedelta(seconds=problem.retry_after_seconds))
    return replace(marked, not_before=now + pause)


def is_missing(link: Link, problem: PublisherError) -> bool:
    """Whether the document is simply not there, which is no failure: its address was computed, or it is archived."""
    return problem.outcome == "archived" or (link.is_probe and problem.outcome == "absent")


def _is_given_up(attempt: Attempt, now: datetime) -> bool:
    last_day = datetime.combine(attempt.link.last, time.min, UTC)
    return now > last_day + PROBE_DAYS and attempt.before.failures + 1 >= LEAST_PROBES


def make_run(
    source: Batch, url: str, covers: str, outcome: Outcome, started: float, *, document: Document | None = None,
    result: IngestResult | None = None, error: str = "",
) -> Run:  # fmt: skip
    return Run(
        at=datetime.now(UTC), source=source.name, url=url, covers=covers, outcome=outcome,
        digest=document.digest if document else "", rows=result.rows if result else 0,
        rejects=result.rejects if result else 0, bytes=document.size if document else 0,
        seconds=round(monotonic() - started, 6), error=error,
    )  # fmt: skip
