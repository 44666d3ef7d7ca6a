"""The archiver as a flow of the daemon: rounds at an interval, and the jobs that commands queue in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import HeldError
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.partition import IN_PROGRESS, Partition
from spotlightd.model.text import count
from spotlightd.ports.ledger import Job, JobKind
from spotlightd.ports.progress import Progress, ignore_progress

JOB_KINDS: tuple[JobKind, ...] = ("archive", "retry", "restore", "drill")
JOB_POLL_SECONDS = 2.0
LONGEST_STEP_SECONDS = 7_200.0
INTERVAL_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class ArchiveFlow:
    """Runs the archiver until it is cancelled. It holds while a store fails."""

    archiver: Archiver

    async def __call__(self, report: Reporter) -> None:
        report.expect_beats(60.0 / LONGEST_STEP_SECONDS)
        clock, policy = self.archiver.clock, self.archiver.context.policy
        next_round = clock.now()
        while True:
            if clock.now() >= next_round:
                await self._run_round(report)
                next_round = clock.now() + policy.every_seconds * (1 - INTERVAL_JITTER * clock.chance())
            for job in await self.archiver.context.ledger.open_jobs(*JOB_KINDS):
                await self._run_queued(job)
            await clock.sleep(JOB_POLL_SECONDS)

    async def _run_round(self, report: Reporter) -> None:
        try:
            partitions = await self.archiver.round(report.set_working)
        except StoreError as problem:
            await self.archiver.refresh_state(str(problem))
            report.set_holding(str(problem))
            logger(flow=report.name).warning("store failed", error=str(problem))
        else:
            _report_partitions(report, partitions)
        report.beat(queue=len(self.archiver.state().in_stages(*IN_PROGRESS)))

    async def _run_queued(self, job: Job) -> None:
        """Run a job from the ledger and save its result there."""
        update = self.archiver.context.ledger.update_job
        await update(replace(job, state="running", detail="at work"))
        try:
            detail = await run_job(self.archiver, job)
        except (StoreError, SettingsError, HeldError) as problem:
            await update(replace(job, state="failed", detail=str(problem)))
        else:
            await update(replace(job, state="done", detail=detail))


async def run_job(archiver: Archiver, job: Job, progress: Progress = ignore_progress) -> str:
    """Run a job of the archive; returns the result as a sentence. SettingsError for a job that is not the archive's."""
    match job.kind:
        case "archive":
            known = await archiver.round(progress)
            in_progress = sum(partition.stage in IN_PROGRESS for partition in known)
            return f"{count(in_progress, 'partition')} under way, {len(known):,} in all"
        case "drill":
            result = await archiver.checks.drill()
            if result and not result.is_same:
                raise HeldError(result.detail)
            return result.detail if result else "nothing is archived yet"
        case "retry":
            partition = await archiver.retry_partition(job.target, job.partition)
            return f"{job.target} {job.partition} is {partition.stage} again and continues from there"
        case "restore" if job.into:
            rows = await archiver.restore_into_table(job.target, job.partition, job.into)
            return f"{count(rows, 'row is', 'rows are')} in table {job.into}"
        case "restore":
            partition = await archiver.restore_partition(job.target, job.partition)
            restored = count(partition.fingerprint.rows, "row is", "rows are")
            return f"{job.target} {job.partition}: {restored} in the warehouse again"
    raise SettingsError(f"the archiver cannot run the job `{job}`")


def _report_partitions(report: Reporter, partitions: Sequence[Partition]) -> None:
    held = [partition for partition in partitions if partition.stage == "held"]
    in_progress = sum(partition.stage in IN_PROGRESS for partition in partitions)
    if held:
        report.set_holding(f"{count(len(held), 'partition is', 'partitions are')} held: {held[0].detail}")
    else:
        report.set_waiting(f"{count(in_progress, 'partition')} under way" if in_progress else "nothing is due")
