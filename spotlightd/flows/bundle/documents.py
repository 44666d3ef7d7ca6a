"""The import of documents: kept under their SHA-256, read again by this instance's own parser, compared, published.

Why the bundle's own rows are not taken: a row here is what our parser finds in the bytes, and an import is no
exception. So nothing of somebody else's Parquet is ever opened, what is audited and cited afterwards rests on bytes
that are here, and the rows of the bundle are what they can be: a claim, which is held against our own by the fingerprint
of each load. Where the parser is of the same version and the rows are others, nothing is published.

Publication is the usual one, so a kill at any step loses and doubles nothing: what was published is found by its digest
and parser when the import is run again, and what was not is begun anew. An import adds, and replaces only what was
fetched earlier: a document for the same slice that was fetched later, or one for a larger slice, stays what is shown.
That a document came in a bundle and was not fetched here stands in its record (`via`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from spotlightd.flows.bundle.choose import mark_of
from spotlightd.flows.bundle.words import Brought, difference, rows_of
from spotlightd.flows.load import RefusedError, Stores, load
from spotlightd.flows.publish import current, replaces
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Manifest, Opened, Packed, document_name
from spotlightd.model.cold import Archives
from spotlightd.model.errors import FormatError
from spotlightd.model.provenance import Document, Load, Run
from spotlightd.model.source import Batch, Link

MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Bringing:
    """Imports documents. One at a time, by the holder of the state folder's lock."""

    stores: Stores
    archives: Archives
    manifest: Manifest

    async def document(self, source: Batch, packed: Packed, document: Document, bundle: Opened) -> Brought:
        """One document of the bundle, loaded and published, or the reason why not."""
        published = await self.stores.ledger.loads(source.name, states=("published",))
        shown = current(published)
        known = next((one for one in shown if (one.digest, one.parser) == (packed.digest, source.parser)), None)
        if known is not None:
            return await self._known(source, packed, known)
        if rival := await self._rival(shown, document):
            return Brought(source.name, packed.covers, "older", says=rival)
        return await self._brought(source, packed, document, bundle)

    async def _known(self, source: Batch, packed: Packed, known: Load) -> Brought:
        found = await self._marks(source, known.load_id)
        if says := difference(packed, found):
            return Brought(source.name, packed.covers, "differs", says=says)
        return Brought(source.name, packed.covers, "here", rows_of(found))

    async def _rival(self, shown: list[Load], document: Document) -> str:
        """Why what is shown here stays; empty when nothing is in the way."""
        for one in shown:
            if one.digest == document.digest:
                continue
            if one.covers != document.covers and replaces(one.covers, document.covers):
                return f"a document for all of {one.covers} is shown here"
            kept = await self.stores.ledger.document(one.digest) if replaces(document.covers, one.covers) else None
            if kept is not None and kept.fetched_at >= document.fetched_at:
                return (
                    f"what is shown here for {one.covers} was fetched {kept.fetched_at:%Y-%m-%d %H:%M}, the bundle's"
                    f" {document.fetched_at:%Y-%m-%d %H:%M}"
                )
        return ""

    async def _brought(self, source: Batch, packed: Packed, document: Document, bundle: Opened) -> Brought:
        began = time.monotonic()
        stored = await self.stores.documents.put(bundle.read(document_name(packed.digest)))
        if stored.digest != packed.digest:
            raise FormatError(f"document {packed.digest} of the bundle has another SHA-256: have it sent to you again")
        await self.stores.ledger.keep_document(replace(document, via=self._via(document)))
        link = Link(document.url, document.covers, self.manifest.first, self.manifest.last)

        async def proof(begun: Load) -> None:
            says = difference(packed, await self._marks(source, begun.load_id))
            if says and packed.parser == source.parser:
                raise FormatError(says)

        try:
            result = await load(source, self.stores, link, document, proof=proof)
        except RefusedError as refused:
            brought = Brought(source.name, packed.covers, "refused", says=str(refused))
            await self._record(document, brought, len(refused.rejects), began)
            return brought
        brought = await self._compared(source, packed, result.rows)
        await self._record(document, brought, result.rejects, began)
        return brought

    async def _compared(self, source: Batch, packed: Packed, rows: int) -> Brought:
        """What is published now, beside what the bundle says: only another version of the parser may find other rows."""
        if packed.parser == source.parser:
            return Brought(source.name, packed.covers, "imported", rows)
        shown = current(await self.stores.ledger.loads(source.name, states=("published",)))
        mine = next(one for one in shown if (one.digest, one.parser) == (packed.digest, source.parser))
        says = difference(packed, await self._marks(source, mine.load_id))
        if not says:
            return Brought(source.name, packed.covers, "imported", rows)
        says = f"read by version {source.parser} of the parser here, by {packed.parser} there: {says}"
        return Brought(source.name, packed.covers, "differs", rows, says)

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
