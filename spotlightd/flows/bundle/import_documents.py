"""The import of documents: stored under their SHA-256, parsed by this instance's own parser, compared, published.

The rows in the bundle are not loaded. Every row of an instance is what its own parser finds in the bytes, and an import
is no exception: no Parquet file of another instance is ever opened, and later audits and citations rest on bytes that
are here. The bundle's rows are only a claim, which the import compares with its own rows by the fingerprint of each
load. When the same parser version finds other rows, nothing is published.

Loads are published the usual way, so a kill at any step neither loses nor doubles rows: the next run finds what was
published by its digest and parser, and starts over with the rest. An import adds rows. It replaces only documents that
were fetched earlier: a document for the same slice that was fetched later, or one for a larger slice, stays visible.
The next look asks the publisher of each replaced document again, and what it then serves becomes visible.
The record of the document says that it came in a bundle and was not fetched here (`via`).
"""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from spotlightd.errors import FormatError
from spotlightd.flows.bundle.outcome import ImportOutcome, make_outcome, require_same_rows
from spotlightd.flows.bundle.select import fingerprint_load
from spotlightd.flows.loads.context import IngestContext
from spotlightd.flows.loads.load import load_document
from spotlightd.flows.loads.publish import replaces
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Manifest, PackedLoad, document_name
from spotlightd.model.provenance import Document, Load, Run
from spotlightd.model.source import Batch, Link, Period
from spotlightd.ports.ledger import KnownAddress
from spotlightd.ports.storage import OpenBundle
from spotlightd.sql.days import period_of
from spotlightd.sql.tiers import Archives

MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class DocumentImporter:
    """Imports documents one at a time. Its user holds the lock of the state folder."""

    context: IngestContext
    archives: Archives
    manifest: Manifest

    async def import_document(
        self, source: Batch, packed: PackedLoad, document: Document, bundle: OpenBundle
    ) -> ImportOutcome:
        """Load and publish one document of the bundle, or return the reason why not."""
        visible = await self.context.ledger.related_loads(source.name, document.covers, packed.digest)
        twin = next((load for load in visible if (load.digest, load.parser) == (packed.digest, source.parser)), None)
        if twin is not None:
            return make_outcome(source, packed, await self._fingerprints(source, twin.load_id), "here")
        replaced = [
            load for load in visible if load.digest != document.digest and _overlap(load.covers, document.covers)
        ]
        for load in replaced:
            if reason := await self._reason_to_stay(load, document):
                return ImportOutcome(source.name, packed.covers, "older", detail=reason)
        await self._refetch(source, {load.digest for load in replaced})
        return await self._load(source, packed, document, bundle)

    async def _reason_to_stay(self, visible: Load, document: Document) -> str:
        """Why the visible load stays; empty when the document may replace it."""
        if visible.covers != document.covers and replaces(visible.covers, document.covers):
            return f"this instance shows a document for all of {visible.covers}"
        stored = await self.context.ledger.document(visible.digest)
        if stored is not None and stored.fetched_at < document.fetched_at:
            return ""
        when = f"{stored.fetched_at:%Y-%m-%d %H:%M}" if stored else "at an unknown time"
        return (
            f"the document shown here for {visible.covers} was fetched {when},"
            f" the bundle's {document.fetched_at:%Y-%m-%d %H:%M}"
        )

    async def _refetch(self, source: Batch, digests: AbstractSet[str]) -> None:
        """Make the addresses of replaced documents due: what the publisher serves now outranks what a bundle holds.
        This happens before anything is replaced, so a crash cannot lose it.
        """
        for known in await self.context.ledger.addresses_of(source.name, digests):
            new = KnownAddress(known.url, known.covers, first_fetched_at=known.first_fetched_at)
            await self.context.ledger.save_address(source.name, new)

    async def _load(self, source: Batch, packed: PackedLoad, document: Document, bundle: OpenBundle) -> ImportOutcome:
        started = time.monotonic()
        stored = await self.context.documents.put(bundle.read(document_name(packed.digest)))
        if stored.digest != packed.digest:
            raise FormatError(f"document {packed.digest} of the bundle has another SHA-256: get the bundle again")
        await self.context.ledger.save_document(replace(document, via=self._via(document)))
        period = _find_period(source, packed)
        link = Link(document.url, document.covers, period.first, period.last)

        fingerprints: dict[str, Fingerprint] = {}

        async def prove(begun: Load) -> None:
            fingerprints.update(await self._fingerprints(source, begun.load_id))
            require_same_rows(source, packed, fingerprints)

        result = await load_document(source, self.context, link, document, proof=prove)
        if result.outcome == "refused":
            outcome = ImportOutcome(source.name, packed.covers, "refused", detail=result.error)
            await self._record(document, outcome, result.rejects, started)
            return outcome
        if result.outcome != "published":
            detail = "the same rows are here from another document"
            return ImportOutcome(source.name, packed.covers, "here", detail=detail)
        outcome = make_outcome(source, packed, fingerprints, "imported")
        await self._record(document, outcome, result.rejects, started)
        return outcome

    async def _fingerprints(self, source: Batch, load_id: int) -> dict[str, Fingerprint]:
        warehouse = self.context.warehouse
        return {
            dataset.name: await fingerprint_load(warehouse, dataset, load_id, self.archives)
            for dataset in source.datasets
        }

    def _via(self, document: Document) -> str:
        earlier = f", which got it from {document.via}" if document.via else ""
        return f"a bundle that another instance made on {self.manifest.created_at:%Y-%m-%d}{earlier}"[:MOST_CHARACTERS]

    async def _record(self, document: Document, outcome: ImportOutcome, rejects: int, started: float) -> None:
        is_refused = outcome.status == "refused"
        await self.context.ledger.record(
            Run(
                at=datetime.now(UTC), source=document.source, url=document.url, covers=document.covers,
                outcome="refused" if is_refused else "published", digest=document.digest, rows=outcome.rows,
                rejects=rejects, bytes=document.size, seconds=round(time.monotonic() - started, 6), error=outcome.detail,
            )
        )  # fmt: skip


def _find_period(source: Batch, packed: PackedLoad) -> Period:
    """The days of the document's rows in the bundle. A row of another day was not loaded there, and is not loaded here."""
    periods = [
        period_of(dataset, packed.rows[dataset.name])
        for dataset in source.datasets
        if dataset.name in packed.rows and packed.rows[dataset.name].rows
    ]
    if not periods:
        raise FormatError(f"the bundle has no row of the document for {packed.covers}")
    return Period(min(period.first for period in periods), max(period.last for period in periods))


def _overlap(first: str, second: str) -> bool:
    """Whether one of two slices is the other, or a part of it."""
    return replaces(first, second) or replaces(second, first)
