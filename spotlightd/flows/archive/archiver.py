"""The archiver's flow: takes each partition from step to step, and writes each step down after its effect is proven."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.audit import adopt_archived
from spotlightd.flows.archive.checks import Checks
from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.export import export, upload
from spotlightd.flows.archive.plan import find_due, seal, select_hot_days
from spotlightd.flows.archive.repair import describe_remedy, retry_held
from spotlightd.flows.archive.restore import restore, restore_into
from spotlightd.flows.archive.switch import drop, switch
from spotlightd.flows.archive.verify import prove
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.partition import IN_PROGRESS, ArchiveState, Partition, Stage
from spotlightd.ports.ledger import Job, JobKind
from spotlightd.ports.progress import Progress

JOB_KINDS: tuple[JobKind, ...] = ("archive", "retry", "restore", "drill")
JOB_POLL_SECONDS = 2.0
RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3_600.0
LONGEST_STEP_SECONDS = 7_200.0
ORPHANED = "no source declares its dataset any more: it waits until one does"
DOES: Mapping[Stage, str] = {
    "planned": "sealing", "sealed": "exporting", "exported": "sending", "uploaded": "proving", "verified": "switching",
    "switched": "dropping",
}  # fmt: skip


def _silent(_says: str, _done: int, _total: int) -> None:
    """For who need not know how far it is."""


def _told(moves: Progress, done: int, total: int, partition: Partition) -> None:
    moves(f"{DOES[partition.stage]} {partition.dataset} {partition.id}", done, total)


class Archiver:
    """Moves what is due. Call it as a flow, or `round` once; one at a time.

    `urgent`: the disk is nearly full, so that what is proven leaves without grace and beyond the day's budget. `now` and
    `seconds` are the clock and a time that nobody sets.
    """

    def __init__(
        self,
        means: ArchiveContext,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._means, self._now, self._seconds = means, now, seconds
        self._turn = asyncio.Lock()
        self.checks = Checks(means, now)
        self._adopted = False
        self._switched: dict[tuple[str, str], float] = {}
        self._state = ArchiveState(hot_days=select_hot_days(means.datasets.values(), means.policy))
        self.urgent = False

    def state(self) -> ArchiveState:
        """As of the last round."""
        return self._state

    async def __call__(self, report: Reporter) -> None:
        """For ever; holds while a store fails."""
        report.expect_beats(60.0 / LONGEST_STEP_SECONDS)
        next_round = self._seconds()
        while True:
            if self._seconds() >= next_round:
                await self._held(report)
                next_round = self._seconds() + self._means.policy.every_seconds * random.uniform(0.8, 1.0)  # noqa: S311
            for job in await self._means.ledger.open_jobs(*JOB_KINDS):
                await self._run_queued(job)
            await asyncio.sleep(JOB_POLL_SECONDS)

    async def _held(self, report: Reporter) -> None:
        try:
            left = await self.round(report.set_working)
        except StoreError as problem:
            await self._note(str(problem))
            report.set_holding(str(problem))
            logger(flow=report.name).warning("store failed", error=str(problem))
        else:
            self._say(report, left)
        report.beat(queue=len(self._state.of(*IN_PROGRESS)))

    async def hurry(self) -> None:
        """The disk is nearly full: what is proven leaves now, without grace and beyond the day's budget. Nothing else, and
        nothing at all while the archive is switched off.
        """
        if not self._means.policy.enabled:
            return
        async with self._turn:
            self.urgent = True
            try:
                failed = await self._advanced(("verified", "switched")) if self._adopted else None
            finally:
                self.urgent = False
            if failed:
                raise failed

    async def _note(self, trouble: str = "") -> None:
        known, checks = await self._means.kept.partitions(), await self._means.kept.checks()
        self._state = replace(self._state, partitions=known, checks=checks, trouble=trouble)

    async def _run_queued(self, job: Job) -> None:
        """Run a job from the ledger and save its result there."""
        update = self._means.ledger.update_job
        await update(replace(job, state="running", detail="at work"))
        try:
            detail = await self.run_job(job)
        except (StoreError, SettingsError, HeldError) as problem:
            await update(replace(job, state="failed", detail=str(problem)))
        else:
            await update(replace(job, state="done", detail=detail))

    async def run_job(self, job: Job, progress: Progress = _silent) -> str:
        """Run a job of the archive; returns the result as a sentence. SettingsError for a job that is not the archive's."""
        match job.kind:
            case "archive":
                known = await self.round(progress)
                return f"{sum(partition.stage in IN_PROGRESS for partition in known)} partitions under way, {len(known)} in all"
            case "drill":
                check = await self.checks.drill()
                if check and not check.same:
                    raise HeldError(check.says)
                return check.says if check else "nothing is archived yet"
            case "retry":
                return await self._retry(job.target, job.partition)
            case "restore":
                return await self._restore(job.target, job.partition, job.into)
        raise SettingsError(f"the archiver cannot run the job `{job}`")

    async def _named(self, dataset: str, name: str) -> Partition:
        known = await self._means.kept.partitions()
        partition = next((one for one in known if (one.dataset, one.id) == (dataset, name)), None)
        if partition is None or dataset not in self._means.datasets:
            raise SettingsError(f"{dataset} has no archived partition {name}: see `spotlightd archive status`")
        return partition

    async def _restore(self, dataset: str, name: str, table: str = "") -> str:
        async with self._turn:
            partition = await self._named(dataset, name)
            if table:
                return f"{await restore_into(self._means, partition, table):,} rows are in table {table}"
            await self._moved(await restore(self._means, partition))
            return f"{dataset} {name}: {partition.fingerprint.rows:,} rows are in the warehouse again"

    async def _retry(self, dataset: str, name: str) -> str:
        async with self._turn:
            partition = await retry_held(self._means, await self._named(dataset, name))
            await self._moved(partition)
            return f"{dataset} {name} is {partition.stage} again, and goes on from there"

    async def _moved(self, partition: Partition) -> None:
        """Write down where a person has sent it. Whatever rest it had before is not one that counts from here."""
        self._switched.pop((partition.dataset, partition.id), None)
        await self._means.kept.keep(replace(partition, since=self._now()))
        logger(dataset=partition.dataset).info("partition moved on", partition=partition.id, stage=partition.stage)

    async def round(self, moves: Progress = _silent) -> tuple[Partition, ...]:
        """Plan, then take every partition as far as it goes now. Answers all that are known.

        StoreError when a step of some failed; the others were tried all the same.
        """
        async with self._turn:
            if not self._adopted:
                await adopt_archived(self._means)
                self._adopted = True
            if self._means.policy.enabled:
                await self._plan()
            failed = await self.checks.round()
            failed = await self._advanced(IN_PROGRESS if self._means.policy.enabled else (), moves) or failed
            if failed:
                raise failed
            await self._note()
            return self._state.partitions

    async def _advanced(self, stages: Sequence[Stage], moves: Progress = _silent) -> StoreError | None:
        """Take all partitions at these stages as far as they go now; the first failure, when all were tried."""
        failed: StoreError | None = None
        ours = [one for one in await self._means.kept.partitions() if one.stage in stages]
        open_ones = [one for one in ours if one.dataset in self._means.datasets]
        for one in ours:
            if one.dataset not in self._means.datasets and one.says != ORPHANED:
                await self._means.kept.keep(replace(one, says=ORPHANED))
        for done, partition in enumerate(open_ones):
            try:
                await self._advance(partition, partial(_told, moves, done, len(open_ones)))
            except StoreError as problem:
                failed = failed or problem
        return failed

    async def _plan(self) -> None:
        means, known = self._means, await self._means.kept.partitions()
        hot_days = select_hot_days(means.datasets.values(), means.policy)
        for one in await find_due(means.warehouse, hot_days, known, self._now().date(), means.policy.late_seconds):
            await self._means.kept.keep(one)
            logger(dataset=one.dataset).info("partition planned", partition=one.id)

    async def _advance(self, partition: Partition, begins: Callable[[Partition], None]) -> None:
        """Step after step, until it has to wait or something fails."""
        while partition.stage in IN_PROGRESS and not self._waits(partition):
            begins(partition)
            before = partition.stage
            try:
                partition = await self._step(partition)
            except HeldError as problem:
                partition = replace(partition, stage="held", says=f"{problem}; {describe_remedy(partition)}")
                logger(dataset=partition.dataset).error("partition held", partition=partition.id, error=partition.says)
            except StoreError as problem:
                await self._means.kept.keep(self._later(partition, str(problem)))
                raise
            if partition.stage == before:
                await self._means.kept.keep(partition)
                return
            partition = replace(partition, since=self._now())
            await self._means.kept.keep(partition)
            logger(dataset=partition.dataset).info("partition moved on", partition=partition.id, stage=partition.stage)

    async def _step(self, partition: Partition) -> Partition:
        means, stage = self._means, partition.stage
        if stage == "planned":
            return await seal(means, partition, await self._sealed())
        if stage == "switched":
            why = await self._undroppable(partition)
            return replace(partition, says=why) if why else await drop(means, partition)
        steps = {"sealed": export, "exported": upload, "uploaded": prove, "verified": switch}
        return replace(await steps[stage](means, partition), failures=0, not_before=None, says="")

    async def _undroppable(self, partition: Partition) -> str:
        """Why it is not dropped today; empty when it may be."""
        checks = await self._means.kept.checks()
        if any(not one.well for kind, one in checks.items() if kind != "documents"):
            return "nothing is dropped until an audit or a drill that went wrong is repeated and well"
        if self.urgent:
            return ""
        known, day = await self._means.kept.partitions(), timedelta(days=1)
        # both ways: else what a clock that was ahead once has dropped would count until then
        dropped = [one for one in known if one.stage == "dropped" and abs(self._now() - one.since) < day]
        spent = sum(one.size for one in dropped)
        if dropped and spent + partition.size > self._means.policy.drop_bytes_per_day:
            return f"originals of {spent:,} archived bytes were dropped in a day: archive.drop_bytes_per_day"
        return ""

    async def _sealed(self) -> list[Partition]:
        return [one for one in await self._means.kept.partitions() if one.stage != "planned"]

    def _waits(self, partition: Partition) -> bool:
        """Whether nothing is to be done for it now."""
        longest = timedelta(
            seconds=1.2 * LONGEST_RETRY_SECONDS
        )  # else a clock that was ahead once would bind us for years
        if partition.not_before and timedelta() < partition.not_before - self._now() <= longest:
            return True
        if partition.stage == "verified":
            grace = timedelta(seconds=self._means.policy.grace_seconds)
            return not self.urgent and abs(self._now() - partition.since) < grace
        if partition.stage == "switched":
            began = self._switched.setdefault((partition.dataset, partition.id), self._seconds())
            return self._seconds() - began < self._means.policy.rest_seconds
        return False

    def _later(self, partition: Partition, why: str) -> Partition:
        pause = min(LONGEST_RETRY_SECONDS, RETRY_SECONDS * 2 ** min(partition.failures, 8))
        at = self._now() + timedelta(seconds=pause * random.uniform(1.0, 1.2))  # noqa: S311
        return replace(partition, says=why, failures=partition.failures + 1, not_before=at)

    def _say(self, report: Reporter, known: Sequence[Partition]) -> None:
        held = [one for one in known if one.stage == "held"]
        under_way = sum(one.stage in IN_PROGRESS for one in known)
        if held:
            report.set_holding(f"{len(held)} partitions are held: {held[0].says}")
        else:
            report.set_waiting(f"{under_way} partitions under way" if under_way else "nothing is due")
