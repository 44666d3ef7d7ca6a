"""The import of a bundle: all that can be known is asked first, then each load is brought, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spotlightd.flows.bundle.check import check, check_stream
from spotlightd.flows.bundle.import_documents import Bringing
from spotlightd.flows.bundle.import_frames import Receiving
from spotlightd.flows.bundle.outcome import Brought
from spotlightd.flows.loads.load import IngestContext
from spotlightd.flows.stream.replay import Replay
from spotlightd.model.bundle import Opened, Packed
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.ports.ledger import Positions
from spotlightd.ports.progress import Progress
from spotlightd.sql.tiers import Archives


@dataclass(frozen=True, slots=True)
class ImportContext:
    """What an import works with: by the holder of the state folder's lock, while no daemon is at work."""

    feeds: Mapping[str, Batch | Stream]
    stores: IngestContext
    archives: Archives
    positions: Positions
    replay: Callable[[Stream], Replay]


async def bring(means: ImportContext, bundle: Opened, moves: Progress) -> list[Brought]:
    """What became of each load. SettingsError and FormatError before anything is kept, StoreError in between: run it again."""
    loads = bundle.manifest.loads
    check(bundle.manifest, means.feeds)
    for name in sorted({one.source for one in loads if one.frames}):
        await check_stream(name, means.positions)
    brought = []
    for done, packed in enumerate(loads):
        moves(packed.covers, done, len(loads))
        brought.append(await _one(means, packed, bundle))
    return brought


async def _one(means: ImportContext, packed: Packed, bundle: Opened) -> Brought:
    source = means.feeds[packed.source]
    if isinstance(source, Stream) and packed.frames:
        receiving = Receiving(source, means.stores, means.archives, means.replay(source))
        return await receiving.part(packed, packed.frames, bundle)
    if isinstance(source, Batch) and packed.document:
        bringing = Bringing(means.stores, means.archives, bundle.manifest)
        return await bringing.document(source, packed, packed.document, bundle)
    raise AssertionError(f"{packed.source} was checked")
