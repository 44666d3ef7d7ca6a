"""The daemon: opens the clients, starts the flows, waits for a signal. The only place that wires rooms together.

Indentation is the order of shutdown: the schedule and the sources stop first, then the explorer, then the clients
close, last of all the engine and the lock on the state folder.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from spotlightd import __version__
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.flow import ArchiveFlow
from spotlightd.flows.batch.schedule import Collector, Wakeups, run_bookkeeping, run_triggers
from spotlightd.flows.supervise import Board, Flow, Reporter, Status, run_in_background, run_isolated, run_vital
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
from spotlightd.runtime.disks import make_disk_monitor, release_ballast
from spotlightd.runtime.disks import read_disk_metrics as disk_readings
from spotlightd.runtime.endpoint import ENDPOINT, publish_endpoint
from spotlightd.runtime.explorer import make_explorer_context
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.runtime.streams import OpenStreams, open_streams
from spotlightd.settings.settings import Settings
from spotlightd.web.app import build_application, serve
from spotlightd.web.metrics import serve_metrics

PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that is ready. `web` is the explorer's address."""

    instance: Instance
    board: Board
    bells: Wakeups
    web: str
    bus: Bus


@asynccontextmanager
async def start_daemon(settings: Settings, *, notice: str = "") -> AsyncIterator[Daemon]:
    """The whole daemon at work; leaving the block drains it and closes everything, in order."""
    told = settings.log
    said = LogBuffer(told.table_waiting_events, told.table_minute_events)
    with forward_events(said.add) if told.table_seconds else nullcontext():
        async with _at_work(settings, said, notice) as daemon:
            yield daemon


@asynccontextmanager
async def _at_work(settings: Settings, said: LogBuffer, notice: str) -> AsyncIterator[Daemon]:
    began, board, bells = datetime.now(UTC), Board(), Wakeups()
    log = logger()
    log.info("daemon started", version=__version__, state=str(settings.state_dir))
    await release_ballast(settings)
    async with open_instance(settings) as instance:
        collected = instance.sources if settings.schedule.enabled else ()
        for source in collected:
            instance.publishers.for_source(source)  # refuses a source that asks for a contact, before anything is begun
        archive, documents = make_archiver(instance), make_document_tiering(instance)

        async def relieve(_: FileSystem) -> None:
            await instance.documents.cache.evict_all()
            await archive.free_disk()

        disks = make_disk_monitor(settings, instance.context.gate, on_critical=relieve)
        metrics = PrometheusMetrics(
            [one.name for one in instance.catalog.streams], [one.name for one in instance.catalog.sources],
            version=__version__, flows=lambda: read_flows(board), disks=lambda: disk_readings(disks.state()),
            archive=archive.state, documents=documents.state,
        )  # fmt: skip
        writing = run_log_writer(board, said, instance.context.warehouse, metrics, settings.log.table_seconds)
        async with writing, open_streams(instance, metrics) as streams:
            context = replace(
                make_explorer_context(instance, streams, board, began, notice),
                disks=disks.state,
                archive=archive.state,
                document_tiers=documents.state,
            )
            await disks.check()  # before anything moves: what is too full now holds from the beginning
            async with (
                run_in_background(
                    **_keepers(instance, board, metrics, disks, archive, documents), **_movers(instance, streams, board)
                ),
                serve_metrics(metrics.text, settings.metrics, settings.web.hosts),
                serve(build_application(context), settings.web.host, settings.web.port) as port,
            ):
                web = f"http://{settings.web.host}:{port}"
                here = replace(instance.endpoint, web=web, collects=tuple(source.name for source in collected))
                publish_endpoint(settings, here)
                gatherers = _collectors(instance, board, bells, metrics, collected) | {
                    name: run_isolated(board, name, flow) for name, flow in streams.listeners.items()
                }
                async with (
                    run_in_background(**gatherers),
                    run_triggers(collected, bells, on_start=settings.schedule.on_start),
                ):
                    log.info("daemon ready", web=web)
                    systemd.ready(f"explorer on {web}")
                    try:
                        yield Daemon(instance, board, bells, web, streams.bus)
                    finally:
                        log.info("daemon stopping")
                        systemd.stopping()
    (settings.state_dir / ENDPOINT).unlink(missing_ok=True)
    log.info("daemon stopped")


