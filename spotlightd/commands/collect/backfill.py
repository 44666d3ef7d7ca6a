"""`backfill`: collects the documents of a source for a range of days."""

from __future__ import annotations

import argparse

from spotlightd.commands.command import Command, argument, check_day_range, day_range
from spotlightd.commands.jobs import watch_job
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.flows.batch.forecast import Forecast, add_forecast
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.flows.batch.schedule import summarize_results
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.model.source import Batch
from spotlightd.ports.ledger import Job
from spotlightd.ports.progress import to_checkpoint
from spotlightd.runtime.catalog import load_catalog
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Collect the days. Beside a running daemon the daemon does it, and this command watches."""
    check_day_range(arguments.first, arguments.last)
    return await run_backfill(Job("backfill", arguments.source, arguments.first, arguments.last), settings, out)


async def run_backfill(job: Job, settings: Settings, out: Out) -> int:
    """Run a backfill, in the daemon or in this process; 1 when a document was not available or was refused."""
    _find_source(job.target, load_catalog(settings).sources)
    daemon = find_daemon(settings)
    if daemon is None:
        return await _backfill_without_daemon(job, settings, out)
    if job.target not in daemon.collects:
        raise SettingsError(
            f"the running daemon does not collect {job.target}: have it do so (schedule.enabled, schedule.sources), or "
            "stop it and repeat this command"
        )
    return await watch_job(job, settings, out)


def _find_source(name: str, sources: tuple[Batch, ...]) -> Batch:
    for source in sources:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in sources)
    raise SettingsError(f"no source is called {name!r}; there are: {known}")


async def _backfill_without_daemon(job: Job, settings: Settings, out: Out) -> int:
    async with open_instance(settings) as instance:
        source = _find_source(job.target, instance.catalog.sources)
        instance.require_tables(source.datasets)
        with out.progress(f"backfill {source.name}") as progress:
            span = IngestRange(job.first, job.last, again=True)
            publisher = instance.publishers.for_source(source)
            context = instance.ingest_context()
            checkpoint = to_checkpoint(add_forecast(progress, Forecast(source, context.clock)))
            results = await ingest(source, publisher, context, span=span, checkpoint=checkpoint)
        await mirror_records(instance.ledger, instance.warehouse, instance.archives)
    failures = [result for result in results if result.error]
    for result in failures:
        out.note(f"{result.link.covers}: {result.outcome}: {result.error}")
    summary = summarize_results(results)
    out.result(summary, {"documents": len(results), "detail": summary})
    return 1 if failures else 0


COMMAND = Command(
    "backfill",
    "collect a range of days of one source; continues where it was stopped",
    "spotlightd backfill sec_ftd --from 2004-03-22 --to 2009-06-30",
    (
        argument("source", metavar="SOURCE", help="name of a source"),
        *day_range("first day, 2021-01-31", "last day, included"),
    ),
    run,
)
