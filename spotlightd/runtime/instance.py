"""Opens every client of a state folder in order, and closes them in reverse order: for the daemon and for commands.

The lock on the folder is taken first and released last, so that nothing is touched beside another daemon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
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
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.engine.lock import LockedFolder, state_lock
from spotlightd.engine.process import Engine
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.context import IngestContext
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.upkeep.table_watch import TableWatch
from spotlightd.log import add_secret, logger
from spotlightd.model.bucket import EngineReach
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import watermarks
from spotlightd.model.source import Batch
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.storage import Bucket
from spotlightd.runtime.access import read_bucket_access, read_secret, store_address
from spotlightd.runtime.catalog import Catalog, load_catalog
from spotlightd.runtime.endpoint import WarehouseAddress
from spotlightd.runtime.tables import make_table_watch, prepare_tables
from spotlightd.settings.describe import describe_names
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import BucketSettings
from spotlightd.workers.parser import ChildParser
from spotlightd.workers.verifier import ChildVerifier

if TYPE_CHECKING:
    from spotlightd.clients.bucket.s3 import S3Bucket

LEDGER_FILE = "ledger.sqlite"
INBOXES = "inbox"
"""The folder with the inboxes of the children that parse: on the disk of the documents."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The open clients of a state folder, for the daemon and for a command without one."""

    settings: Settings
    catalog: Catalog
    bucket: Bucket
    documents: TieredDocuments
    ledger: SqliteLedger
    positions: SqlitePositions
    partitions: SqliteArchive
    warehouse_address: WarehouseAddress
    warehouse: ClickHouse
    engine: Engine | None
    archives: WarehouseArchives
    publications: Publications
    publishers: HttpPublishers
    parser: ChildParser
    verifier: ChildVerifier
    gate: Gate
    tables: TableWatch

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (*self.catalog.datasets, *SYSTEM_DATASETS)

    @property
    def sources(self) -> tuple[Batch, ...]:
        """The sources that are collected here."""
        selected = self.settings.schedule.sources
        return tuple(
            source
            for source in self.catalog.sources
            if not source.suspended and (not selected or source.name in selected)
        )

    def require_tables(self, datasets: Iterable[Dataset]) -> None:
        """StoreError while nothing may be written into one of these datasets: for a command without a daemon."""
        if reason := self.gate.table_reason(datasets):
            raise StoreError(reason)

    def ingest_context(self, metrics: Metrics | None = None) -> IngestContext:
        return IngestContext(
            self.documents,
            self.ledger,
            self.warehouse,
            self.parser,
            self.publications,
            metrics,
            self.gate,
            self.archives,
        )


@asynccontextmanager
async def open_instance(settings: Settings, *, rebuild: str = "") -> AsyncIterator[Instance]:
    """Lock the state folder, open every client, recover what a crash left. SettingsError or StoreError when one fails.
    `rebuild`: a table that lost its rows and is to be made again.
    """
    catalog = load_catalog(settings)
    watermarks(settings.disk)  # wrong settings are refused before anything is touched
    known = {source.name for source in catalog.sources}
    if unknown := set(settings.schedule.sources) - known:
        raise SettingsError(f"setting schedule.sources names no source: {describe_names(unknown, known)}")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(state_lock(settings.state_dir))
        bucket, reach = make_bucket(settings)
        await stack.enter_async_context(bucket)
        engine, address = await start_engine(stack, settings, folder, reach)
        warehouse = await stack.enter_async_context(make_warehouse(address, settings))
        ledger = await stack.enter_async_context(SqliteLedger(folder.folder / LEDGER_FILE))
        documents = make_documents(settings, bucket)
        await stack.enter_async_context(documents.folder)
        await stack.enter_async_context(documents.cache)
        on_event = logger(flow="parser").info
        positions, partitions, gate = SqlitePositions(ledger), SqliteArchive(ledger), Gate()
        archives = WarehouseArchives(warehouse, (*catalog.datasets, *SYSTEM_DATASETS), bucket.table)
        instance = Instance(
            settings=settings,
            catalog=catalog,
            bucket=bucket,
            documents=documents,
            ledger=ledger,
            positions=positions,
            partitions=partitions,
            warehouse_address=address,
            warehouse=warehouse,
            engine=engine,
            archives=archives,
            publications=Publications(ledger, warehouse),
            parser=await stack.enter_async_context(
                ChildParser(settings.parser, catalog.places, on_event, folder.folder / INBOXES / "documents")
            ),
            verifier=ChildVerifier(settings.verifier, logger(flow="archive").info),
            publishers=await stack.enter_async_context(HttpPublishers(settings.publisher)),
            gate=gate,
            tables=make_table_watch(warehouse, partitions, positions, archives, catalog, gate),
        )
        await prepare_tables(instance, rebuild)
        yield instance


def make_warehouse(address: WarehouseAddress, settings: Settings) -> ClickHouse:
    """A client of the warehouse at that address; to be entered."""
    return ClickHouse(address.url, address.user, address.password, address.database, settings.warehouse)


async def start_engine(
    stack: AsyncExitStack, settings: Settings, folder: LockedFolder, reach: EngineReach
) -> tuple[Engine | None, WarehouseAddress]:
    """The embedded engine, started; None with a server of its own. And the address of either."""
    warehouse = settings.warehouse
    if warehouse.kind == "server":
        store_address(warehouse.url, "warehouse.url")
        password = read_secret(warehouse.password_file, "warehouse.password_file")
        return None, WarehouseAddress(warehouse.url, warehouse.user, password, warehouse.database)
    engine = Engine(folder, settings.engine, database=warehouse.database, bucket=reach)
    add_secret(engine.password)
    await stack.enter_async_context(engine)
    return engine, WarehouseAddress(engine.url, engine.user, engine.password, warehouse.database)


def make_bucket(settings: Settings) -> tuple[FolderBucket | S3Bucket, EngineReach]:
    """The bucket of the settings, to be entered, and the part of it that the engine may access.

    Nothing is sent to the store here. The flow `bucket` reports whether it answers.
    """
    bucket = settings.bucket
    if bucket.kind == "folder":
        folder = bucket_folder(bucket, settings.state_dir.absolute())
        return FolderBucket(folder, most_percent=settings.disk.sink_percent), EngineReach(folder=str(folder))
    from spotlightd.clients.bucket.s3 import S3Bucket  # noqa: PLC0415  the library takes half a second to load

    address, access = store_address(bucket.url, "bucket.url"), read_bucket_access(bucket)
    port = address.port or (443 if address.scheme == "https" else 80)
    url = f"{bucket.url.rstrip('/')}/{bucket.name}/{access.prefix}"
    reach = EngineReach(port=port, url=url, access_key=access.access_key, secret_key=access.secret_key)
    return S3Bucket(bucket, access), reach


def make_documents(settings: Settings, bucket: Bucket) -> TieredDocuments:
    """The documents: folder and cache, both to be entered. Beside a running daemon do not enter the folder: read only."""
    documents, state = settings.documents, settings.state_dir.absolute()
    cache = DocumentCache(
        state / "cache", bucket, most_bytes=documents.cache_bytes, most_percent=settings.disk.batch_percent
    )
    return TieredDocuments(FolderDocuments(state / "documents"), cache)


def bucket_folder(bucket: BucketSettings, state: Path) -> Path:
    return Path(bucket.folder).absolute() if bucket.folder else state / "bucket"
