"""Opens every client of a state folder, in order, and closes them in the reverse: for the daemon and for commands.

The lock on the folder comes first and goes last, so that nothing is touched beside another daemon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from spotlightd.catalog import Catalog, catalog
from spotlightd.clients.documents import FolderDocuments
from spotlightd.clients.ledger import SqliteLedger
from spotlightd.clients.positions import SqlitePositions
from spotlightd.clients.publisher import HttpPublishers
from spotlightd.clients.warehouse import ClickHouse
from spotlightd.engine.lock import Held, state_lock
from spotlightd.engine.process import Engine
from spotlightd.flows.load import Stores
from spotlightd.flows.publish import Publications, recover
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import watermarks
from spotlightd.model.errors import SettingsError
from spotlightd.model.house import HOUSE
from spotlightd.model.settings import Settings
from spotlightd.model.source import Batch
from spotlightd.parse.child import ChildParser

SHORTEST_SECRET = 16
WELL_KNOWN = frozenset({"changeme", "password", "clickhouse", "admin", "spotlightd"})
LEDGER_FILE = "ledger.sqlite"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a warehouse answers and the secret for it: what a command needs to join a running daemon.

    Of a daemon also the explorer's address, the sources that it collects, and its process: a number that is given
    again, so it counts only together with when that process was born, in the system's ticks.
    """

    url: str
    user: str
    password: str
    database: str
    web: str = ""
    collects: tuple[str, ...] = ()
    pid: int = 0
    born: int = 0


@dataclass(frozen=True, slots=True)
class House:
    """Everything that is open while the daemon, or a command without one, is at work."""

    settings: Settings
    catalog: Catalog
    stores: Stores
    publishers: HttpPublishers
    positions: SqlitePositions
    endpoint: Endpoint
    engine: Engine | None

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (*self.catalog.datasets, *HOUSE)

    @property
    def sources(self) -> tuple[Batch, ...]:
        """Those that are to be collected here."""
        chosen = self.settings.schedule.sources
        return tuple(one for one in self.catalog.sources if not one.suspended and (not chosen or one.name in chosen))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[House]:
    """Lock the state folder, open every client, bring the stores in order. SettingsError and StoreError say what not."""
    found = catalog(settings)
    watermarks(settings.disk)  # refused before anything is touched
    unknown = sorted(set(settings.schedule.sources) - {one.name for one in found.sources})
    if unknown:
        raise SettingsError(f"setting schedule.sources names no source: {', '.join(unknown)}")
    async with AsyncExitStack() as stack:
        held = stack.enter_context(state_lock(settings.state_dir))
        state = held.folder
        engine, endpoint = await _warehouse(stack, settings, held)
        warehouse = await stack.enter_async_context(joined(endpoint, settings))
        ledger = await stack.enter_async_context(SqliteLedger(state / LEDGER_FILE))
        documents = await stack.enter_async_context(FolderDocuments(state / "documents"))
        parser = await stack.enter_async_context(ChildParser(settings.parser, found.places, logger(flow="parser").info))
        publishers = await stack.enter_async_context(HttpPublishers(settings.publisher))
        publications = Publications(ledger, warehouse)
        stores = Stores(documents, ledger, warehouse, parser, publications)
        house = House(settings, found, stores, publishers, SqlitePositions(ledger), endpoint, engine)
        for dataset in (*HOUSE, *found.datasets):  # `loads` first: what makes the others visible
            await warehouse.ensure(dataset)
        await recover(ledger, warehouse, publications, house.datasets)
        yield house


def born(pid: int) -> int:
    """When a process began, in ticks since the machine's start; 0 when there is none of that number."""
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
        )
    except (FileNotFoundError, ProcessLookupError):
        return 0


def joined(endpoint: Endpoint, settings: Settings) -> ClickHouse:
    """A client of the warehouse at that address; to be entered."""
    return ClickHouse(endpoint.url, endpoint.user, endpoint.password, endpoint.database, settings.warehouse)


async def _warehouse(stack: AsyncExitStack, settings: Settings, held: Held) -> tuple[Engine | None, Endpoint]:
    ours = settings.warehouse
    if ours.kind == "server":
        password = secret(ours.password_file, "warehouse.password_file")
        return None, Endpoint(ours.url, ours.user, password, ours.database)
    engine = await stack.enter_async_context(Engine(held, settings.engine, database=ours.database))
    return engine, Endpoint(engine.url, engine.user, engine.password, ours.database)


def secret(file: str, setting: str) -> str:
    """A secret from a file that only we may read. SettingsError names the setting, never the value."""
    if not file:
        raise SettingsError(f"setting {setting} names no file")
    path = Path(file)
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise SettingsError(f"setting {setting}: {path} cannot be read: {problem.strerror}") from None
    if mode & 0o077:
        raise SettingsError(f"setting {setting}: {path} can be read by others: chmod 600 {path}")
    if len(text) < SHORTEST_SECRET or text.lower() in WELL_KNOWN:
        raise SettingsError(f"setting {setting}: {path} holds a secret that is too short or well known")
    return text
