"""The import of a bundle: every check that needs no data comes first, then each load is imported, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spotlightd.flows.bundle.check import check_manifest, check_stream
from spotlightd.flows.bundle.import_documents import DocumentImporter
from spotlightd.flows.bundle.import_frames import FrameImporter
from spotlightd.flows.bundle.outcome import ImportOutcome
from spotlightd.flows.loads.context import IngestContext
from spotlightd.flows.stream.replay import Replay
from spotlightd.model.bundle import PackedLoad
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.ports.ledger import Positions
from spotlightd.ports.progress import Progress
from spotlightd.ports.storage import OpenBundle
from spotlightd.sql.tiers import Archives


@dataclass(frozen=True, slots=True)
class ImportContext:
    """The clients of an import. Its user holds the lock of the state folder, and no daemon runs."""

    feeds: Mapping[str, Batch | Stream]
    ingest: IngestContext
    archives: Archives
    positions: Positions
    replay: Callable[[Stream], Replay]


async def import_bundle(context: ImportContext, bundle: OpenBundle, progress: Progress) -> list[ImportOutcome]:
    """Import each load and return the outcomes. SettingsError and FormatError come before anything is stored.
    StoreError may come at any step: run the import again.
    """
    loads = bundle.manifest.loads
    check_manifest(bundle.manifest, context.feeds)
    for name in sorted({packed.source for packed in loads if packed.frames}):
        await check_stream(name, context.positions)
    outcomes = []
    for done, packed in enumerate(loads):
        progress(packed.covers, done, len(loads))
        outcomes.append(await _import_load(context, packed, bundle))
    return outcomes


async def _import_load(context: ImportContext, packed: PackedLoad, bundle: OpenBundle) -> ImportOutcome:
    source = context.feeds[packed.source]
    if isinstance(source, Stream) and packed.frames:
        frames = FrameImporter(source, context.ingest, context.archives, context.replay(source))
        return await frames.import_part(packed, packed.frames, bundle)
    if isinstance(source, Batch) and packed.document:
        documents = DocumentImporter(context.ingest, context.archives, bundle.manifest)
        return await documents.import_document(source, packed, packed.document, bundle)
    raise AssertionError(f"{packed.source} passed the check of the manifest")
