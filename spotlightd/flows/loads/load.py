"""Loads one document into the warehouse: begin a load, parse and insert in parallel, count the rows, publish.

The rows are counted in the table because the engine's own count cannot be trusted: on a full disk it reported 200,000
written rows and had stored none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from spotlightd.errors import FormatError, StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.publish import Publications, find_whole
from spotlightd.flows.loads.repeats import refuse_repeated_keys
from spotlightd.log import log_context, logger
from spotlightd.model.provenance import Document, Load, Outcome, Reject
from spotlightd.model.source import Batch, Link
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.parser import Parser, ParseResult, ParseSession
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.sql.visibility import all_rows
from spotlightd.tasks import run_together

OF_LOAD = "load_id = {load_id:UInt64}"


@dataclass(frozen=True, slots=True)
class IngestContext:
    """The clients of an ingest. `gate` is closed while a disk is too full for it."""

    documents: Documents
    ledger: Ledger
    warehouse: Warehouse
    parser: Parser
    publications: Publications
    metrics: Metrics | None = None
    gate: Gate = field(default_factory=Gate)
    archives: Archives = field(default_factory=NoArchives)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The outcome of one link. `is_final`: the outcome is the same whatever else gets published."""

    link: Link
    outcome: Outcome
    rows: int = 0
    rejects: int = 0
    error: str = ""
    is_final: bool = True


class RefusedError(Exception):
    """A document that is stored but not loaded. `is_final`: these bytes are refused whatever else gets published."""

    def __init__(
        self, error: FormatError, document: Document, rejects: Sequence[Reject] = (), *, is_final: bool = True
    ) -> None:
        place = f" (line {error.line})" if error.line else ""
        super().__init__(f"{error}{place}")
        self.document = document
        self.rejects = rejects
        self.is_final = is_final


Proof = Callable[[Load], Awaitable[None]]
"""Checks the rows of a complete load before it is published. FormatError when they must not be published."""


async def load_document(
    source: Batch, context: IngestContext, link: Link, document: Document, *, proof: Proof | None = None
) -> IngestResult:
    """Make the rows of the document durable and publish them.

    `unchanged` when they are visible already, from these bytes or from the same files in another wrapper; `covered` when
    a document for a larger slice is visible, which has them: then the part is not loaded, whichever of the two came first.
    """
    await _abandon_stale_loads(source, context)
    current = await context.ledger.related_loads(source.name, link.covers, document.digest)
    visible = [load for load in current if load.digest != document.digest or not await _is_lost(source, context, load)]
    if find_whole(link.covers, visible):
        return IngestResult(link, "covered")
    twin = next((load for load in visible if (load.digest, load.parser) == (document.digest, source.parser)), None)
    if twin is not None and twin.covers == link.covers:
        return IngestResult(link, "unchanged")
    if twin is not None:
        message = f"the same bytes as the document for {twin.covers}: one of the two has the wrong name"
        raise RefusedError(FormatError(message), document, is_final=False)
    earlier = next((load for load in visible if (load.covers, load.parser) == (link.covers, source.parser)), None)
    if earlier is not None and await _is_rewrapped(context, earlier, document):
        return IngestResult(link, "unchanged")
    begun = await context.ledger.begin_load(source, document.digest, link.covers)
    with log_context(load_id=begun.load_id):
        return await _fill_and_publish(source, context, link, document, begun, proof)


async def _fill_and_publish(
    source: Batch, context: IngestContext, link: Link, document: Document, begun: Load, proof: Proof | None
) -> IngestResult:
    """Fill and publish the load, or mark it dead."""
    try:
        parsed = await _fill(source, context, begun, link, document)
        await _run_proof(proof, begun, document)
        await _refuse_repeats(source, context, begun, link, document)
    except RefusedError as refused:
        await context.ledger.mark_dead(begun.load_id, refused.rejects)
        raise
    except (StoreError, asyncio.CancelledError):
        logger(source=source.name).warning("load failed", covers=link.covers, load_id=begun.load_id)
        with suppress(StoreError):  # a full disk must not hide a cancellation; the next start marks the load dead
            await context.ledger.mark_dead(begun.load_id)
        raise
    loaded = await context.ledger.mark_loaded(begun.load_id, parsed.rows, parsed.rejects)
    published = await context.publications.publish(loaded)
    return IngestResult(link, "published", rows=sum(published.rows.values()), rejects=published.rejects)


async def _is_lost(source: Batch, context: IngestContext, load: Load) -> bool:
    """Whether a published load has fewer rows than it had: its table was made again. Then it is loaded once more."""
    for dataset in source.datasets:
        sql = f"SELECT count() FROM {all_rows(dataset, context.archives.archived)} WHERE {OF_LOAD}"
        stored = (await context.warehouse.rows(sql, {"load_id": load.load_id})).rows[0][0]
        if stored < load.rows.get(dataset.name, 0):
            return True
    return False


