"""Commands about collecting: sources, backfill, rebuild."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime

from spotlightd.commands.output import Out
from spotlightd.commands.session import ledger_beside, reading
from spotlightd.errors import PublisherError, SettingsError
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.flows.batch.schedule import summarize_results
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.flows.loads.mirror import rebuild_mirror as anew
from spotlightd.model.source import Batch
from spotlightd.ports.ledger import Job
from spotlightd.ports.warehouse import Warehouse
from spotlightd.runtime.catalog import catalog
from spotlightd.runtime.endpoint import running_daemon
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings

POLL_SECONDS = 0.5
SILENT_SECONDS = 60.0
NEWEST = """
SELECT covers, max(at) AS at FROM (
    SELECT covers, published_at AS at FROM loads WHERE source = {source:String} ORDER BY seq DESC LIMIT 1 BY covers
) GROUP BY covers
"""


async def sources(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """What is collected, when it is due, and how late it is."""
    del arguments
    async with reading(settings) as here:
        rows = [await _row(source, here.warehouse, settings) for source in here.catalog.sources]
    out.table(("source", "title", "newest", "published", "expected", "next", "next due", "state"), rows)
    return 0


async def _row(source: Batch, warehouse: Warehouse, settings: Settings) -> tuple[str, ...]:
    published = {row["covers"]: row["at"] for row in (await warehouse.rows(NEWEST, {"source": source.name})).dicts()}
    day = settings.schedule.judged_on or datetime.now(UTC).date()
    now, following = source.expected(day), source.next_due(day)
    newest = max(published, default="")
    state = source.suspended or ("late" if now.covers not in published else "in time")
    at = published[newest].strftime("%Y-%m-%d %H:%M") if newest else "never"
    return source.name, source.title, newest, at, now.covers, following.covers, following.due.isoformat(), state


async def backfill(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Collect a span of days. Beside a running daemon it is the daemon that does it; this command watches."""
    job = Job("backfill", arguments.source, arguments.first, arguments.last)
    if job.first > job.last:
        raise SettingsError(f"--from {job.first} is after --to {job.last}")
    return await collect(job, settings, out)


async def collect(job: Job, settings: Settings, out: Out) -> int:
    """Run a backfill, in this process or in the daemon; 1 when a document could not be had or was refused."""
    _named(job.target, catalog(settings).sources)
    daemon = running_daemon(settings)
    if daemon is None:
        return await _backfill_here(job, settings, out)
    if job.target not in daemon.collects:
        raise SettingsError(
            f"the running daemon does not collect {job.target}: have it do so (schedule.enabled, schedule.sources), or "
            "stop it and ask again"
        )
    return await watched(job, settings, out)


def _named(name: str, sources: tuple[Batch, ...]) -> Batch:
    for source in sources:
        if source.name == name:
            return source
    raise SettingsError(f"no source is called {name!r}; there are: {', '.join(one.name for one in sources)}")


async def _backfill_here(job: Job, settings: Settings, out: Out) -> int:
    async with open_instance(settings) as house:
        source = _named(job.target, house.catalog.sources)
        with out.progress(f"backfill {source.name}") as moves:

            async def progress(says: str, done: int, total: int) -> None:
                moves(says, done, total)

            span = IngestRange(job.first, job.last, again=True)
            results = await ingest(source, house.publishers.of(source), house.stores, span=span, progress=progress)
        await mirror_records(house.stores.ledger, house.stores.warehouse, house.archives)
    for one in results:
        if one.error:
            out.note(f"{one.link.covers}: {one.outcome}: {one.error}")
    out.say(summarize_results(results), {"documents": len(results), "says": summarize_results(results)})
    return 1 if any(one.error for one in results) else 0


async def watched(job: Job, settings: Settings, out: Out) -> int:
    """Ask the running daemon for a backfill or replay, and watch it; 1 when it failed."""
    async with ledger_beside(settings) as ledger:
        seen = await ledger.add_job(job)
        out.note(f"the running daemon does it as job {seen.number}; it continues if this command is stopped")
        with out.progress(str(job)) as moves:
            since = asyncio.get_running_loop().time()
            while not seen.has_ended:
                await asyncio.sleep(POLL_SECONDS)
                now = await ledger.job(seen.number)
                if now != seen:
                    seen, since = now, asyncio.get_running_loop().time()
                elif running_daemon(settings) is None and asyncio.get_running_loop().time() - since > SILENT_SECONDS:
                    raise PublisherError("the daemon has ended; what was asked for goes on when it is started again")
                moves(seen.detail, seen.done, seen.total)
    out.say(seen.detail, {"documents": seen.total, "says": seen.detail})
    return 0 if seen.state == "done" else 1


async def rebuild(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Make the warehouse's copies of the ledger's records anew."""
    del arguments
    if running_daemon(settings) is not None:
        raise SettingsError("the daemon is running: stop it first, so that the ledger stands still")
    async with open_instance(settings) as house:
        known = await house.partitions.partitions()
        rows = await anew(house.stores.ledger, house.stores.warehouse, house.archives, known)
    out.say(f"{rows:,} records copied from the ledger", {"rows": rows})
    return 0
