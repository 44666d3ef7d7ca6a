"""How a command reaches the stores: through the running daemon when there is one, by opening them itself when not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.errors import SettingsError, StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Limits, Warehouse
from spotlightd.query import filters
from spotlightd.query.errors import HttpProblem
from spotlightd.query.reader import Reader
from spotlightd.runtime.catalog import Catalog, catalog
from spotlightd.runtime.endpoint import running_daemon
from spotlightd.runtime.instance import LEDGER_FILE, Instance, bucket_of, documents_of, joined, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sql.tiers import Archives
from spotlightd.sql.visibility import Snapshot

REFRESH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading command needs. `house` is set when the command opened the stores itself."""

    warehouse: Warehouse
    documents: Documents
    catalog: Catalog
    archives: Archives
    house: Instance | None = None

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (*self.catalog.datasets, *SYSTEM_DATASETS)


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Reading]:
    """The stores for a command that only reads. SettingsError when there is no such state folder."""
    if not settings.state_dir.is_dir():
        raise SettingsError(
            f"there is no state folder {settings.state_dir}: name the daemon's with --state or --config"
        )
    endpoint = running_daemon(settings)
    if endpoint is None:
        async with open_instance(settings) as house:
            yield Reading(house.stores.warehouse, house.stores.documents, house.catalog, house.archives, house)
        return
    async with joined(endpoint, settings) as warehouse:
        found, (bucket, _) = catalog(settings), bucket_of(settings)
        archives = WarehouseArchives(warehouse, (*found.datasets, *SYSTEM_DATASETS), bucket.table)
        await archives.refresh()
        documents = documents_of(settings, bucket)  # its folder is the daemon's: it is only read here, so not entered
        async with bucket, documents.cache, _kept_up(archives):
            yield Reading(warehouse, documents, found, archives)


@asynccontextmanager
async def _kept_up(archives: WarehouseArchives) -> AsyncIterator[None]:
    """The daemon goes on archiving beside a command that takes hours: what it switches is known here well before it
    drops it. A look that fails is repeated; should the warehouse be away for long, every question fails as well.
    """

    async def look() -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            with suppress(StoreError):
                await archives.refresh()

    task = asyncio.create_task(look(), name="index of the archive")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def ledger_beside(settings: Settings) -> AsyncIterator[SqliteLedger]:
    """The running daemon's ledger, to queue a job or to read the state of one."""
    async with SqliteLedger(settings.state_dir / LEDGER_FILE) as ledger:
        yield ledger


PATIENCE_SECONDS = 60.0


def reader(warehouse: Warehouse, archives: Archives) -> Reader:
    """A reader of one command: no limits but the warehouse's own."""
    return Reader(warehouse, Limits(), asyncio.Semaphore(4), PATIENCE_SECONDS, archives)


async def pinned(warehouse: Warehouse, archives: Archives, asked: datetime | None) -> Snapshot:
    """The publication that this command's queries share."""
    return await reader(warehouse, archives).pin(None, asked)


def moment_of(text: str) -> datetime | None:
    """The time of `--as-of`; None without one. SettingsError with a sentence."""
    try:
        return filters.parse_as_of("--as-of", text) if text else None
    except HttpProblem as refusal:
        raise SettingsError(f"{refusal.says} {refusal.remedy}") from None


def understood(dataset: Dataset, pairs: Sequence[tuple[str, str]]) -> filters.Question:
    """Conditions as in an address of the explorer. SettingsError with a sentence."""
    try:
        return filters.parse_question(dataset, pairs)
    except HttpProblem as refusal:
        raise SettingsError(f"{refusal.says} {refusal.remedy}") from None


def names(datasets: Sequence[Dataset]) -> str:
    return ", ".join(one.name for one in datasets)
