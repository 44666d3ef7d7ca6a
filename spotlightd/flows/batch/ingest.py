"""Discover, choose what is due, fetch, store, parse, load, publish: first run, daily run, backfill and retry.

The ledger decides what is due (`is_due`), never the trigger history. So a machine that was asleep catches up, and a run that was
killed is done again. The order of the steps is guaranteed: bytes are durable before they are parsed, rows are durable
before they are published, and the ledger records each step before and after it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic

from spotlightd.errors import FormatError, PublisherError
from spotlightd.flows.batch.fetch import make_run
from spotlightd.flows.batch.laps import Lap
from spotlightd.flows.batch.pauses import repeat_after_pauses
from spotlightd.flows.batch.pipeline import Pipeline
from spotlightd.flows.loads.context import IngestContext, IngestResult
from spotlightd.log import log_context, logger
from spotlightd.model.provenance import Outcome
from spotlightd.model.source import Batch, Link
from spotlightd.model.text import count
from spotlightd.ports.ledger import KnownAddress
from spotlightd.ports.progress import Checkpoint, ignore_progress, to_checkpoint
from spotlightd.ports.publisher import Publisher

DAY = timedelta(days=1)
LINKS_AT_ONCE = 500  # are judged in 5 ms
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
    lap: Lap | None = None,
) -> list[IngestResult]:
    """Fetch and load every document of a source that is due, newest first, until the lap is over. One failure does not stop
    the others.

    What was refused because of another document is tried once more at the end, when the other may have been replaced.
    The check of the source and each document have their own `run` in the log. StoreError ends the ingest: a store of
    this instance has failed, and the other documents would fail too.
    """
    checkpoint = checkpoint or to_checkpoint(ignore_progress)
    await checkpoint("listing the documents", 0, 0)
    run = secrets.token_hex(4)
    with log_context(run=run):
        links = await _discover(source, publisher, context, checkpoint)
    due, known = await _select_due(source, context, links, span)
    results = await Pipeline(source, publisher, context, due, known, checkpoint, lap or Lap()).run()
    open_links = [result.link for result in results if not result.is_final]
    if open_links and any(result.outcome == "published" for result in results):
        final = [result for result in results if result.is_final]
        addresses = await context.ledger.known_addresses(source.name, [link.url for link in open_links])
        results = final + await Pipeline(source, publisher, context, open_links, addresses, checkpoint).run()
    await checkpoint("", len(results), len(due))
    logger(source=source.name, run=run).info("source checked", links=len(links), due=len(due))
    return results


async def _select_due(
    source: Batch, context: IngestContext, links: Sequence[Link], span: IngestRange
) -> tuple[list[Link], dict[str, KnownAddress]]:
    """The links that are wanted and due, and what is known of their addresses. There may be many thousands: each look-up lets
    other tasks run.
    """
    due, known, now = list[Link](), dict[str, KnownAddress](), datetime.now(UTC)
    for start in range(0, len(links), LINKS_AT_ONCE):
        wanted = [link for link in links[start : start + LINKS_AT_ONCE] if _is_wanted(link, span)]
        addresses = await context.ledger.known_addresses(source.name, [link.url for link in wanted])
        due += [link for link in wanted if is_due(source, link, addresses.get(link.url), now, span)]
        known |= addresses
    due.sort(key=_rank, reverse=True)
    return due, known


def _rank(link: Link) -> tuple[bool, date, int, int, str]:
    """In which order documents are loaded, the greatest first: the newest, and of those that end on one day the one of most
    days, and a whole before its parts. A supplement comes last: of two documents with a common key the one that is tried
    first stays.
    """
    return (not link.is_supplement, link.last, link.period.days, -link.covers.count("/"), link.url)


def is_due(
    source: Batch, link: Link, known: KnownAddress | None, now: datetime, span: IngestRange = IngestRange()
) -> bool:
    """Whether a document is to be fetched, or loaded again from the stored copy because its parser changed.

    A new document is due. One that failed waits for its pause. A known one is fetched again after a day, and less often
    as it grows older: publishers replace files without notice. A part whose whole is visible is not fetched again, nor one
    that is in the publisher's archive, or was absent for long.
    """
    if span.again or known is None or known.checked_at is None or known.first_fetched_at is None:
        return True
    if known.digest and known.parser != source.parser:
        return True
    if known.outcome == "covered":
        return False
    if known.not_before is not None:
        return now >= known.not_before
    if known.outcome in {"archived", "absent"}:
        return False
    return now - known.checked_at >= max(DAY, (now - _begin_age(link, known.first_fetched_at)) / REFRESH_SHARE)


def _begin_age(link: Link, first_fetched_at: datetime) -> datetime:
    """When the age of a document begins: when we first fetched it. That of a computed address begins with its last day: there
    is one for each day of many years, which would all be fetched daily in the week after the first run.
    """
    return min(first_fetched_at, datetime.combine(link.last, time.min, UTC)) if link.is_probe else first_fetched_at


def _is_wanted(link: Link, span: IngestRange) -> bool:
    return link.last >= span.first and link.first <= span.last


async def _discover(source: Batch, publisher: Publisher, context: IngestContext, checkpoint: Checkpoint) -> list[Link]:
    """All documents that exist, or may exist. The look is recorded, whatever its outcome."""
    started = monotonic()

    async def beat(sentence: str) -> None:
        await checkpoint(f"listing the documents: {sentence}", 0, 0)

    try:
        links = await repeat_after_pauses(lambda: _list_links(source, publisher), context.clock, source.name, beat)
    except (PublisherError, FormatError) as problem:
        outcome: Outcome = problem.outcome if isinstance(problem, PublisherError) else "refused"
        await _record_look(source, context, outcome, started, str(problem))
        logger(source=source.name).warning("source failed", error=str(problem))
        raise
    await _record_look(source, context, "discovered", started)
    return links


async def _list_links(source: Batch, publisher: Publisher) -> list[Link]:
    links = dict[str, Link]()
    async for link in source.discover(publisher):
        links[link.url] = link
        if len(links) % LINKS_AT_ONCE == 0:
            await asyncio.sleep(0)  # a source may list thousands without waiting for anything
    _require_links(source, len(links))
    return list(links.values())


async def _record_look(
    source: Batch, context: IngestContext, outcome: Outcome, started: float, error: str = ""
) -> None:
    if context.metrics:
        context.metrics.count("looks_total", source=source.name, outcome=outcome)
    await context.ledger.record(make_run(source, source.home, "", outcome, started, error=error))


def _require_links(source: Batch, found: int) -> None:
    """PublisherError when a look found too few documents: a page of excuses is not the news that there is nothing."""
    if found < source.least_links:
        raise PublisherError(
            f"{source.home} was answered, but it lists {count(found, 'document')} of {source.name}, where there are at "
            f"least {source.least_links:,}: the publisher served another page, or changed this one",
            outcome="wrong body",
        )
