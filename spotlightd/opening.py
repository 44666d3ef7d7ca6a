"""Opens every client of a state folder, in order, and closes them in the reverse: for the daemon and for commands.

The lock on the folder comes first and goes last, so that nothing is touched beside another daemon.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from spotlightd.catalog import Catalog, catalog
from spotlightd.clients.archives import SqliteArchive, WarehouseArchives
from spotlightd.clients.cache import DocumentCache
from spotlightd.clients.documents import FolderDocuments
from spotlightd.clients.folder_bucket import FolderBucket
from spotlightd.clients.ledger import SqliteLedger
from spotlightd.clients.positions import SqlitePositions
from spotlightd.clients.publisher import HttpPublishers
from spotlightd.clients.tiered import TieredDocuments
from spotlightd.clients.warehouse import ClickHouse
from spotlightd.engine.lock import Held, state_lock
from spotlightd.engine.process import Engine
from spotlightd.flows.load import Stores
from spotlightd.flows.publish import Publications, recover
from spotlightd.log import logger
from spotlightd.model.bucket import PREFIX, Access, Reach
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import watermarks
from spotlightd.model.errors import SettingsError
from spotlightd.model.house import HOUSE, loads
from spotlightd.model.house import archives as archives_table
from spotlightd.model.ports import Bucket
from spotlightd.model.settings import Bucket as BucketSettings
from spotlightd.model.settings import Settings
from spotlightd.model.source import Batch
from spotlightd.parse.child import ChildParser

if TYPE_CHECKING:
    from spotlightd.clients.s3 import S3Bucket

SHORTEST_SECRET = 16
WELL_KNOWN = frozenset({
    "changeme", "password", "clickhouse", "admin", "spotlightd", "minioadmin",
    "akiaiosfodnn7example", "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey",
})  # fmt: skip
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
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
    documents: TieredDocuments
    bucket: Bucket
    publishers: HttpPublishers
    positions: SqlitePositions
    endpoint: Endpoint
    engine: Engine | None
    archives: WarehouseArchives
    partitions: SqliteArchive

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
        bucket, reach = bucket_of(settings)
        await stack.enter_async_context(bucket)
        engine, endpoint = await _warehouse(stack, settings, held, reach)
        warehouse = await stack.enter_async_context(joined(endpoint, settings))
        ledger = await stack.enter_async_context(SqliteLedger(state / LEDGER_FILE))
        documents = documents_of(settings, bucket)
        await stack.enter_async_context(documents.folder)
        await stack.enter_async_context(documents.cache)
        parser = await stack.enter_async_context(ChildParser(settings.parser, found.places, logger(flow="parser").info))
        publishers = await stack.enter_async_context(HttpPublishers(settings.publisher))
        publications = Publications(ledger, warehouse)
        stores = Stores(documents, ledger, warehouse, parser, publications)
        archives = WarehouseArchives(warehouse, (*found.datasets, *HOUSE), bucket.table)
        house = House(
            settings, found, stores, documents, bucket, publishers, SqlitePositions(ledger), endpoint, engine, archives,
            SqliteArchive(ledger),
        )  # fmt: skip
        for dataset in (loads, archives_table):  # what makes the others visible, and where they are
            await warehouse.ensure(dataset)
        await archives.refresh()
        for dataset in house.datasets:
            await warehouse.ensure(dataset, archives.cold)
        await recover(ledger, warehouse, publications, house.datasets, archives)
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


async def _warehouse(
    stack: AsyncExitStack, settings: Settings, held: Held, reach: Reach
) -> tuple[Engine | None, Endpoint]:
    ours = settings.warehouse
    if ours.kind == "server":
        password = secret(ours.password_file, "warehouse.password_file")
        return None, Endpoint(ours.url, ours.user, password, ours.database)
    engine = await stack.enter_async_context(Engine(held, settings.engine, database=ours.database, bucket=reach))
    return engine, Endpoint(engine.url, engine.user, engine.password, ours.database)


def bucket_of(settings: Settings) -> tuple[FolderBucket | S3Bucket, Reach]:
    """The bucket that the settings mean, to be entered, and what the engine may reach of it. Whether it answers is told
    by its flow.
    """
    ours = settings.bucket
    if ours.kind == "folder":
        folder = bucket_folder(ours, settings.state_dir.absolute())
        return FolderBucket(folder, most_percent=settings.disk.sink_percent), Reach(folder=str(folder))
    from spotlightd.clients.s3 import S3Bucket  # noqa: PLC0415  the library takes half a second to load

    address, access = _address(ours), bucket_access(ours)
    store = S3Bucket(ours, access)
    port = address.port or (443 if address.scheme == "https" else 80)
    url = f"{ours.url.rstrip('/')}/{ours.name}/{access.prefix}"
    return store, Reach(port=port, url=url, access_key=access.access_key, secret_key=access.secret_key)


def documents_of(settings: Settings, bucket: Bucket) -> TieredDocuments:
    """The documents, to be entered, folder and cache. Beside a running daemon the folder is only read, and not entered."""
    told, state = settings.documents, settings.state_dir.absolute()
    cache = DocumentCache(
        state / "cache", bucket, most_bytes=told.cache_bytes, most_percent=settings.disk.batch_percent
    )
    return TieredDocuments(FolderDocuments(state / "documents"), cache)


def bucket_folder(ours: BucketSettings, state: Path) -> Path:
    return Path(ours.folder).absolute() if ours.folder else state / "bucket"


def _address(ours: BucketSettings) -> SplitResult:
    """Where the store is. SettingsError for an address that is more or less than scheme, host and port."""
    wrong = SettingsError(
        f"setting bucket.url: {ours.url!r} is not like http://127.0.0.1:9000 or https://s3.example.org"
    )
    try:
        address = urlsplit(ours.url)
        bare = f"{address.scheme}://{address.hostname}" + (f":{address.port}" if address.port else "")
    except ValueError:
        raise wrong from None
    if address.scheme not in {"http", "https"} or not address.hostname or ours.url.lower().rstrip("/") != bare:
        raise wrong
    return address


def bucket_access(ours: BucketSettings) -> Access:
    """The keys of an S3 bucket and the beginning of our names in it. SettingsError for what cannot work."""
    prefix = ours.prefix.strip("/") + "/" if ours.prefix.strip("/") else ""
    if not PREFIX.fullmatch(prefix):
        raise SettingsError(
            f"setting bucket.prefix: {ours.prefix!r} is to be words of letters, digits and ._=- with / between"
        )
    if not BUCKET_NAME.fullmatch(ours.name):
        raise SettingsError(f"setting bucket.name: {ours.name!r} is no name of a bucket: 3 to 63 of a-z, 0-9, . and -")
    if not (ours.threads and ours.connect_seconds and ours.read_seconds):
        raise SettingsError("settings bucket.threads, bucket.connect_seconds and bucket.read_seconds must not be 0")
    access_key = secret(ours.access_key_file, "bucket.access_key_file")
    return Access(access_key, secret(ours.secret_key_file, "bucket.secret_key_file"), prefix)


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
