"""When sources are checked. The scheduler only wakes the flow of a source; the ledger decides what is due.

APScheduler 3.11 deliberately keeps its jobs in memory only: the check at start makes up for triggers that were missed
while the machine was asleep, and several missed triggers become one check (`coalesce`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from time import monotonic

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from spotlightd.backoff import Backoff
from spotlightd.errors import FormatError, PublisherError, StoreError
from spotlightd.flows.batch.forecast import Forecast
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.flows.batch.job_progress import JobProgress
from spotlightd.flows.batch.laps import LAP_SECONDS, Course, Lap
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.context import IngestContext, IngestResult
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.flows.loads.publish import replaces
from spotlightd.flows.loads.recovery import sweep_dead_loads
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Batch
from spotlightd.model.text import count
from spotlightd.ports.ledger import Job, Ledger
from spotlightd.ports.progress import Checkpoint
from spotlightd.ports.publisher import Publishers
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives

MISFIRE_GRACE_SECONDS = 6 * 3600
HOLD = Backoff(first=1.0, most=15.0, jitter=0.0)  # an engine that died is back in about a second, a full disk is not
JOB_POLL_SECONDS = 2.0
WAITING_PER_MINUTE = 60 / JOB_POLL_SECONDS
BOOKKEEPING_PER_MINUTE = 12.0  # a round every two seconds, plus the time of its work
COPIES_SECONDS = 15.0  # then the copies themselves are looked at again: somebody may have emptied one
INGESTING_PER_MINUTE = 1 / 15  # a document may take half an hour to fetch and a quarter of an hour to parse


@dataclass(frozen=True, slots=True)
class Wakeups:
    """One event per source, set by its schedule, at start and after a failure. The flow of the source waits for it."""

    events: dict[str, asyncio.Event] = field(default_factory=dict)

    def of(self, source: str) -> asyncio.Event:
        return self.events.setdefault(source, asyncio.Event())


@asynccontextmanager
async def run_triggers(sources: Iterable[Batch], wakeups: Wakeups, *, on_start: bool) -> AsyncIterator[None]:
    """Wake the flow of each source by its `cron`, in UTC, while the block runs."""
    scheduler = AsyncIOScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "misfire_grace_time": MISFIRE_GRACE_SECONDS}
    )
    for source in sources:
        trigger = CronTrigger.from_crontab(source.cron, timezone=UTC)
        scheduler.add_job(wakeups.of(source.name).set, trigger, name=source.name)
        if on_start:
            wakeups.of(source.name).set()
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


@dataclass(frozen=True, slots=True)
class Collector:
    """The flow of one source: it waits for a wake-up or a job, then ingests. It holds while a store fails."""

    source: Batch
    publishers: Publishers
    context: IngestContext
    wakeups: Wakeups
    since: date = date.min
    judged_on: date | None = None
    lap_seconds: float = LAP_SECONDS

    async def __call__(self, report: Reporter) -> None:
        wakeup = self.wakeups.of(self.source.name)
        course = Course(Forecast(self.source, self.context.clock), self.context.clock)
        while True:
            report.expect_beats(WAITING_PER_MINUTE)
            job = await self._wait_for_work(report, course, wakeup)
            report.expect_beats(INGESTING_PER_MINUTE)
            is_done = False
            try:
                is_done = await self._run_until_stored(report, course, job)
            finally:
                if not is_done:
                    wakeup.set()  # it goes on at once, also when the supervisor restarts this flow

    async def _wait_for_work(self, report: Reporter, course: Course, wakeup: asyncio.Event) -> Job | None:
        """Wait for a wake-up (None), the end of a pause (None), or a queued backfill, which goes first. Jobs are polled every
        two seconds.
        """
        while True:
            if job := await self._find_job():
                return job
            if wakeup.is_set() or course.is_due:
                wakeup.clear()
                return None
            if reason := self.context.gate.table_reason(self.source.datasets):
                report.set_holding(reason)
            else:
                report.set_waiting(course.sentence)
            report.beat(did_something=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(JOB_POLL_SECONDS):  # wait_for can swallow a cancellation, up to Python 3.11
                    await wakeup.wait()

    async def _find_job(self) -> Job | None:
        jobs = await self.context.ledger.open_jobs("backfill")
        return next((job for job in jobs if job.target == self.source.name), None)

    async def _run_until_stored(self, report: Reporter, course: Course, job: Job | None) -> bool:
        """Run one check or job, and repeat it while a store fails: a full disk or a dead engine delays it, nothing is
        lost. False when documents are left for another lap.
        """
        failures = 0
        while True:
            try:
                if failures:
                    await self._ping_stores()
                if job:
                    await self._run_job(report, course.forecast, job)
                    is_done = True
                else:
                    is_done = await self._ingest_due(report, course)
            except StoreError as problem:
                report.set_holding(str(problem))
                report.beat(did_something=False)
                failures += 1
                await asyncio.sleep(HOLD.pause(failures))
            else:
                if failures:
                    logger(source=self.source.name).info("store recovered")
                return is_done

    async def _ping_stores(self) -> None:
        """StoreError while a store is down: then the publisher is not bothered."""
        await self.context.documents.ping()
        await self.context.warehouse.ping()

    async def _ingest_due(self, report: Reporter, course: Course) -> bool:
        """One lap over what is due. False when some of it is left for the next one, which begins at once."""

        async def checkpoint(step: str, done: int, total: int) -> None:
            await self._report(report, course.forecast, step, done, total)

        lap = course.begin_lap(self.lap_seconds)
        await self._ingest(IngestRange(first=self.since), checkpoint, lap)
        course.end_lap(lap)
        if lap.has_stalled:
            logger(source=self.source.name).warning("lap stalled", reason=course.sentence)
        await self._check_lateness()
        return not lap.was_cut

    async def _report(self, report: Reporter, forecast: Forecast, step: str, done: int, total: int) -> None:
        """Show how far a lap or job is, while nothing holds it."""
        await self.context.gate.wait_until_open("batch loads", report, self.source.datasets)
        forecast.note(done, total)
        report.set_working(step + forecast.sentence, done, total, ends_at=forecast.ends_at)
        report.beat(queue=total - done)

    async def _check_lateness(self) -> None:
        """Log a warning, and set the metric, when the newest slice that should be published is not loaded."""
        expected = self.source.expected(self.judged_on or datetime.now(UTC).date())
        visible = await self.context.ledger.related_loads(self.source.name, expected.covers)
        is_late = not any(replaces(load.covers, expected.covers) for load in visible)
        if is_late:
            logger(source=self.source.name).warning("source late", covers=expected.covers, due=str(expected.due))
        if self.context.metrics:
            due_at = datetime.combine(expected.due, time.min, UTC).timestamp()
            late_since = due_at if is_late else 0.0
            self.context.metrics.gauge("source_late_since_timestamp_seconds", late_since, source=self.source.name)

    async def _run_job(self, report: Reporter, forecast: Forecast, job: Job) -> None:
        ledger = self.context.ledger
        progress = JobProgress(ledger, job)

        async def checkpoint(step: str, done: int, total: int) -> None:
            if reason := self.context.gate.hold_reason("batch loads", self.source.datasets):
                progress.note(done, total, reason)
            await self._report(report, forecast, step, done, total)
            progress.note(done, total, step + forecast.sentence)

        try:
            async with progress.saved_meanwhile():
                span = IngestRange(first=job.first, last=job.last, again=True)
                results = await self._ingest(span, checkpoint, Lap())
        except (PublisherError, FormatError) as problem:
            await ledger.update_job(replace(job, state="failed", detail=str(problem)))
            raise
        ended = replace(job, state="done", done=len(results), total=len(results), detail=summarize_results(results))
        await ledger.update_job(replace(ended, state="failed") if any(result.error for result in results) else ended)

    async def _ingest(self, span: IngestRange, checkpoint: Checkpoint, lap: Lap) -> list[IngestResult]:
        publisher = self.publishers.for_source(self.source)
        return await ingest(self.source, publisher, self.context, span=span, checkpoint=checkpoint, lap=lap)


def summarize_results(results: Sequence[IngestResult]) -> str:
    """The results in a sentence, with the first error."""
    counts = Counter(result.outcome for result in results)
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common()) or "nothing was due"
    first_error = next((f"; {result.link.covers}: {result.error}" for result in results if result.error), "")
    rows = count(sum(result.rows for result in results), "row")
    return f"{count(len(results), 'document')}: {outcomes}; {rows}{first_error}"


async def run_bookkeeping(
    report: Reporter,
    ledger: Ledger,
    warehouse: Warehouse,
    datasets: Iterable[Dataset],
    archives: Archives,
    *,
    gate: Gate,
    every_seconds: float = 2.0,
) -> None:
    """The flow that copies the ledger's records to the warehouse and deletes the rows of dead loads, except in tables that
    lost their rows.
    """
    known = list(datasets)
    newest, look_at = dict[str, int](), 0.0
    report.expect_beats(BOOKKEEPING_PER_MINUTE)
    while True:
        done = 0
        try:
            if monotonic() >= look_at:
                newest, look_at = {}, monotonic() + COPIES_SECONDS
            done += await mirror_records(ledger, warehouse, archives, newest)
            present = [dataset for dataset in known if not gate.table_reason((dataset,))]
            done += await sweep_dead_loads(ledger, warehouse, present)
        except StoreError as problem:
            report.set_holding(str(problem))
            logger(flow="bookkeeping").warning("store failed", error=str(problem))
        else:
            report.set_waiting("all records are copied")
        report.beat(did_something=done > 0)
        await asyncio.sleep(every_seconds)