async def _run_proof(proof: Proof | None, load: Load, document: Document) -> None:
    try:
        if proof:
            await proof(load)
    except FormatError as problem:
        raise RefusedError(problem, document) from problem


async def _refuse_repeats(source: Batch, context: IngestContext, load: Load, link: Link, document: Document) -> None:
    """Refuse the document while another visible one has some of its keys, in a dataset where a key may not repeat."""
    superseded = await context.publications.find_superseded(load)
    try:
        for dataset in (dataset for dataset in source.datasets if not dataset.key_may_repeat):
            await refuse_repeated_keys(
                context.warehouse, context.archives.archived, dataset, load, link.period, superseded
            )
    except FormatError as problem:
        if context.metrics:
            context.metrics.count("documents_repeating_keys_total", source=source.name)
        raise RefusedError(problem, document, is_final=False) from problem


async def _is_rewrapped(context: IngestContext, visible: Load, document: Document) -> bool:
    """Whether the document is the archive of a visible load, packed anew: the same files, and no new version of them."""
    new = await _digest_content(context, document.digest)
    with suppress(StoreError):  # the older archive is not there to compare: then this one is loaded, and replaces it
        return bool(new) and new == await _digest_content(context, visible.digest)
    return False


async def _digest_content(context: IngestContext, digest: str) -> str:
    async with context.documents.file(digest) as path:
        return await context.parser.content_digest(path, digest)


async def _abandon_stale_loads(source: Batch, context: IngestContext) -> None:
    """Mark complete loads dead whose publication never began because a store failed. They are done again now; published
    later, they would replace newer data.
    """
    for stale in await context.ledger.loads(source.name, states=("loaded",)):
        await context.ledger.mark_dead(stale.load_id)


async def _fill(source: Batch, context: IngestContext, load: Load, link: Link, document: Document) -> ParseResult:
    """Parse and insert in parallel, one stream per dataset; then check that all parsed rows were stored."""
    async with (
        context.documents.file(document.digest) as path,
        context.parser.parse(source, path, document.name, load_id=load.load_id, period=link.period) as parsing,
    ):
        try:
            inserted = await _insert(source, context.warehouse, load, parsing)
            parsed = await parsing.result()
            _check_plausibility(source, parsed)
        except FormatError as problem:
            raise RefusedError(problem, document, parsing.rejects) from problem
    stored = await _count_rows(source, context.warehouse, load)
    if not inserted == dict(parsed.rows) == stored:
        message = (
            f"{dict(parsed.rows)} rows were read, the warehouse wrote {inserted} and holds {stored}: is its disk full?"
        )
        raise StoreError(f"load {load.load_id} of {document.name}: {message}")
    return parsed


async def _count_rows(source: Batch, warehouse: Warehouse, load: Load) -> dict[str, int]:
    """The number of rows of the load that the warehouse holds, by dataset."""
    values = {"load_id": load.load_id}
    return {
        dataset.name: int(
            (await warehouse.rows(f"SELECT count() FROM {dataset.name} WHERE {OF_LOAD}", values)).rows[0][0]
        )
        for dataset in source.datasets
    }


async def _insert(source: Batch, warehouse: Warehouse, load: Load, parsing: ParseSession) -> dict[str, int]:
    inserts = {
        dataset.name: warehouse.insert_stream(
            dataset, parsing.columns(dataset.name), token=f"load-{load.load_id}-{dataset.name}"
        )
        for dataset in source.datasets
    }
    try:
        return await run_together(inserts, prefix=f"load {load.load_id} into ")
    except StoreError:
        await _raise_document_error(parsing)
        raise


async def _raise_document_error(parsing: ParseSession) -> None:
    """Raise the FormatError of the document, if there is one: then the failed insert is only its consequence."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await parsing.result()


def _check_plausibility(source: Batch, parsed: ParseResult) -> None:
    unread = [reject for reject in parsed.rejects if not reject.of_other_slice]
    if len(unread) > source.rejects_allowed * max(parsed.lines, 1):
        first, allowed = unread[0], f"{source.name} allows {source.rejects_allowed:.2%}"
        message = f"{len(unread)} of {parsed.lines} lines could not be parsed; {allowed}"
        raise FormatError(f"{message}; the first: {first.reason}", member=first.member, line=first.line)
    for dataset in source.datasets:
        rows, (minimum, maximum) = parsed.rows.get(dataset.name, 0), dataset.rhythm.rows
        if not minimum <= rows <= maximum:
            raise FormatError(f"{rows} rows for {dataset.name}, where {minimum} to {maximum} are plausible")
