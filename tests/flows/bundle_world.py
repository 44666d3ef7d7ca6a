"""Two instances, and a bundle that goes from one to the other: real files, real tables, constructed sources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd.clients.bundle import BundlePen, opened_bundle
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.flows.bundle import importer, select
from spotlightd.flows.bundle.outcome import Brought
from spotlightd.flows.bundle.select import Days
from spotlightd.flows.bundle.writer import pack
from spotlightd.flows.loads.load import IngestContext
from spotlightd.flows.stream.decode import decoder_of
from spotlightd.flows.stream.parts import Parts
from spotlightd.flows.stream.replay import Replay
from spotlightd.model.bundle import Manifest
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.sql.visibility import Snapshot
from spotlightd.workers.parquet import fingerprint

EVERY = Days(date.min, date.max)


class HereVerifier:
    """What the child does, without a child."""

    async def fingerprint(self, path: Path, columns: Any, time: str) -> Any:
        return fingerprint(path, columns, time, 1)


def nothing(_says: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@dataclass
class Desk:
    """Where bundles are made and opened at one instance."""

    stores: IngestContext
    positions: Any
    feeds: Mapping[str, Batch | Stream]
    folder: Path
    replay: Any = None
    archives: Archives = field(default_factory=NoArchives)

    async def bundle(self, dataset: Dataset, path: Path, days: Days = EVERY) -> Manifest:
        stores = self.stores
        means = select.ExportContext(
            stores.warehouse, stores.documents, stores.ledger, self.positions, self.archives, HereVerifier(), self.feeds,
            self.folder,
        )  # fmt: skip
        choice = await select.choose(means, dataset, days, await self._pin())
        async with BundlePen(path) as pen:
            made = await pack(means, choice, "tests", pen, nothing)
            await pen.keep(made)
        return made

    async def bring(self, path: Path) -> list[Brought]:
        means = importer.ImportContext(self.feeds, self.stores, self.archives, self.positions, self.replay)
        async with opened_bundle(path, nothing) as found:
            return await importer.bring(means, found, nothing)

    async def _pin(self) -> Snapshot:
        seq = (await self.stores.warehouse.rows("SELECT max(seq) FROM loads")).rows[0][0]
        return Snapshot(seq, cold=self.archives.cold)


def came(brought: list[Brought]) -> dict[str, str]:
    return {one.covers: one.came for one in brought}


@asynccontextmanager
async def desk_of(world: Any, source: Batch, fuse: Any = None) -> AsyncIterator[Desk]:
    """The desk of a world of documents, as after a start."""
    async with world.stores(fuse) as stores:
        positions = SqlitePositions(stores.ledger)
        yield Desk(stores, positions, {source.name: source}, world.folder)


@asynccontextmanager
async def stream_desk(
    world: Any, source: Stream, fuse: Any = None, archives: Archives | None = None
) -> AsyncIterator[Desk]:
    """The desk of a world of streams, as after a start."""
    cold = archives or NoArchives()
    async with world.stores(fuse) as stores:

        def replay(one: Stream) -> Replay:
            parts = Parts(stores.ledger, stores.publications, stores.positions)
            decoder = decoder_of(one, stores.warehouse, world.parser, world.folder, cold)
            made: Replay = replace(stores.replay(one), parts=parts, decoder=decoder)
            return made

        documents: Any = None
        mine = IngestContext(documents, stores.ledger, stores.warehouse, world.parser, stores.publications)
        yield Desk(mine, stores.positions, {source.name: source}, world.folder, replay, cold)
