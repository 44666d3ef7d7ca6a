"""The daemon: opens the clients, starts the flows, waits for a signal. The only place that wires rooms together.

Indentation is the order of shutdown: the schedule and the sources stop first, then the explorer, then the clients
close, last of all the engine and the lock on the state folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from spotlightd import __version__, systemd
from spotlightd.catalog import Catalog, catalog
from spotlightd.clients.bucket import FolderBucket
from spotlightd.clients.ledger import SqliteLedger
from spotlightd.clients.publisher import HttpPublishers
from spotlightd.clients.warehouse import ClickHouse
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.flows.ingest import Stores
from spotlightd.flows.publish import Publications, recover
from spotlightd.flows.schedule import Bells, Collecting, bookkeeping, ringing
from spotlightd.flows.supervise import Board, Reporter, Status, isolated, running, vital
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import SettingsError
from spotlightd.model.house import HOUSE
from spotlightd.model.settings import Settings
from spotlightd.model.source import Batch
from spotlightd.parse.child import ChildParser
from spotlightd.web.app import application, serving
from spotlightd.web.context import Context, EngineState, FlowState, State

ENDPOINT = "daemon.json"
PROBE_SECONDS = 2.0
SHORTEST_SECRET = 16
WELL_KNOWN = frozenset({"changeme", "password", "clickhouse", "admin", "spotlightd"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a warehouse answers and the secret for it: what a command needs to join a running daemon."""

    url: str
    user: str
    password: str
    database: str
    web: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class House:
    """Everything that is open while the daemon, or a command without one, is at work."""

    settings: Settings
    catalog: Catalog
    stores: Stores
    publishers: HttpPublishers
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
    unknown = sorted(set(settings.schedule.sources) - {one.name for one in found.sources})
    if unknown:
        raise SettingsError(f"setting schedule.sources names no source: {', '.join(unknown)}")
    state = state_folder(settings)
    async with AsyncExitStack() as stack:
        stack.enter_context(state_lock(state))
        engine, endpoint = await _warehouse(stack, settings)
        warehouse = await stack.enter_async_context(joined(endpoint, settings))
        ledger = await stack.enter_async_context(SqliteLedger(state / "ledger.sqlite"))
        bucket = await stack.enter_async_context(FolderBucket(state / "documents"))
        parser = await stack.enter_async_context(ChildParser(settings.parser))
        publishers = await stack.enter_async_context(HttpPublishers(settings.publisher))
        publications = Publications(ledger, warehouse)
        stores = Stores(bucket, ledger, warehouse, parser, publications)
        house = House(settings, found, stores, publishers, endpoint, engine)
        for dataset in house.datasets:
            await warehouse.ensure(dataset)
        await recover(ledger, warehouse, publications, house.datasets)
        yield house


def joined(endpoint: Endpoint, settings: Settings) -> ClickHouse:
    """A client of the warehouse at that address; to be entered."""
    return ClickHouse(endpoint.url, endpoint.user, endpoint.password, endpoint.database, settings.warehouse)


def state_folder(settings: Settings) -> Path:
    """The folder of everything that is kept, made if missing, for our eyes only."""
    folder = settings.state_dir.resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as problem:
        raise SettingsError(
            f"state folder {folder} is not writable: {problem.strerror}. Give it to this user, or set state_dir"
        ) from None
    return folder


async def _warehouse(stack: AsyncExitStack, settings: Settings) -> tuple[Engine | None, Endpoint]:
    ours = settings.warehouse
    if ours.kind == "server":
        password = secret(ours.password_file, "warehouse.password_file")
        return None, Endpoint(ours.url, ours.user, password, ours.database)
    engine = await stack.enter_async_context(Engine(settings.engine, settings.state_dir.resolve(), ours.database))
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


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that is ready. `web` is the explorer's address; setting `stop` ends the daemon."""

    house: House
    board: Board
    bells: Bells
    web: str
    stop: asyncio.Event


