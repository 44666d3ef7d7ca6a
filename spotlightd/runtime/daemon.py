"""The daemon: opens the clients, starts the flows, waits for a signal.

Indentation is the order of shutdown: the schedule and the sources stop first, then the explorer, then the clients
close, and last the engine and the lock on the state folder.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from spotlightd import __version__
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.flow import ArchiveFlow
from spotlightd.flows.backup.record import read_backups
from spotlightd.flows.batch.schedule import Collector, Wakeups, run_bookkeeping, run_triggers
from spotlightd.flows.derive.flow import DeriveFlow
from spotlightd.flows.supervise import Board, Flow, Reporter, run_in_background, run_isolated, run_vital
from spotlightd.flows.transform import TransformRunner
from spotlightd.flows.upkeep.bucket import watch_bucket
from spotlightd.flows.upkeep.disk import DiskWatch
from spotlightd.flows.upkeep.disk_history import DiskHistory
from spotlightd.flows.upkeep.documents import DocumentTiering
from spotlightd.flows.upkeep.heartbeats import measure_loop_lag, read_flows, write_heartbeats
from spotlightd.flows.upkeep.log_buffer import LogBuffer
from spotlightd.flows.upkeep.logs import run_log_writer
from spotlightd.log import forward_events, logger
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.model.disk import FileSystem
from spotlightd.model.source import Batch
from spotlightd.ports.bus import Bus
from spotlightd.runtime import systemd
from spotlightd.runtime.archive import make_archiver, make_document_tiering
from spotlightd.runtime.derivations import make_derivation_runner
from spotlightd.runtime.disks import make_disk_monitor, read_disk_metrics, release_ballast
from spotlightd.runtime.endpoint import ENDPOINT, publish_endpoint
from spotlightd.runtime.explorer import make_explorer_context
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.runtime.preflight import check_settings, read_metrics_token, read_web_token
from spotlightd.runtime.reload import ReadSettings, reload_signal
from spotlightd.runtime.streams import OpenStreams, open_streams
from spotlightd.runtime.tables import make_key_watch, make_scorecard
from spotlightd.settings.settings import Settings
from spotlightd.web.access import require_token
from spotlightd.web.app import build_application, serve, web_limits
from spotlightd.web.metrics import serve_metrics
from spotlightd.web.state import ExplorerContext

STOP_SECONDS = 9.5
"""A stop that takes longer is cut off like a crash, which the next start repairs: a disk or a child may hang for ever."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that is ready. `web` is the explorer's address."""

    instance: Instance
    board: Board
    wakeups: Wakeups
    web: str
    bus: Bus


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the flows of the daemon are made of, before they start. `sources` are those that are collected."""

    instance: Instance
    sources: tuple[Batch, ...]
    board: Board
    wakeups: Wakeups
    archiver: Archiver
    tiering: DocumentTiering
    disks: DiskWatch
    metrics: PrometheusMetrics


def _make_parts(instance: Instance, board: Board) -> _Parts:
    """SettingsError for settings that cannot work."""
    settings = instance.settings
    sources = instance.sources if settings.schedule.enabled else ()
    for source in sources:
        instance.publishers.for_source(source)  # refuses a source that needs a contact, before anything starts
    archiver, tiering = make_archiver(instance), make_document_tiering(instance)

    async def free_disk(_: FileSystem) -> None:
        await instance.documents.cache.evict_all()
        await archiver.free_disk()

    disks = make_disk_monitor(settings, instance.gate, on_critical=free_disk)
    metrics = PrometheusMetrics(
        [stream.name for stream in instance.catalog.streams],
        [source.name for source in instance.catalog.sources],
        version=__version__,
        flows=lambda: read_flows(board),
        disks=lambda: read_disk_metrics(disks.state()),
        archive=archiver.state,
        documents=tiering.state,
        incomplete_tables=lambda: len(instance.tables.defects),
        backups=lambda: read_backups(settings.state_dir),
    )
    return _Parts(instance, sources, board, Wakeups(), archiver, tiering, disks, metrics)


@asynccontextmanager
async def start_daemon(settings: Settings, *, notice: str = "") -> AsyncIterator[Daemon]:
    """The daemon at work; leaving the block drains it and closes everything, in order."""
    buffer = LogBuffer(settings.log.table_waiting_events, settings.log.table_minute_events)
    with forward_events(buffer.add) if settings.log.table_seconds else nullcontext():
        async with _run_daemon(settings, buffer, notice) as daemon:
            yield daemon


@asynccontextmanager
async def _open_parts(
    settings: Settings, buffer: LogBuffer, notice: str = ""
) -> AsyncIterator[tuple[_Parts, OpenStreams, ExplorerContext]]:
    """Everything that a start needs, before any flow runs. `check` opens the same: what it passes, `run` passes."""
    started_at, board = datetime.now(UTC), Board()
    check_settings(settings)
    await release_ballast(settings)
    async with open_instance(settings) as instance:
        parts = _make_parts(instance, board)
        async with (
            run_log_writer(board, buffer, instance.warehouse, parts.metrics, settings.log.table_seconds),
            open_streams(instance, parts.metrics) as streams,
        ):
            context = make_explorer_context(
                instance, streams, board, started_at=started_at, notice=notice, archive=parts.archiver.state,
                document_tiers=parts.tiering.state, disks=parts.disks.state,
            )  # fmt: skip
            await parts.disks.check()  # before any flow starts: a disk that is too full holds work from the beginning
            yield parts, streams, context


@asynccontextmanager
async def open_without_flows(settings: Settings) -> AsyncIterator[Instance]:
    """What `check` tries: everything that a start opens, the ports too, and no flow."""
    buffer = LogBuffer(settings.log.table_waiting_events, settings.log.table_minute_events)
    async with (
        _open_parts(settings, buffer) as (parts, _, context),
        _serve_pages(settings, parts.metrics, context),
    ):
        yield parts.instance


@asynccontextmanager
async def _run_daemon(settings: Settings, buffer: LogBuffer, notice: str) -> AsyncIterator[Daemon]:
    log = logger()
    log.info("daemon started", version=__version__, state=str(settings.state_dir))
    async with _open_parts(settings, buffer, notice) as (parts, streams, context):
        instance = parts.instance
        await asyncio.gather(parts.archiver.note_rules(), parts.tiering.update_retention())  # before any row is written
        async with (
            run_in_background(**_upkeep_flows(parts), **_moving_flows(parts, streams)),
            _serve_pages(settings, parts.metrics, context) as web,
        ):
            publish_endpoint(settings, instance.warehouse_address, web, tuple(source.name for source in parts.sources))
            async with (
                run_in_background(**_collecting_flows(parts, streams)),
                run_triggers(parts.sources, parts.wakeups, on_start=settings.schedule.on_start),
            ):
                log.info("daemon ready", web=web)
                systemd.ready(f"explorer on {web}")
                try:
                    yield Daemon(instance, parts.board, parts.wakeups, web, streams.bus)
                finally:
                    log.info("daemon stopping")
                    systemd.stopping()
                    if instance.engine:
                        instance.engine.begin_stop()
    (settings.state_dir / ENDPOINT).unlink(missing_ok=True)
    log.info("daemon stopped")


@asynccontextmanager
async def _serve_pages(settings: Settings, metrics: PrometheusMetrics, context: ExplorerContext) -> AsyncIterator[str]:
    """Serve the metrics and the explorer; gives the explorer's address."""
    app = build_application(context)
    require_token(app, read_web_token(settings))
    async with (
        serve_metrics(
            metrics.text, settings.metrics, settings.web.hosts, token=read_metrics_token(settings), metrics=metrics
        ),
        serve(app, settings.web.host, settings.web.port, web_limits(settings.web), metrics=metrics) as port,
    ):
        yield f"http://{settings.web.host}:{port}"


