"""Two instances, and a bundle that goes from one to the other: real files, real tables, constructed sources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd.clients.bundle import BundleWriter, open_bundle
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.flows.bundle import importer, select
from spotlightd.flows.bundle.outcome import ImportOutcome
from spotlightd.flows.bundle.select import DayRange
from spotlightd.flows.bundle.writer import write_bundle
from spotlightd.flows.loads.context import IngestContext
from spotlightd.flows.stream.decode import make_decoder
from spotlightd.flows.stream.parts import Parts
from spotlightd.flows.stream.replay import Replay
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Manifest
from spotlightd.model.dataset import Column, Dataset
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.sql.visibility import Snapshot
from spotlightd.workers.verifying.parquet import fingerprint_file

EVERY = DayRange(date.min, date.max)


class InlineVerifier:
    """What the verifier's child does, in this process: a test that ends the archiver a hundred times cannot start so many."""

    def keep(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        return fingerprint_file(path, columns, time)


def ignore_progress(_step: str, _done: int, _total: int) -> None:
    """Progress that no test looks at."""


@dataclass
class BundleTransfer:
    """Exports and imports bundles at one instance."""

    context: IngestContext
    positions: Any
    feeds: Mapping[str, Batch | Stream]
    folder: Path
    replay: Any = None
    archives: Archives = field(default_factory=NoArchives)

    async def export(self, dataset: Dataset, path: Path, days: DayRange = EVERY) -> Manifest:
        context = select.ExportContext(
            self.context.warehouse, self.context.documents, self.context.ledger, self.positions, self.archives,
            InlineVerifier(), self.feeds, self.folder,
        )  # fmt: skip
        selection = await select.select_loads(context, dataset, days, await self._snapshot())
        async with BundleWriter(path) as writer:
            manifest = await write_bundle(context, selection, "tests", writer, ignore_progress)
            await writer.finish(manifest)
        return manifest

    async def import_file(self, path: Path) -> list[ImportOutcome]:
        context = importer.ImportContext(self.feeds, self.context, self.archives, self.positions, self.replay)
        async with open_bundle(path, ignore_progress) as bundle:
            return await importer.import_bundle(context, bundle, ignore_progress)

    async def _snapshot(self) -> Snapshot:
        seq = (await self.context.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0]
        return Snapshot(seq, archived=self.archives.archived)


def statuses(outcomes: list[ImportOutcome]) -> dict[str, str]:
    return {outcome.covers: outcome.status for outcome in outcomes}


@asynccontextmanager
async def document_transfer(world: Any, source: Batch, fuse: Any = None) -> AsyncIterator[BundleTransfer]:
    """The transfer of a world of documents, as after a start."""
    async with world.stores(fuse) as stores:
        positions = SqlitePositions(stores.ledger)
        yield BundleTransfer(stores, positions, {source.name: source}, world.folder)


@asynccontextmanager
async def stream_transfer(
    world: Any, source: Stream, fuse: Any = None, archives: Archives | None = None
) -> AsyncIterator[BundleTransfer]:
    """The transfer of a world of streams, as after a start."""
    archives = archives or NoArchives()
    async with world.stores(fuse) as stores:

        def make_replay(stream: Stream) -> Replay:
            parts = Parts(stores.ledger, stores.publications, stores.positions)
            decoder = make_decoder(stream, stores.warehouse, world.parser, world.folder, archives)
            replay: Replay = replace(stores.replay(stream), parts=parts, decoder=decoder)
            return replay

        documents: Any = None
        context = IngestContext(documents, stores.ledger, stores.warehouse, world.parser, stores.publications)
        yield BundleTransfer(context, stores.positions, {source.name: source}, world.folder, make_replay, archives)