@asynccontextmanager
async def started(settings: Settings, *, notice: str = "") -> AsyncIterator[Running]:
    """The whole daemon at work; leaving the block drains it and closes everything, in order."""
    began, board, bells, stop = datetime.now(UTC), Board(), Bells(), asyncio.Event()
    log = logger()
    log.info("daemon started", version=__version__, state=str(settings.state_dir))
    async with opened(settings) as house:
        stores = house.stores
        context = _context(house, board, began, notice)
        keeping = vital(board, "bookkeeping", lambda report: _bookkeeping(report, house))
        async with (
            running(bookkeeping=keeping, heart=_heart(board)),
            serving(application(context), settings.web.host, settings.web.port) as port,
        ):
            web = f"http://{settings.web.host}:{port}"
            publish_endpoint(settings, house.endpoint, web)
            collectors = {
                source.name: isolated(
                    board,
                    f"collect {source.name}",
                    Collecting(source, house.publishers, stores, bells, settings.schedule.since or date.min),
                )
                for source in (house.sources if settings.schedule.enabled else ())
            }
            async with running(**collectors), ringing(house.sources, bells, on_start=settings.schedule.on_start):
                log.info("daemon ready", web=web)
                systemd.ready(f"explorer on {web}")
                try:
                    yield Running(house, board, bells, web, stop)
                finally:
                    log.info("daemon stopping")
                    systemd.stopping()
    (settings.state_dir / ENDPOINT).unlink(missing_ok=True)
    log.info("daemon stopped")


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    async with started(settings) as daemon, until_told(daemon.stop):
        await daemon.stop.wait()


@asynccontextmanager
async def until_told(stop: asyncio.Event) -> AsyncIterator[None]:
    """Set `stop` on SIGTERM or SIGINT while the block runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def publish_endpoint(settings: Settings, endpoint: Endpoint, web: str) -> None:
    """Leave the address and secret of the warehouse where commands of this user find them (0600)."""
    path = settings.state_dir / ENDPOINT
    text = json.dumps({**asdict(endpoint), "web": web, "pid": os.getpid()})
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    fresh.rename(path)


async def _bookkeeping(report: Reporter, house: House) -> None:
    await bookkeeping(report, house.stores.ledger, house.stores.warehouse, house.datasets)


async def _heart(board: Board) -> None:
    """Feed systemd's watchdog from the loop itself, and say in one line how the flows are."""
    pause = systemd.watchdog_seconds() or PROBE_SECONDS
    while True:
        systemd.alive()
        systemd.status(_summary(board.read()))
        await asyncio.sleep(pause)


def _summary(statuses: tuple[Status, ...]) -> str:
    troubled = [f"{one.name}: {one.error}" for one in statuses if one.error]
    return "; ".join(troubled) or f"{len(statuses)} flows at work"


def _context(house: House, board: Board, began: datetime, notice: str) -> Context:
    def state() -> State:
        return State(
            version=__version__,
            started_at=began,
            engine=_engine(house.engine),
            flows=tuple(_flow(one) for one in board.read()),
            problems=tuple(f"{one.name}: {one.error}" for one in board.read() if one.state == "holding"),
        )

    return Context(
        warehouse=house.stores.warehouse,
        bucket=house.stores.bucket,
        datasets=house.datasets,
        sources=house.catalog.sources,
        settings=house.settings.web,
        state=state,
        excerpt=_excerpts(house),
        judged_on=house.settings.schedule.judged_on,
        notice=notice,
    )


def _engine(engine: Engine | None) -> EngineState:
    if engine is None:
        return EngineState("a ClickHouse server of its own")
    return EngineState(engine.sandbox, engine.restarts, engine.pid)


def _flow(one: Status) -> FlowState:
    progress = f"{one.says}: {one.done} of {one.total}" if one.total else one.says
    return FlowState(one.name, one.state, one.since, one.restarts, one.error, progress)