def _keepers(
    instance: Instance,
    board: Board,
    metrics: PrometheusMetrics,
    disks: DiskWatch,
    archive: Archiver,
    documents: DocumentTiering,
) -> dict[str, Coroutine[Any, Any, None]]:
    """What keeps the daemon itself: records, the watchdog, heartbeats, the watch over disks, the measure of the loop."""
    every, warehouse = instance.settings.metrics.heartbeat_seconds, instance.context.warehouse
    return {
        "bookkeeping": run_vital(board, "bookkeeping", lambda report: _bookkeeping(report, instance)),
        "heart": run_vital(board, "heart", lambda report: _heart(report, board)),
        "archive": run_isolated(board, "archive", ArchiveFlow(archive)),
        "documents": run_isolated(board, "documents", documents),
        "bucket": run_isolated(board, "bucket", lambda report: watch_bucket(report, instance.bucket)),
        "pulse": run_isolated(board, "pulse", lambda report: write_heartbeats(report, board, warehouse, every)),
        "disk": run_isolated(board, "disk", disks),
        "disk rows": run_isolated(board, "disk rows", DiskHistory(disks, warehouse)),
        "loop lag": measure_loop_lag(metrics),
    }


def _movers(instance: Instance, streams: OpenStreams, board: Board) -> dict[str, Coroutine[Any, Any, None]]:
    """What moves frames on until the listeners have stopped, and what is made of them."""
    context = instance.context
    made = {
        one.name: TransformRunner(
            one,
            context.ledger,
            context.warehouse,
            context.publications,
            instance.positions,
            gate=context.gate,
            archives=instance.archives,
        )
        for one in instance.catalog.transforms
    }
    flows: dict[str, Flow] = {**streams.movers, **made}
    return {name: run_isolated(board, name, flow) for name, flow in flows.items()}


def _collectors(
    instance: Instance, board: Board, bells: Wakeups, metrics: PrometheusMetrics, collected: tuple[Batch, ...]
) -> dict[str, Coroutine[Any, Any, None]]:
    told, context = instance.settings.schedule, replace(instance.context, metrics=metrics)
    since = told.since or date.min
    return {
        source.name: run_isolated(
            board,
            f"collect {source.name}",
            Collector(source, instance.publishers, context, bells, since, told.judged_on),
        )
        for source in collected
    }


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. One that comes during the start is obeyed when the start is done."""
    async with stop_signal() as stop, start_daemon(settings):
        await stop.wait()


@asynccontextmanager
async def stop_signal() -> AsyncIterator[asyncio.Event]:
    """Set on SIGTERM or SIGINT while the block runs, and deaf to them after it: the process is about to end.

    The block is to hold the start and the whole shutdown: impatient ones tell twice, and the second time would
    otherwise cut short what the first began.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def _bookkeeping(report: Reporter, instance: Instance) -> None:
    await run_bookkeeping(
        report, instance.context.ledger, instance.context.warehouse, instance.datasets, instance.archives
    )


async def _heart(report: Reporter, board: Board) -> None:
    """Feed systemd's watchdog from the loop itself, and say in one line how the flows are."""
    pause = systemd.watchdog_seconds() or PROBE_SECONDS
    report.expect_beats(60 / pause)
    while True:
        report.beat()
        systemd.alive()
        systemd.status(_summary(board.read()))
        await asyncio.sleep(pause)


def _summary(statuses: tuple[Status, ...]) -> str:
    troubled = [f"{one.name}: {one.error or one.beat_summary}" for one in statuses if one.error or one.is_hanging]
    return "; ".join(troubled) or f"{len(statuses)} flows at work"
