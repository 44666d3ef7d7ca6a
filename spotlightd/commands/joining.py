"""How a command reaches the stores: through the running daemon when there is one, by opening them itself when not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from spotlightd.catalog import Catalog, catalog
from spotlightd.clients.archives import WarehouseArchives
from spotlightd.clients.ledger import SqliteLedger
from spotlightd.daemon import ENDPOINT
from spotlightd.model.cold import Archives
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import SettingsError, StoreError
from spotlightd.model.house import HOUSE
from spotlightd.model.ports import Documents, Warehouse
from spotlightd.model.settings import Settings
from spotlightd.opening import LEDGER_FILE, Endpoint, House, born, bucket_of, documents_of, joined, opened

REFRESH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading command needs. `house` is set when the command opened the stores itself."""

    warehouse: Warehouse
    documents: Documents
    catalog: Catalog
    archives: Archives
    house: House | None = None

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (*self.catalog.datasets, *HOUSE)


def running_daemon(settings: Settings) -> Endpoint | None:
    """Where the daemon of this state folder answers; None when none runs."""
    path = settings.state_dir / ENDPOINT
    try:
        endpoint = Endpoint(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise SettingsError(f"{path} belongs to another user: run this command as the daemon's user") from None
    except (ValueError, TypeError):
        raise SettingsError(f"{path} was not written by this release: stop the daemon, or ask with its own") from None
    return endpoint if endpoint.born and endpoint.born == born(endpoint.pid) else None


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Reading]:
    """The stores for a command that only reads. SettingsError when there is no such state folder."""
    if not settings.state_dir.is_dir():
        raise SettingsError(
            f"there is no state folder {settings.state_dir}: name the daemon's with --state or --config"
        )
    endpoint = running_daemon(settings)
    if endpoint is None:
        async with opened(settings) as house:
            yield Reading(house.stores.warehouse, house.stores.documents, house.catalog, house.archives, house)
        return
    async with joined(endpoint, settings) as warehouse:
        found, (bucket, _) = catalog(settings), bucket_of(settings)
        archives = WarehouseArchives(warehouse, (*found.datasets, *HOUSE), bucket.table)
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
    """The running daemon's ledger, to leave a wish in it or to read how far one is."""
    async with SqliteLedger(settings.state_dir / LEDGER_FILE) as ledger:
        yield ledger
