"""How a command reaches the stores: through the running daemon, or by opening the state folder itself when none runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.engine.lock import require_own_folder
from spotlightd.errors import SettingsError, StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Limits, Warehouse
from spotlightd.query import filters, question
from spotlightd.query.errors import HttpProblem
from spotlightd.query.reader import Reader
from spotlightd.runtime.catalog import Catalog, load_catalog
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import LEDGER_FILE, make_bucket, make_documents, make_warehouse, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sql.tiers import Archives
from spotlightd.sql.visibility import Snapshot
from spotlightd.turns import Turns

REFRESH_SECONDS = 30.0
QUERY_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """What a command that only reads needs."""

    warehouse: Warehouse
    documents: Documents
    catalog: Catalog
    archives: Archives

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (*self.catalog.datasets, *SYSTEM_DATASETS)

    def find_dataset(self, name: str) -> Dataset:
        """The dataset with that name. SettingsError when there is none."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        known = ", ".join(dataset.name for dataset in self.datasets)
        raise SettingsError(f"no dataset is called {name!r}; there are: {known}")

    async def take_snapshot(self, as_of: datetime | None = None) -> Snapshot:
        """The publication that all queries of the command share: the newest one, or the newest one at that time."""
        reader = Reader(self.warehouse, Limits(), Turns(4), QUERY_WAIT_SECONDS, archives=self.archives)
        return await reader.snapshot(None, as_of)


@asynccontextmanager
async def open_session(settings: Settings) -> AsyncIterator[Session]:
    """The stores for a command that only reads. SettingsError when the state folder does not exist."""
    require_own_folder(settings.state_dir)
    if not settings.state_dir.is_dir():
        raise SettingsError(
            f"there is no state folder {settings.state_dir}: name the daemon's with --state or --config"
        )
    endpoint = find_daemon(settings)
    if endpoint is None:
        async with open_instance(settings) as instance:
            yield Session(instance.warehouse, instance.documents, instance.catalog, instance.archives)
        return
    async with make_warehouse(endpoint, settings) as warehouse:
        catalog, (bucket, _) = load_catalog(settings), make_bucket(settings)
        archives = WarehouseArchives(warehouse, (*catalog.datasets, *SYSTEM_DATASETS), bucket.table)
        await archives.refresh()
        documents = make_documents(settings, bucket)  # the folder belongs to the daemon: it is read, but not entered
        async with bucket, documents.cache, _refreshing(archives):
            yield Session(warehouse, documents, catalog, archives)


@asynccontextmanager
async def _refreshing(archives: WarehouseArchives) -> AsyncIterator[None]:
    """Reload the archive index while the block runs: the daemon may archive during a command that takes hours.

    What the daemon switches to the bucket is known here well before it drops the original. A reload that fails is
    repeated; if the warehouse stays away, the command's own queries fail as well.
    """

    async def refresh() -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            with suppress(StoreError):
                await archives.refresh()

    task = asyncio.create_task(refresh(), name="index of the archive")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[SqliteLedger]:
    """The ledger of the state folder; a running daemon may have it open too.

    SettingsError beside a daemon of another release: opening the file would migrate it to the schema of this one.
    """
    find_daemon(settings)
    async with SqliteLedger(settings.state_dir / LEDGER_FILE) as ledger:
        yield ledger


def require_ledger(settings: Settings) -> None:
    """SettingsError when the state folder holds no ledger: nothing was ever collected there."""
    if not (settings.state_dir / LEDGER_FILE).exists():
        raise SettingsError(f"there is nothing in {settings.state_dir}: name the state folder with --state")


def parse_as_of(text: str, option: str = "--as-of") -> datetime | None:
    """The time of the option; None when it is empty. SettingsError for anything else than a time."""
    try:
        return filters.parse_as_of(option, text) if text else None
    except HttpProblem as problem:
        raise SettingsError(describe_problem(problem)) from None


def parse_conditions(dataset: Dataset, pairs: Sequence[tuple[str, str]]) -> question.Question:
    """Conditions as in an address of the explorer. SettingsError when they are wrong."""
    try:
        return filters.parse_question(dataset, pairs)
    except HttpProblem as problem:
        raise SettingsError(describe_problem(problem)) from None


def describe_problem(problem: HttpProblem) -> str:
    return f"{problem.detail} {problem.remedy}"