def _upkeep_flows(parts: _Parts) -> dict[str, Coroutine[Any, Any, None]]:
    """The flows about the daemon itself: records, watchdog, archive, heartbeats, disks, the lag of the event loop."""
    instance, board = parts.instance, parts.board
    seconds, warehouse = instance.settings.metrics.heartbeat_seconds, instance.warehouse
    return {
        "bookkeeping": run_vital(board, "bookkeeping", lambda report: _mirror_records(report, instance)),
        "watchdog": run_vital(board, "watchdog", lambda report: systemd.feed_watchdog(report, board)),
        "archive": run_isolated(board, "archive", ArchiveFlow(parts.archiver)),
        "documents": run_isolated(board, "documents", parts.tiering),
        "bucket": run_isolated(board, "bucket", lambda report: watch_bucket(report, instance.bucket)),
        "heartbeats": run_isolated(
            board, "heartbeats", lambda report: write_heartbeats(report, board, warehouse, seconds)
        ),
        "disk": run_isolated(board, "disk", parts.disks),
        "tables": run_isolated(board, "tables", instance.tables),
        "keys": run_isolated(board, "keys", make_key_watch(instance)),
        "scorecard": run_isolated(board, "scorecard", make_scorecard(instance, parts.sources, parts.metrics)),
        "disk rows": run_isolated(board, "disk rows", DiskHistory(parts.disks, warehouse)),
        "loop lag": measure_loop_lag(parts.metrics),
    }


