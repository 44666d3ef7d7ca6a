"""The command demo: the daemon on bundled real files and frames, replayed on this machine."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.commands.output import Out
from spotlightd.demo.exchange import Exchange, Script, exchanging
from spotlightd.demo.history import remembered
from spotlightd.demo.mirror import Mirror, mirroring, timeline
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.flows.loads.load import IngestResult
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.ports.ledger import Job
from spotlightd.runtime.catalog import catalog
from spotlightd.runtime.daemon import Running, started, told_to_stop
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.runtime.streams import BUS_FILE
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import BusSettings, ScheduleSettings
from spotlightd.settings.stores import ArchiveSettings, BucketSettings, DiskSettings, DocumentsSettings

JUDGED_ON = date(2021, 3, 20)
NOTICE = (
    "Demo: SEC files of early 2021, replayed on this machine. 2021-01a is the whole real file. 2021-01b and 2021-02b are "
    "real rows cut short, with trailers constructed by us; the correction of 2021-01b is constructed too. The trades are real "
    "Finnhub frames of 2020 to 2024, sent again and again with their times moved to now, and to the day before yesterday."
)
TURN_SECONDS = 0.2
DISK = DiskSettings(warn_percent=97.0, batch_percent=98.0, sink_percent=99.0, ballast_percent=99.5, ballast_bytes=0)
ARCHIVE = ArchiveSettings(hot_days={"trades": 1}, every_seconds=5.0, grace_seconds=0.0)
SYMBOLS = ("AAPL", "TSLA", "BINANCE:BTCUSDT")
HANG_UP_SECONDS = 45.0
GAP_SECONDS = 8.0


async def demo(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """The daemon on bundled real files: the same code, told to ask a mirror on loopback instead of the publisher."""
    host, stages = timeline()
    async with mirroring(host, stages) as mirror, exchanging(Script(fresh_times=True)) as venue:
        told = _demo_settings(arguments, settings, mirror, venue)
        if arguments.once:
            out.value(await _once(told, mirror, out))
            return 0
        await _remember(told)
        async with told_to_stop() as stop, started(told, notice=NOTICE) as daemon:
            out.note(f"spotlightd demo: {daemon.web} (Ctrl-C ends it)")
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_turn_pages(daemon, mirror), name="demo publisher"),
                    group.create_task(_hang_up(venue), name="demo venue"),
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()
    return 0


def _demo_settings(arguments: argparse.Namespace, settings: Settings, mirror: Mirror, venue: Exchange) -> Settings:
    web = replace(settings.web, port=arguments.port)
    publisher = replace(settings.publisher, mirrors={mirror.host: mirror.address})
    schedule = ScheduleSettings(sources=["sec_ftd"], on_start=False, judged_on=JUDGED_ON)
    state = settings.state_dir if arguments.state else Path("state/demo")
    streams = replace(
        settings.streams, symbols={"finnhub": list(SYMBOLS)}, addresses={"finnhub": venue.address},
        backoff_seconds=GAP_SECONDS, backoff_most_seconds=2 * GAP_SECONDS,
    )  # fmt: skip
    return replace(  # whatever is set: nothing of the demo goes elsewhere
        settings, state_dir=state, web=web, publisher=publisher, schedule=schedule, streams=streams, bus=BusSettings(),
        bucket=BucketSettings(), disk=DISK, archive=ARCHIVE, documents=DocumentsSettings(every_seconds=10.0),
    )  # fmt: skip


async def _remember(settings: Settings) -> None:
    """Ticks of an earlier day, at the first start: the archive has something to do within a minute."""
    path = settings.state_dir / BUS_FILE
    if path.exists():
        return
    source = next(one for one in catalog().streams if one.name == "finnhub")
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with LocalLog(path) as log:
        await remembered(log, source, datetime.now(UTC))


async def _hang_up(venue: Exchange) -> None:
    """The venue hangs up now and then, so that there are gaps to see."""
    while True:
        await asyncio.sleep(HANG_UP_SECONDS)
        venue.abort()


async def _once(settings: Settings, mirror: Mirror, out: Out) -> dict[str, Any]:
    """Everything that the demo's publisher ever shows, loaded in turn; then counted."""
    began, results = time.monotonic(), list[IngestResult]()
    async with open_instance(settings) as house:
        with out.progress("demo") as moves:
            for number in range(await _seen(house, mirror), len(mirror.stages)):
                mirror.show(number)
                results += await _look(house, moves)
        await mirror_records(house.stores.ledger, house.stores.warehouse, house.archives)
    return {
        "documents": sum(one.outcome == "published" for one in results),
        "unchanged": sum(one.outcome == "unchanged" for one in results),
        "refused": [{"covers": one.link.covers, "error": one.error} for one in results if one.outcome == "refused"],
        "rows": sum(one.rows for one in results),
        "seconds": round(time.monotonic() - began, 3),
        "state": str(settings.state_dir),
        "address": f"http://{settings.web.host}:{settings.web.port}",
        "next": f"spotlightd demo --state {settings.state_dir}",
    }


async def _seen(house: Instance, mirror: Mirror) -> int:
    """The newest stage of which this state folder has every file: a second demo goes on, and does not start over."""
    newest = 0
    for number, stage in enumerate(mirror.stages):
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in stage.files.values()]
        if all([await house.stores.ledger.document(digest) for digest in digests]):
            newest = number
    return newest


async def _look(house: Instance, moves: Any) -> list[IngestResult]:
    async def progress(says: str, done: int, total: int) -> None:
        moves(says, done, total)

    results = []
    for source in house.sources:
        publisher = house.publishers.of(source)
        results += await ingest(source, publisher, house.stores, span=IngestRange(again=True), progress=progress)
    return results


async def _turn_pages(daemon: Running, mirror: Mirror) -> None:
    """Show the publisher's stages one after the other, and have the sources look at each."""
    ledger = daemon.house.stores.ledger
    for number in range(await _seen(daemon.house, mirror), len(mirror.stages)):
        mirror.show(number)
        jobs = [await ledger.add_job(Job("backfill", source.name)) for source in daemon.house.sources]
        for job in jobs:
            while not (await ledger.job(job.number)).has_ended:  # noqa: ASYNC110  (it stands in a file)
                await asyncio.sleep(TURN_SECONDS)
