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
from spotlightd.flows.batch.ingest import Progress, Span, ingest
from spotlightd.flows.loads.load import IngestContext, Result
from spotlightd.flows.loads.mirror import mirror
from spotlightd.flows.loads.publish import current, replaces
from spotlightd.flows.loads.recovery import sweep
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Batch
from spotlightd.ports.ledger import Ledger, Wish
from spotlightd.ports.publisher import Publishers
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives

GRACE_SECONDS = 6 * 3600
FIRST_HOLD_SECONDS = 1.0  # doubles: an engine that died is back in about a second, a full disk is not
HOLD_SECONDS = 15.0
WISH_SECONDS = 2.0
WAITING_PER_MINUTE = 60 / WISH_SECONDS
KEEPING_PER_MINUTE = 12.0  # a round every two seconds, and what its work may take
LOOKING_PER_MINUTE = 1 / 15  # one document may take half an hour to come, and a quarter of one to be read


@dataclass(frozen=True, slots=True)
class Wakeups:
    """One bell per source: rung by the clock, at start, after a failure and by wishes; heard by the source's flow."""

    rung: dict[str, asyncio.Event] = field(default_factory=dict)

    def of(self, source: str) -> asyncio.Event:
        return self.rung.setdefault(source, asyncio.Event())


@asynccontextmanager
async def ringing(sources: Iterable[Batch], bells: Wakeups, *, on_start: bool) -> AsyncIterator[None]:
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
class Collecting:
    """The flow of one source: waits for its bell or a wish, looks, keeps the records in step; holds while stores fail."""

    source: Batch
    publishers: Publishers
    stores: IngestContext
    bells: Wakeups
    since: date = date.min
    judged_on: date | None = None

    async def __call__(self, report: Reporter) -> None:
        bell = self.bells.of(self.source.name)
        while True:
            report.waiting("waiting for the next look")
            report.expects(WAITING_PER_MINUTE)
            wish = await self._next(report, bell)
            bell.clear()
            report.expects(LOOKING_PER_MINUTE)
            looked = False
            try:
                await self._held(report, wish)
                looked = True
            finally:
                if not looked:
                    bell.set()  # the supervisor starts this flow again after a pause: look then, not tomorrow

    async def _next(self, report: Reporter, bell: asyncio.Event) -> Wish | None:
        """Until the bell rings (None) or somebody wishes for a backfill. Wishes are looked for every two seconds."""
        while True:
            report.beat(did_something=False)
            try:
                async with asyncio.timeout(WISH_SECONDS):  # wait_for can swallow a cancellation, up to Python 3.11
                    await bell.wait()
            except TimeoutError:
                wishes = [one for one in await self.stores.ledger.wishes() if one.source == self.source.name]
                if wishes:
                    return wishes[0]
            else:
                return None

    async def _held(self, report: Reporter, wish: Wish | None) -> None:
        """One look, repeated until our own stores take it: a full disk or a dead engine holds, it loses nothing."""
        pause = 0.0
        while True:
            try:
                if pause:
                    await self._see_stores()
                await (self._grant(report, wish) if wish else self._look(report))
            except StoreError as problem:
                report.holding(str(problem))
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
            await self.stores.gate.passed("batch loads", report)
            report.working(says, done, total)
            report.beat(queue=total - done)

        await self._ingest(Span(first=self.since), progress)
        await self._judge()

    async def _judge(self) -> None:
        """Say so when the newest slice that should be out is not here."""
        wanted = self.source.expected(self.judged_on or datetime.now(UTC).date())
        published = current(await self.stores.ledger.loads(self.source.name, states=("published",)))
        if not any(replaces(load.covers, wanted.covers) for load in published):
            logger(source=self.source.name).warning("source late", covers=wanted.covers, due=str(wanted.due))

    async def _grant(self, report: Reporter, wish: Wish) -> None:
        async def progress(says: str, done: int, total: int) -> None:
            if why := self.stores.gate.why("batch loads"):
                await ledger.answer(replace(wish, state="running", done=done, total=total, says=why))
            await self.stores.gate.passed("batch loads", report)
            report.working(says, done, total)
            report.beat(queue=total - done)
            await ledger.answer(replace(wish, state="running", done=done, total=total, says=says))

        ledger = self.stores.ledger
        results = await self._ingest(Span(first=wish.first, last=wish.last, again=True), progress)
        state = "failed" if any(one.error for one in results) else "done"
        await ledger.answer(replace(wish, state=state, done=len(results), total=len(results), says=told(results)))

    async def _ingest(self, span: Span, progress: Progress) -> list[Result]:
        publisher = self.publishers.of(self.source)
        return await ingest(self.source, publisher, self.stores, span=span, progress=progress)


def told(results: Sequence[Result]) -> str:
    """What a look brought, in a sentence, with the first thing that went wrong."""
    counted = Counter(one.outcome for one in results)
    said = ", ".join(f"{number} {outcome}" for outcome, number in counted.most_common()) or "nothing was due"
    wrong = next((f"; {one.link.covers}: {one.error}" for one in results if one.error), "")
    return f"{len(results)} documents: {said}; {sum(one.rows for one in results):,} rows{wrong}"


async def bookkeeping(
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
    report.expects(KEEPING_PER_MINUTE)
    while True:
        done = 0
        try:
            done += await mirror(ledger, warehouse, archives)
            done += await sweep(ledger, warehouse, held)
        except StoreError as problem:
            report.holding(str(problem))
            logger(flow="bookkeeping").warning("store failed", error=str(problem))
        else:
            report.waiting("records are in step")
        report.beat(did_something=done > 0)
        await asyncio.sleep(every_seconds)