def _moving_flows(parts: _Parts, streams: OpenStreams) -> dict[str, Coroutine[Any, Any, None]]:
    """The flows that move frames until the listeners have stopped, and those that compute rows from what is published."""
    instance = parts.instance
    transforms = {
        transform.name: TransformRunner(
            transform, instance.ledger, instance.warehouse, instance.publications, instance.positions,
            gate=instance.gate, archives=instance.archives,
        )
        for transform in instance.catalog.transforms
    }  # fmt: skip
    derivations = {
        f"derive {derivation.name}": DeriveFlow(make_derivation_runner(derivation, instance))
        for derivation in instance.catalog.derivations
    }
    flows: dict[str, Flow] = {**streams.movers, **transforms, **derivations}
    return {name: run_isolated(parts.board, name, flow) for name, flow in flows.items()}


def _collecting_flows(parts: _Parts, streams: OpenStreams) -> dict[str, Coroutine[Any, Any, None]]:
    """The flows that bring data in: one for each source, one for each stream that is listened to."""
    instance, schedule = parts.instance, parts.instance.settings.schedule
    context, since = instance.ingest_context(parts.metrics), schedule.since or date.min
    flows: dict[str, Flow] = {
        source.name: Collector(
            source, instance.publishers, context, parts.wakeups, since=since, judged_on=schedule.judged_on
        )
        for source in parts.sources
    }
    collectors = {name: run_isolated(parts.board, f"collect {name}", flow) for name, flow in flows.items()}
    listeners = {name: run_isolated(parts.board, name, flow) for name, flow in streams.listeners.items()}
    return collectors | listeners


async def run(settings: Settings, read_settings: ReadSettings) -> None:
    """Run until SIGTERM or SIGINT. A signal during the start takes effect when the start is complete."""
    async with stop_signal() as stop:
        with reload_signal(settings, read_settings):
            async with start_daemon(settings):
                gc.freeze()  # 100,000 objects live as long as the process: looking through them was half of a page's time
                await stop.wait()


@asynccontextmanager
async def stop_signal() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets while the block runs. After the block both signals are ignored.

    The block must include the start and the whole shutdown: a second signal would otherwise interrupt the shutdown that
    the first one began. STOP_SECONDS after the first one the kernel ends the process (SIGALRM), whatever it waits for,
    and with it the children: each asks the kernel to be killed when its parent ends.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def begin_stop() -> None:
        if not stop.is_set():
            signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_stop)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def _mirror_records(report: Reporter, instance: Instance) -> None:
    await run_bookkeeping(
        report, instance.ledger, instance.warehouse, instance.datasets, instance.archives, gate=instance.gate
    )
