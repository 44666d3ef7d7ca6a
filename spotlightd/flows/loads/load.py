"""One document into the warehouse: begin a load, parse and insert at once, see that every row is there, publish.

Why the rows are counted in the table, and not believed: an engine on a full disk answered that it had written 200,000
rows and had kept none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from spotlightd.errors import FormatError, StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.publish import Publications, select_current
from spotlightd.log import logger, within
from spotlightd.model.provenance import Document, Load, Outcome, Reject
from spotlightd.model.source import Batch, Link
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.parser import Parser, ParseResult, ParseSession
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.tasks import together

MINE = "load_id = {load_id:UInt64}"


@dataclass(frozen=True, slots=True)
class IngestContext:
    """What an ingest writes to. `gate` is shut while a disk is too full for it."""

    documents: Documents
    ledger: Ledger
    warehouse: Warehouse
    parser: Parser
    publications: Publications
    metrics: Metrics | None = None
    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of one link."""

    link: Link
    outcome: Outcome
    rows: int = 0
    rejects: int = 0
    error: str = ""


class RefusedError(Exception):
    """A document that is kept and not loaded. `settled`: these bytes will be refused whatever else is published."""

    def __init__(
        self, problem: FormatError, document: Document, rejects: Sequence[Reject] = (), *, settled: bool = True
    ) -> None:
        place = f" (line {problem.line})" if problem.line else ""
        super().__init__(f"{problem}{place}")
        self.document = document
        self.rejects = rejects
        self.settled = settled


Proof = Callable[[Load], Awaitable[None]]
"""Looks at the rows of a load that is whole and not published. FormatError when they are not to be published."""


async def load_document(
    source: Batch, stores: IngestContext, link: Link, document: Document, *, proof: Proof | None = None
) -> IngestResult:
    """Rows of the document, durable and published; `unchanged` when exactly these are visible already."""
    await _give_up_stale(source, stores)
    visible = select_current(await stores.ledger.loads(source.name, states=("published",)))
    twin = next((one for one in visible if (one.digest, one.parser) == (document.digest, source.parser)), None)
    if twin is not None and twin.covers == link.covers:
        return IngestResult(link, "unchanged")
    if twin is not None:
        said = f"the same bytes as the document for {twin.covers}: one of the two is not what its name says"
        raise RefusedError(FormatError(said), document, settled=False)
    begun = await stores.ledger.begin_load(source, document.digest, link.covers)
    with within(load_id=begun.load_id):
        return await _whole(source, stores, link, document, begun, proof)


async def _whole(
    source: Batch, stores: IngestContext, link: Link, document: Document, begun: Load, proof: Proof | None
) -> IngestResult:
    """The load filled and published, or dead."""
    try:
        parsed = await _fill(source, stores, begun, document)
        await _prove(proof, begun, document)
    except RefusedError as refused:
        await stores.ledger.mark_dead(begun.load_id, refused.rejects)
        raise
    except (StoreError, asyncio.CancelledError):
        logger(source=source.name).warning("load died", covers=link.covers, load_id=begun.load_id)
        with suppress(StoreError):  # a full disk must not swallow an order to stop; the next start gives the load up
            await stores.ledger.mark_dead(begun.load_id)
        raise
    loaded = await stores.ledger.mark_loaded(begun.load_id, parsed.rows, parsed.rejects)
    done = await stores.publications.publish(loaded)
    return IngestResult(link, "published", rows=sum(done.rows.values()), rejects=done.rejects)


async def _prove(proof: Proof | None, load: Load, document: Document) -> None:
    try:
        if proof:
            await proof(load)
    except FormatError as problem:
        raise RefusedError(problem, document) from problem


async def _give_up_stale(source: Batch, stores: IngestContext) -> None:
    """A load that was whole when our stores failed, before its publication was intended: it is done again now, and
    must not be published later, over what has come since.
    """
    for stale in await stores.ledger.loads(source.name, states=("loaded",)):
        await stores.ledger.mark_dead(stale.load_id)


async def _fill(source: Batch, stores: IngestContext, load: Load, document: Document) -> ParseResult:
    """Parse and insert at the same time, one stream per dataset; then see that all that was read was written."""
    async with (
        stores.documents.file(document.digest) as path,
        stores.parser.parse(source, path, document.name, load_id=load.load_id) as parsing,
    ):
        try:
            written = await _written(source, stores.warehouse, load, parsing)
            parsed = await parsing.result()
            _check(source, parsed)
        except FormatError as problem:
            raise RefusedError(problem, document, parsing.rejects) from problem
    found = await _found(source, stores.warehouse, load)
    if not written == dict(parsed.rows) == found:
        said = f"{dict(parsed.rows)} rows were read, the warehouse wrote {written} and holds {found}: is its disk full?"
        raise StoreError(f"load {load.load_id} of {document.name}: {said}")
    return parsed


async def _found(source: Batch, warehouse: Warehouse, load: Load) -> dict[str, int]:
    """How many rows of the load the warehouse really holds, by dataset."""
    values = {"load_id": load.load_id}
    return {
        one.name: int((await warehouse.rows(f"SELECT count() FROM {one.name} WHERE {MINE}", values)).rows[0][0])
        for one in source.datasets
    }


async def _written(source: Batch, warehouse: Warehouse, load: Load, parsing: ParseSession) -> dict[str, int]:
    inserts = {
        one.name: warehouse.insert_stream(one, parsing.columns(one.name), token=f"load-{load.load_id}-{one.name}")
        for one in source.datasets
    }
    try:
        return await together(inserts, prefix=f"load {load.load_id} into ")
    except StoreError:
        await _blame(parsing)
        raise


async def _blame(parsing: ParseSession) -> None:
    """Raise the document's own fault, if it has one: an insert whose stream broke off fails too, but only follows."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await parsing.result()


def _check(source: Batch, parsed: ParseResult) -> None:
    rejects = len(parsed.rejects)
    if rejects > source.rejects_allowed * max(parsed.lines, 1):
        one, allowed = parsed.rejects[0], f"{source.name} allows {source.rejects_allowed:.2%}"
        said = f"{rejects} of {parsed.lines} lines could not be understood; {allowed}"
        raise FormatError(f"{said}; the first: {one.reason}", member=one.member, line=one.line)
    for dataset in source.datasets:
        rows, (fewest, most) = parsed.rows.get(dataset.name, 0), dataset.rhythm.rows
        if not fewest <= rows <= most:
            raise FormatError(f"{rows} rows for {dataset.name}, where {fewest} to {most} are plausible")
