"""Opens every client of a state folder, in order, and closes them in the reverse: for the daemon and for commands.

The lock on the folder comes first and goes last, so that nothing is touched beside another daemon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.clickhouse.archive_index import WarehouseArchives
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.documents.cache import DocumentCache
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.clients.documents.tiered import TieredDocuments
from spotlightd.clients.http.publisher import HttpPublishers
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.system import SYSTEM_DATASETS, loads
from spotlightd.datasets.system import archives as archives_table
from spotlightd.engine.lock import LockedFolder, state_lock
from spotlightd.engine.process import Engine
from spotlightd.errors import SettingsError
from spotlightd.flows.loads.load import IngestContext
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.log import logger
from spotlightd.model.bucket import EngineReach
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import watermarks
from spotlightd.model.source import Batch
from spotlightd.ports.storage import Bucket
from spotlightd.runtime.access import bucket_address, read_bucket_access, read_secret
from spotlightd.runtime.catalog import Catalog, load_catalog
from spotlightd.runtime.endpoint import Endpoint
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import BucketSettings
from spotlightd.workers.parser import ChildParser

if TYPE_CHECKING:
    from spotlightd.clients.bucket.s3 import S3Bucket

LEDGER_FILE = "ledger.sqlite"


@dataclass(frozen=True, slots=True)
class Instance:
    """Everything that is open while the daemon, or a command without one, is at work."""

    settings: Settings
    catalog: Catalog
    context: IngestContext
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
        return (*self.catalog.datasets, *SYSTEM_DATASETS)

    @property
    def sources(self) -> tuple[Batch, ...]:
        """Those that are to be collected here."""
        chosen = self.settings.schedule.sources
        return tuple(one for one in self.catalog.sources if not one.suspended and (not chosen or one.name in chosen))


@asynccontextmanager
async def open_instance(settings: Settings) -> AsyncIterator[Instance]:
    """Lock the state folder, open every client, bring the stores in order. SettingsError and StoreError say what not."""
    found = load_catalog(settings)
    watermarks(settings.disk)  # refused before anything is touched
    unknown = sorted(set(settings.schedule.sources) - {one.name for one in found.sources})
    if unknown:
        raise SettingsError(f"setting schedule.sources names no source: {', '.join(unknown)}")
    async with AsyncExitStack() as stack:
        held = stack.enter_context(state_lock(settings.state_dir))
        state = held.folder
        bucket, reach = make_bucket(settings)
        await stack.enter_async_context(bucket)
        engine, endpoint = await _warehouse(stack, settings, held, reach)
        warehouse = await stack.enter_async_context(make_warehouse(endpoint, settings))
        ledger = await stack.enter_async_context(SqliteLedger(state / LEDGER_FILE))
        documents = make_documents(settings, bucket)
        await stack.enter_async_context(documents.folder)
        await stack.enter_async_context(documents.cache)
        parser = await stack.enter_async_context(ChildParser(settings.parser, found.places, logger(flow="parser").info))
        publishers = await stack.enter_async_context(HttpPublishers(settings.publisher))
        publications = Publications(ledger, warehouse)
        context = IngestContext(documents, ledger, warehouse, parser, publications)
        archives = WarehouseArchives(warehouse, (*found.datasets, *SYSTEM_DATASETS), bucket.table)
        instance = Instance(
            settings, found, context, documents, bucket, publishers, SqlitePositions(ledger), endpoint, engine, archives,
            SqliteArchive(ledger),
        )  # fmt: skip
        for dataset in (loads, archives_table):  # what makes the others visible, and where they are
            await warehouse.ensure(dataset)
        await archives.refresh()
        for dataset in instance.datasets:
            await warehouse.ensure(dataset, archives.archived)
        await recover(ledger, warehouse, publications, instance.datasets, archives)
        yield instance


def make_warehouse(endpoint: Endpoint, settings: Settings) -> ClickHouse:
    """A client of the warehouse at that address; to be entered."""
    return ClickHouse(endpoint.url, endpoint.user, endpoint.password, endpoint.database, settings.warehouse)


async def _warehouse(
    stack: AsyncExitStack, settings: Settings, held: LockedFolder, reach: EngineReach
) -> tuple[Engine | None, Endpoint]:
    ours = settings.warehouse
    if ours.kind == "server":
        password = read_secret(ours.password_file, "warehouse.password_file")
        return None, Endpoint(ours.url, ours.user, password, ours.database)
    engine = await stack.enter_async_context(Engine(held, settings.engine, database=ours.database, bucket=reach))
    return engine, Endpoint(engine.url, engine.user, engine.password, ours.database)


def make_bucket(settings: Settings) -> tuple[FolderBucket | S3Bucket, EngineReach]:
    """The bucket that the settings mean, to be entered, and what the engine may reach of it. Whether it answers is told
    by its flow.
    """
    ours = settings.bucket
    if ours.kind == "folder":
        folder = bucket_folder(ours, settings.state_dir.absolute())
        return FolderBucket(folder, most_percent=settings.disk.sink_percent), EngineReach(folder=str(folder))
    from spotlightd.clients.bucket.s3 import S3Bucket  # noqa: PLC0415  the library takes half a second to load

    address, access = bucket_address(ours), read_bucket_access(ours)
    store = S3Bucket(ours, access)
    port = address.port or (443 if address.scheme == "https" else 80)
    url = f"{ours.url.rstrip('/')}/{ours.name}/{access.prefix}"
    return store, EngineReach(port=port, url=url, access_key=access.access_key, secret_key=access.secret_key)


def make_documents(settings: Settings, bucket: Bucket) -> TieredDocuments:
    """The documents, to be entered, folder and cache. Beside a running daemon the folder is only read, and not entered."""
    told, state = settings.documents, settings.state_dir.absolute()
    cache = DocumentCache(
        state / "cache", bucket, most_bytes=told.cache_bytes, most_percent=settings.disk.batch_percent
    )
    return TieredDocuments(FolderDocuments(state / "documents"), cache)


def bucket_folder(ours: BucketSettings, state: Path) -> Path:
    return Path(ours.folder).absolute() if ours.folder else state / "bucket"
