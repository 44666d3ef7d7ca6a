"""Which documents need not be loaded: their rows are visible already, or must not be."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from spotlightd.errors import StoreError
from spotlightd.flows.loads.context import Candidate, IngestContext, IngestResult
from spotlightd.flows.loads.publish import find_whole
from spotlightd.model.provenance import Document, Load
from spotlightd.model.source import Batch
from spotlightd.sql.visibility import all_rows


async def judge_documents(
    source: Batch, context: IngestContext, candidates: Sequence[Candidate]
) -> list[IngestResult | None]:
    """The result of each document that need not be loaded; None for one that is new.

    `unchanged` when its rows are visible already, from these bytes or from the same files in another wrapper; `covered`
    when a document for a larger slice is visible, which has them: then the part is not loaded, whichever came first.
    """
    concerned = [(candidate.document.digest, candidate.link.covers) for candidate in candidates]
    related = await context.ledger.related_groups(source.name, concerned)
    return [
        await _judge(source, context, candidate, loads) for candidate, loads in zip(candidates, related, strict=True)
    ]


async def _judge(
    source: Batch, context: IngestContext, candidate: Candidate, current: Sequence[Load]
) -> IngestResult | None:
    link, document = candidate.link, candidate.document
    visible = [load for load in current if load.digest != document.digest or not await _is_lost(source, context, load)]
    if find_whole(link.covers, visible):
        return IngestResult(link, "covered")
    twins = [load for load in visible if (load.digest, load.parser) == (document.digest, source.parser)]
    if any(load.covers == link.covers for load in twins):
        return IngestResult(link, "unchanged")
    twin = next((load for load in twins if load.has_rows), None)
    if twin is not None:
        message = f"the same bytes as the document for {twin.covers}: one of the two has the wrong name"
        return IngestResult(link, "refused", error=message, is_final=False)
    earlier = next((load for load in visible if (load.covers, load.parser) == (link.covers, source.parser)), None)
    if earlier is not None and await _is_rewrapped(source, context, earlier, document):
        return IngestResult(link, "unchanged")
    return None


async def _is_lost(source: Batch, context: IngestContext, load: Load) -> bool:
    """Whether a published load has fewer rows than it had: its table was made again. Then it is loaded once more."""
    for dataset in source.datasets:
        rows = all_rows(dataset, context.archives.archived)
        sql = f"SELECT count() FROM {rows} WHERE load_id = {{load_id:UInt64}}"
        stored = (await context.warehouse.rows(sql, {"load_id": load.load_id})).rows[0][0]
        if stored < load.rows.get(dataset.name, 0):
            return True
    return False


async def _is_rewrapped(source: Batch, context: IngestContext, visible: Load, document: Document) -> bool:
    """Whether the document is the archive of a visible load, packed anew: the same files, and no new version of them. Their
    names count only if the source says that they mean something.
    """
    new = await _digest_content(source, context, document.digest)
    with suppress(StoreError):  # the older archive is not there to compare: then this one is loaded, and replaces it
        return bool(new) and new == await _digest_content(source, context, visible.digest)
    return False


async def _digest_content(source: Batch, context: IngestContext, digest: str) -> str:
    async with context.documents.file(digest) as path:
        words = (await context.parser.content_digest(path, digest)).split()
    return words[1 if source.names_matter else 0] if words else ""
