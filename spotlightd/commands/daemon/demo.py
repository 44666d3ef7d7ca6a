"""`demo`: the daemon on bundled real files and frames, replayed on this machine."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.demo.exchange import Exchange, Script, run_exchange
from spotlightd.demo.history import append_history
from spotlightd.demo.mirror import Mirror, load_publishers, run_mirror
from spotlightd.demo.publisher import EVER, Publisher
from spotlightd.errors import SettingsError
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.flows.loads.context import IngestResult
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.model.source import Batch, Period
from spotlightd.ports.ledger import Job
from spotlightd.ports.progress import Progress, to_checkpoint
from spotlightd.runtime.catalog import load_catalog
from spotlightd.runtime.daemon import Daemon, start_daemon, stop_signal
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.runtime.reload import reload_signal
from spotlightd.runtime.streams import BUS_FILE
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import BusSettings, ScheduleSettings
from spotlightd.settings.stores import ArchiveSettings, BucketSettings, DiskSettings, DocumentsSettings

JUDGED_ON = date(2021, 3, 20)
NOTICE = (
    "Demo: files are replayed on this machine. Real: the SEC's fails of January and February 2021, whole; DTCC's swaps of "
    "credit and rates (cut) of 2026-07-15 and of currencies of August 2023; Nasdaq's threshold list of 2026-07-27; some "
    "records of short volume and halts. Constructed by us: one correction of 2021-01b (two balances of GME, a removed row of "
    "VMAR, an added row CNSTRD), which the SEC never made; all swaps under SEC rules and at ICE and CME; all other threshold "
    "lists; the audit trail's reports. 2021-02b is shown cut off at first, and is refused. The trades are real Finnhub frames "
    "of 2020 to 2024, repeated, with their times moved to now and to the day before yesterday. The demo's venue closes the "
    "connection every 45 seconds on purpose: each time there is a short gap."
)
POLL_SECONDS = 0.2
MIRROR_REQUESTS_PER_SECOND = 1000.0  # sources of dated files ask for many days that the mirror has not
DISK = DiskSettings(warn_percent=97.0, batch_percent=98.0, sink_percent=99.0, ballast_percent=99.5, ballast_bytes=0)
ARCHIVE = ArchiveSettings(hot_days={"trades": 1}, every_seconds=5.0, grace_seconds=0.0)
SYMBOLS = ("AAPL", "TSLA", "BINANCE:BTCUSDT")
DISCONNECT_SECONDS = 45.0
GAP_SECONDS = 8.0


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Run the daemon with a mirror on loopback in the publishers' place, and an exchange on loopback in the venue's."""
    script = Script(fresh_times=True, keeps_sent=False)
    publishers = _choose_publishers(load_publishers(), arguments.sources)
    async with run_mirror(publishers) as mirror, run_exchange(script) as venue:
        settings = _make_settings(arguments, settings, mirror, venue)
        if arguments.once:
            out.value(await _load_all(settings, mirror, out))
            return 0
        is_new = not (settings.state_dir / BUS_FILE).exists()
        async with stop_signal() as stop, _run(settings) as daemon:
            out.note(f"spotlightd demo: {daemon.web} (Ctrl-C ends it)")
            if is_new:
                await _append_history(daemon)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_publish_stages(daemon, mirror), name="demo publisher"),
                    group.create_task(_disconnect(venue), name="demo venue"),
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()
    return 0


def _choose_publishers(publishers: Sequence[Publisher], names: Sequence[str]) -> list[Publisher]:
    """The publishers with only these sources; without names all. SettingsError for a source that the demo has not."""
    known = {name for publisher in publishers for name in publisher.sources}
    if unknown := sorted(set(names) - known):
        raise SettingsError(f"the demo has no source {unknown[0]!r}: it has {', '.join(sorted(known))}")
    chosen = [
        replace(publisher, sources=tuple(name for name in publisher.sources if name in (names or known)))
        for publisher in publishers
    ]
    return [publisher for publisher in chosen if publisher.sources]


@asynccontextmanager
async def _run(settings: Settings) -> AsyncIterator[Daemon]:
    with reload_signal(settings):
        async with start_daemon(settings, notice=NOTICE) as daemon:
            yield daemon


