"""When sources are looked at. The scheduler only says "look now"; what is due is decided by the ledger.

APScheduler 3.11 keeps its jobs in memory on purpose: a trigger that was missed while the machine slept is made up by
the look at start, and two missed ones are one look (`coalesce`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from spotlightd.errors import StoreError
from spotlightd.flows.batch.ingest import IngestRange, Progress, ingest
from spotlightd.flows.loads.load import IngestContext, IngestResult
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.flows.loads.publish import replaces, select_current
from spotlightd.flows.loads.recovery import sweep_dead_loads
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Batch
from spotlightd.ports.ledger import Job, Ledger
from spotlightd.ports.publisher import Publishers
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives

GRACE_SECONDS = 6 * 3600
FIRST_HOLD_SECONDS = 1.0  # doubles: an engine that died is back in about a second, a full disk is not
HOLD_SECONDS = 15.0
JOB_POLL_SECONDS = 2.0
WAITING_PER_MINUTE = 60 / JOB_POLL_SECONDS
KEEPING_PER_MINUTE = 12.0  # a round every two seconds, and what its work may take
LOOKING_PER_MINUTE = 1 / 15  # one document may take half an hour to come, and a quarter of one to be read


@dataclass(frozen=True, slots=True)
class Wakeups:
    """One bell per source: rung by the clock, at start, after a failure and by jobs; heard by the source's flow."""

    rung: dict[str, asyncio.Event] = field(default_factory=dict)

    def of(self, source: str) -> asyncio.Event:
        return self.rung.setdefault(source, asyncio.Event())


@asynccontextmanager
async def run_triggers(sources: Iterable[Batch], bells: Wakeups, *, on_start: bool) -> AsyncIterator[None]:
    """Ring each source's bell by its `cron`, in UTC, while the block runs."""
    scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"coalesce": True, "misfire_grace_time": GRACE_SECONDS})
    for source in sources:
        trigger = CronTrigger.from_crontab(source.cron, timezone=UTC)
        scheduler.add_job(bells.of(source.name).set, trigger, name=source.name)
        if on_start:
            bells.of(source.name).set()
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


@dataclass(frozen=True, slots=True)
class Collector:
    """The flow of one source: waits for its bell or a job, looks, keeps the records in step; holds while stores fail."""

    source: Batch
    publishers: Publishers
    stores: IngestContext
    bells: Wakeups
    since: date = date.min
    judged_on: date | None = None

    async def __call__(self, report: Reporter) -> None:
        bell = self.bells.of(self.source.name)
        while True:
            report.set_waiting("waiting for the next look")
            report.expect_beats(WAITING_PER_MINUTE)
            job = await self._next(report, bell)
            bell.clear()
            report.expect_beats(LOOKING_PER_MINUTE)
            looked = False
            try:
                await self._held(report, job)
                looked = True
            finally:
                if not looked:
                    bell.set()  # the supervisor starts this flow again after a pause: look then, not tomorrow

    async def _next(self, report: Reporter, bell: asyncio.Event) -> Job | None:
        """Until the bell rings (None) or a command queues a backfill. Jobs are polled every two seconds."""
        while True:
            report.beat(did_something=False)
            try:
                async with asyncio.timeout(JOB_POLL_SECONDS):  # wait_for can swallow a cancellation, up to Python 3.11
                    await bell.wait()
            except TimeoutError:
                jobs = [job for job in await self.stores.ledger.open_jobs("backfill") if job.target == self.source.name]
                if jobs:
                    return jobs[0]
            else:
                return None

    async def _held(self, report: Reporter, job: Job | None) -> None:
        """One look, repeated until our own stores take it: a full disk or a dead engine holds, it loses nothing."""
        pause = 0.0
        while True:
            try:
                if pause:
                    await self._see_stores()
                await (self._run_job(report, job) if job else self._look(report))
            except StoreError as problem:
                report.set_holding(str(problem))
                report.beat(did_something=False)
                pause = min(HOLD_SECONDS, 2 * pause or FIRST_HOLD_SECONDS)
                await asyncio.sleep(pause)
            else:
                if pause:
                    logger(source=self.source.name).info("store recovered")
                return

    async def _see_stores(self) -> None:
        """StoreError while they are down for certain: then the publisher is left in peace."""
        await self.stores.documents.ping()
        await self.stores.warehouse.ping()

    async def _look(self, report: Reporter) -> None:
        async def progress(says: str, done: int, total: int) -> None:
            await self.stores.gate.wait_until_open("batch loads", report)
            report.set_working(says, done, total)
            report.beat(queue=total - done)

        await self._ingest(IngestRange(first=self.since), progress)
        await self._judge()

    async def _judge(self) -> None:
        """Say so when the newest slice that should be out is not here."""
        wanted = self.source.expected(self.judged_on or datetime.now(UTC).date())
        published = select_current(await self.stores.ledger.loads(self.source.name, states=("published",)))
        if not any(replaces(load.covers, wanted.covers) for load in published):
            logger(source=self.source.name).warning("source late", covers=wanted.covers, due=str(wanted.due))

    async def _run_job(self, report: Reporter, job: Job) -> None:
        async def progress(says: str, done: int, total: int) -> None:
            if why := self.stores.gate.hold_reason("batch loads"):
                await ledger.update_job(replace(job, state="running", done=done, total=total, detail=why))
            await self.stores.gate.wait_until_open("batch loads", report)
            report.set_working(says, done, total)
            report.beat(queue=total - done)
            await ledger.update_job(replace(job, state="running", done=done, total=total, detail=says))

        ledger = self.stores.ledger
        results = await self._ingest(IngestRange(first=job.first, last=job.last, again=True), progress)
        ended = replace(job, state="done", done=len(results), total=len(results), detail=summarize_results(results))
        await ledger.update_job(replace(ended, state="failed") if any(result.error for result in results) else ended)

    async def _ingest(self, span: IngestRange, progress: Progress) -> list[IngestResult]:
        publisher = self.publishers.of(self.source)
        return await ingest(self.source, publisher, self.stores, span=span, progress=progress)


def summarize_results(results: Sequence[IngestResult]) -> str:
    """What a look brought, in a sentence, with the first thing that went wrong."""
    counted = Counter(one.outcome for one in results)
    said = ", ".join(f"{number} {outcome}" for outcome, number in counted.most_common()) or "nothing was due"
    wrong = next((f"; {one.link.covers}: {one.error}" for one in results if one.error), "")
    return f"{len(results)} documents: {said}; {sum(one.rows for one in results):,} rows{wrong}"


async def run_bookkeeping(
    report: Reporter,
    ledger: Ledger,
    warehouse: Warehouse,
    datasets: Iterable[Dataset],
    archives: Archives,
    *,
    every_seconds: float = 2.0,
) -> None:
    """The flow that copies the ledger's records to the warehouse and sweeps dead loads."""
    held = list(datasets)
    report.expect_beats(KEEPING_PER_MINUTE)
    while True:
        done = 0
        try:
            done += await mirror_records(ledger, warehouse, archives)
            done += await sweep_dead_loads(ledger, warehouse, held)
        except StoreError as problem:
            report.set_holding(str(problem))
            logger(flow="bookkeeping").warning("store failed", error=str(problem))
        else:
            report.set_waiting("records are in step")
        report.beat(did_something=done > 0)
        await asyncio.sleep(every_seconds)
