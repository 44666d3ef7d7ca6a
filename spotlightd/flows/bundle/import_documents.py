"""The import of documents: kept under their SHA-256, read again by this instance's own parser, compared, published.

Why the bundle's own rows are not taken: a row here is what our parser finds in the bytes, and an import is no
exception. So nothing of somebody else's Parquet is ever opened, what is audited and cited afterwards rests on bytes
that are here, and the rows of the bundle are what they can be: a claim, which is held against our own by the fingerprint
of each load. Where the parser is of the same version and the rows are others, nothing is published.

Publication is the usual one, so a kill at any step loses and doubles nothing: what was published is found by its digest
and parser when the import is run again, and what was not is begun anew. An import adds, and replaces only what was
fetched earlier: a document for the same slice that was fetched later, or one for a larger slice, stays what is shown.
The publisher of what was replaced is asked anew at the next look, and what it then serves is shown.
That a document came in a bundle and was not fetched here stands in its record (`via`).
"""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from spotlightd.errors import FormatError
from spotlightd.flows.bundle.outcome import Brought, hold, told
from spotlightd.flows.bundle.select import mark_of
from spotlightd.flows.loads.load import IngestContext, RefusedError, load
from spotlightd.flows.loads.publish import current, replaces
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Manifest, Opened, Packed, document_name
from spotlightd.model.provenance import Document, Load, Run
from spotlightd.model.source import Batch, Link
from spotlightd.ports.ledger import Known
from spotlightd.sql.tiers import Archives

MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Bringing:
    """Imports documents. One at a time, by the holder of the state folder's lock."""

    stores: IngestContext
    archives: Archives
    manifest: Manifest

    async def document(self, source: Batch, packed: Packed, document: Document, bundle: Opened) -> Brought:
        """One document of the bundle, loaded and published, or the reason why not."""
        published = await self.stores.ledger.loads(source.name, states=("published",))
        shown = current(published)
        known = next((one for one in shown if (one.digest, one.parser) == (packed.digest, source.parser)), None)
        if known is not None:
            return told(source, packed, await self._marks(source, known.load_id), "here")
        replaced = [one for one in shown if one.digest != document.digest and _meet(one.covers, document.covers)]
        for one in replaced:
            if says := await self._newer(one, document):
                return Brought(source.name, packed.covers, "older", says=says)
        await self._ask_again(source, {one.digest for one in replaced})
        return await self._brought(source, packed, document, bundle)

    async def _newer(self, shown: Load, document: Document) -> str:
        """Why what is shown here stays; empty when the document may take its place."""
        if shown.covers != document.covers and replaces(shown.covers, document.covers):
            return f"a document for all of {shown.covers} is shown here"
        kept = await self.stores.ledger.document(shown.digest)
        if kept is not None and kept.fetched_at < document.fetched_at:
            return ""
        when = f"{kept.fetched_at:%Y-%m-%d %H:%M}" if kept else "nobody knows when"
        return f"what is shown here for {shown.covers} was fetched {when}, the bundle's {document.fetched_at:%Y-%m-%d %H:%M}"

    async def _ask_again(self, source: Batch, digests: AbstractSet[str]) -> None:
        """Have the publisher asked anew for what is to be replaced: what it serves now stands above what a bundle says.
        Before anything is replaced, so that no crash lets it be forgotten.
        """
        for one in (await self.stores.ledger.known(source.name)).values():
            if one.digest in digests:
                await self.stores.ledger.answered(source.name, Known(one.url, one.covers, first_seen=one.first_seen))

    async def _brought(self, source: Batch, packed: Packed, document: Document, bundle: Opened) -> Brought:
        began = time.monotonic()
        stored = await self.stores.documents.put(bundle.read(document_name(packed.digest)))
        if stored.digest != packed.digest:
            raise FormatError(f"document {packed.digest} of the bundle has another SHA-256: have it sent to you again")
        await self.stores.ledger.keep_document(replace(document, via=self._via(document)))
        link = Link(document.url, document.covers, self.manifest.first, self.manifest.last)

        found: dict[str, Fingerprint] = {}

        async def proof(begun: Load) -> None:
            found.update(await self._marks(source, begun.load_id))
            hold(source, packed, found)

        try:
            result = await load(source, self.stores, link, document, proof=proof)
        except RefusedError as refused:
            brought = Brought(source.name, packed.covers, "refused", says=str(refused))
            await self._record(document, brought, len(refused.rejects), began)
            return brought
        brought = told(source, packed, found, "imported")
        await self._record(document, brought, result.rejects, began)
        return brought

    async def _marks(self, source: Batch, load_id: int) -> dict[str, Fingerprint]:
        warehouse = self.stores.warehouse
        return {one.name: await mark_of(warehouse, one, load_id, self.archives) for one in source.datasets}

    def _via(self, document: Document) -> str:
        before = f", where it came by {document.via}" if document.via else ""
        return f"a bundle that another instance made on {self.manifest.made_at:%Y-%m-%d}{before}"[:MOST_CHARACTERS]

    async def _record(self, document: Document, brought: Brought, rejects: int, began: float) -> None:
        refused = brought.came == "refused"
        await self.stores.ledger.record(
            Run(
                at=datetime.now(UTC), source=document.source, url=document.url, covers=document.covers,
                outcome="refused" if refused else "published", digest=document.digest, rows=brought.rows,
                rejects=rejects, bytes=document.size, seconds=round(time.monotonic() - began, 6), error=brought.says,
            )
        )  # fmt: skip


def _meet(shown: str, coming: str) -> bool:
    """Whether one of two slices is the other, or a part of it."""
    return replaces(shown, coming) or replaces(coming, shown)