def _make_settings(arguments: argparse.Namespace, settings: Settings, mirror: Mirror, venue: Exchange) -> Settings:
    """The settings of the demo. The bus, bucket and stores of the operator are not used, whatever the settings say."""
    web = replace(settings.web, port=arguments.port)
    publisher = replace(
        settings.publisher, mirrors=mirror.mirrors, mirror_requests_per_second=MIRROR_REQUESTS_PER_SECOND
    )
    sources = [name for publisher in mirror.publishers for name in publisher.sources]
    schedule = ScheduleSettings(sources=sources, on_start=False, judged_on=JUDGED_ON)
    state = settings.state_dir if arguments.state else Path("state/demo")
    streams = replace(
        settings.streams, symbols={"finnhub": list(SYMBOLS)}, addresses={"finnhub": venue.address},
        backoff_seconds=GAP_SECONDS, backoff_most_seconds=2 * GAP_SECONDS,
    )  # fmt: skip
    return replace(
        settings, state_dir=state, web=web, publisher=publisher, schedule=schedule, streams=streams, bus=BusSettings(),
        bucket=BucketSettings(), disk=DISK, archive=ARCHIVE, documents=DocumentsSettings(every_seconds=10.0),
    )  # fmt: skip


async def _append_history(daemon: Daemon) -> None:
    """Ticks of an earlier day, at the first start, so that the archive has something to do within a minute."""
    source = next(source for source in load_catalog().streams if source.name == "finnhub")
    await append_history(daemon.bus, source, datetime.now(UTC))


async def _disconnect(venue: Exchange) -> None:
    """The venue closes the connection regularly, so that there are gaps to see."""
    while True:
        await asyncio.sleep(DISCONNECT_SECONDS)
        venue.abort()


async def _load_all(settings: Settings, mirror: Mirror, out: Out) -> dict[str, Any]:
    """Load every stage of the demo's publishers, one after the other; returns the counts."""
    started, results = time.monotonic(), list[IngestResult]()
    async with open_instance(settings) as instance:
        with out.progress("demo") as progress:
            for number in range(await _find_stage(instance, mirror), mirror.stages):
                mirror.show(number)
                for source, days in _find_sources(instance, mirror, number):
                    results += await _ingest(instance, source, days, progress)
        await mirror_records(instance.ledger, instance.warehouse, instance.archives)
    refused = [result for result in results if result.outcome == "refused"]
    return {
        "documents": sum(result.outcome == "published" for result in results),
        "unchanged": sum(result.outcome == "unchanged" for result in results),
        "refused": [{"covers": result.link.covers, "error": result.error} for result in refused],
        "rows": sum(result.rows for result in results),
        "seconds": round(time.monotonic() - started, 3),
        "state": str(settings.state_dir),
        "address": f"http://{settings.web.host}:{settings.web.port}",
        "next": f"spotlightd demo --state {settings.state_dir}",
    }


async def _find_stage(instance: Instance, mirror: Mirror) -> int:
    """The newest stage whose files this state folder all has: a second demo continues there."""
    newest = 0
    for number in range(mirror.stages):
        files = [path for publisher in mirror.find_changed(number) for path in publisher.stages[number].files.values()]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        if all([await instance.ledger.document(digest) for digest in digests]):
            newest = number
    return newest


def _find_sources(instance: Instance, mirror: Mirror, stage: int) -> list[tuple[Batch, Period]]:
    """The sources of the publishers whose site is another one at this stage, each with the days to ask for."""
    changed = mirror.find_changed(stage)
    days = {name: publisher.days.get(name, EVER) for publisher in changed for name in publisher.sources}
    return [(source, days[source.name]) for source in instance.sources if source.name in days]


async def _ingest(instance: Instance, source: Batch, days: Period, progress: Progress) -> list[IngestResult]:
    publisher, span = instance.publishers.for_source(source), IngestRange(days.first, days.last, again=True)
    return await ingest(source, publisher, instance.ingest_context(), span=span, checkpoint=to_checkpoint(progress))


async def _publish_stages(daemon: Daemon, mirror: Mirror) -> None:
    """Show the publishers' stages one after the other, and have the daemon collect each."""
    ledger = daemon.instance.ledger
    for number in range(await _find_stage(daemon.instance, mirror), mirror.stages):
        mirror.show(number)
        sources = _find_sources(daemon.instance, mirror, number)
        jobs = [await ledger.add_job(Job("backfill", source.name, days.first, days.last)) for source, days in sources]
        for job in jobs:
            while not (await ledger.job(job.number)).has_ended:  # noqa: ASYNC110  (the state is in a file)
                await asyncio.sleep(POLL_SECONDS)


COMMAND = Command(
    "demo",
    "run the daemon on real files that are replayed on this machine; needs no keys and no network",
    "spotlightd demo --port 8080",
    (
        argument("sources", metavar="SOURCE", nargs="*", help="sources to collect (default: all that the demo has)"),
        argument("--port", type=int, default=8080, help="port of the explorer; if it is in use, the next free one"),
        argument("--once", action="store_true", help="load everything that is due, print a summary in JSON, and end"),
    ),
    run,
    is_daemon=True,
)
