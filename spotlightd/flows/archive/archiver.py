"""The archiver takes each partition from stage to stage. It records a stage after its effect is verified."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from spotlightd.backoff import Clock
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.audit import adopt_archived
from spotlightd.flows.archive.checks import Checks
from spotlightd.flows.archive.context import ArchiveContext, HeldError
from spotlightd.flows.archive.export import export, upload
from spotlightd.flows.archive.pacing import Pacing
from spotlightd.flows.archive.plan import find_due, find_filled, is_old, seal, select_hot_days
from spotlightd.flows.archive.repair import describe_remedy, retry_held
from spotlightd.flows.archive.restore import restore, restore_into
from spotlightd.flows.archive.switch import drop, switch
from spotlightd.flows.archive.verify import prove
from spotlightd.flows.upkeep.retention import report_shortened, update_rules
from spotlightd.log import logger
from spotlightd.model.partition import IN_PROGRESS, ArchiveState, Partition, RetentionRule, Stage
from spotlightd.model.text import count
from spotlightd.ports.progress import Progress, ignore_progress

ORPHANED = "no source declares its dataset any more: it waits until one does"
STEP_NAMES: Mapping[Stage, str] = {
    "planned": "sealing", "sealed": "exporting", "exported": "uploading", "uploaded": "verifying",
    "verified": "switching", "switched": "dropping",
}  # fmt: skip


class Archiver:
    """Moves due partitions to the archive. A lock lets one call run at a time."""

    def __init__(self, context: ArchiveContext, *, clock: Clock | None = None) -> None:
        self.context, self.clock = context, clock or Clock()
        self.checks = Checks(context, self.clock)
        self._lock = asyncio.Lock()
        self._pacing = Pacing(context.policy, self.clock)
        self._is_adopted = self._is_compared = False
        self._reported = set[RetentionRule]()
        configured = select_hot_days(context.datasets.values(), context.policy)
        self._state = ArchiveState(hot_days={name: days for name, days in configured.items() if days})

    def state(self) -> ArchiveState:
        """The state after the last round."""
        return self._state

    async def refresh_state(self, error: str = "") -> None:
        """Read the state from the ledger. `error`: why the archiver waits."""
        ledger = self.context.archive_ledger
        partitions, checks = await ledger.partitions(), await ledger.checks()
        self._state = replace(self._state, partitions=partitions, checks=checks, error=error)

    async def round(self, progress: Progress = ignore_progress) -> tuple[Partition, ...]:
        """Plan, run the checks that are due, then take every partition as far as it goes now. Returns all partitions.

        StoreError when a step of one failed; the others were tried nevertheless.
        """
        async with self._lock:
            if not self._is_adopted:
                await adopt_archived(self.context)
                self._is_adopted = True
            if self.context.policy.enabled:
                await self._update_retention()
                await self._plan()
            error = await self._compare_once()
            error = await self.checks.round() or error
            error = await self._advance_all(IN_PROGRESS if self.context.policy.enabled else (), progress) or error
            if error:
                raise error
            await self.refresh_state()
            return self._state.partitions

    async def _compare_once(self) -> StoreError | None:
        """Compare the bucket with the index, once for each start. Returns the error when the bucket does not answer."""
        try:
            if not self._is_compared:
                await self.checks.compare_objects()
                self._is_compared = True
        except StoreError as problem:
            return problem
        return None

    async def free_disk(self) -> None:
        """For a nearly full disk: drop the originals of verified copies now, without grace and beyond the day's limit.
        Does nothing else, and nothing at all while the archive is disabled.
        """
        if not self.context.policy.enabled:
            return
        async with self._lock:
            if self._is_adopted and (error := await self._advance_all(("verified", "switched"), urgent=True)):
                raise error

    async def retry_partition(self, dataset: str, partition_id: str) -> Partition:
        """Take up a held partition again. HeldError when a copy is not as sealed, SettingsError when it is not held."""
        async with self._lock:
            partition = await retry_held(self.context, await self._find_partition(dataset, partition_id))
            await self._save_new_stage(partition)
            return partition

    async def restore_partition(self, dataset: str, partition_id: str) -> Partition:
        """Bring the rows of a partition back to the warehouse, and let readers use them."""
        async with self._lock:
            partition = await restore(self.context, await self._find_partition(dataset, partition_id))
            await self._save_new_stage(partition)
            return partition

    async def restore_into_table(self, dataset: str, partition_id: str, table: str) -> int:
        """Copy the rows of a partition to a new table, and return their number. Readers are not affected."""
        async with self._lock:
            return await restore_into(self.context, await self._find_partition(dataset, partition_id), table)

    async def _find_partition(self, dataset: str, partition_id: str) -> Partition:
        for partition in await self.context.archive_ledger.partitions():
            if (partition.dataset, partition.id) == (dataset, partition_id) and dataset in self.context.datasets:
                return partition
        raise SettingsError(f"{dataset} has no archived partition {partition_id}: see `spotlightd archive status`")

    async def _save_new_stage(self, partition: Partition) -> None:
        """Save a stage that a person asked for. The rest before a drop starts again."""
        self._pacing.restart_rest(partition)
        await self._save_advance(partition)

    async def _save_advance(self, partition: Partition) -> Partition:
        partition = replace(partition, since=self.clock.utc())
        await self.context.archive_ledger.save_partition(partition)
        logger(dataset=partition.dataset).info("partition advanced", partition=partition.id, stage=partition.stage)
        return partition

    async def note_rules(self) -> None:
        """Record the rules as they are before any row is written: what a new state begins with was never longer."""
        if self.context.policy.enabled:
            await self._update_rules()

    async def _update_rules(self) -> dict[str, RetentionRule]:
        context = self.context
        configured = select_hot_days(context.datasets.values(), context.policy)

        async def find_promised() -> frozenset[str]:
            known = await context.archive_ledger.partitions()
            return await find_filled(context.ledger, context.warehouse, configured, known)

        return await update_rules(context.archive_ledger, configured, self.clock.utc(), find_promised)

    async def _update_retention(self) -> None:
        """Find out how long rows stay hot now. A rule that became shorter is told, and waits for a day."""
        rules = await self._update_rules()
        shortened = await report_shortened(rules, self._reported, self._describe_leaving)
        hot_days = {name: rule.days for name, rule in rules.items() if rule.days}
        self._state = replace(self._state, hot_days=hot_days, shortened=shortened)

    async def _describe_leaving(self, rule: RetentionRule) -> str:
        due = await self._find_due({rule.name: rule.configured})
        if not due:
            return "no partition is that old yet"
        seconds = self.context.policy.grace_seconds + self.context.policy.rest_seconds
        return (
            f"{count(len(due), 'partition leaves', 'partitions leave')} the warehouse for the bucket, from {due[0].day} to"
            f" {due[-1].day}, {seconds / 3600:.1f} hours later at the earliest"
        )

    async def _plan(self) -> None:
        for partition in await self._find_due(self._state.hot_days):
            await self.context.archive_ledger.save_partition(partition)
            logger(dataset=partition.dataset).info("partition planned", partition=partition.id)

    async def _find_due(self, hot_days: Mapping[str, int]) -> list[Partition]:
        context, known = self.context, await self.context.archive_ledger.partitions()
        today, late_seconds = self.clock.utc().date(), context.policy.late_seconds
        hot_days = {name: days for name, days in hot_days.items() if not self._is_table_held(name)}
        return await find_due(context.warehouse, hot_days, known, today, late_seconds)

    def _is_table_held(self, name: str) -> bool:
        """Whether the table lost its rows: then nothing of it is archived or dropped until a person has looked."""
        return bool(self.context.table_reason((self.context.datasets[name],)))

    async def _advance_all(
        self, stages: Sequence[Stage], progress: Progress = ignore_progress, *, urgent: bool = False
    ) -> StoreError | None:
        """Take all partitions at these stages as far as they go now. Returns the first failure after trying all.

        Those that the rule in force keeps, because it became longer, stay where they are. `urgent` takes them too: their
        copies are verified.
        """
        error: StoreError | None = None
        today = self.clock.utc().date()
        known = await self.context.archive_ledger.partitions()
        candidates = [partition for partition in known if partition.stage in stages]
        declared = [partition for partition in candidates if partition.dataset in self.context.datasets]
        declared = [partition for partition in declared if not self._is_table_held(partition.dataset)]
        due = [partition for partition in declared if urgent or is_old(partition, self._state.hot_days, today)]
        for partition in candidates:
            if partition.dataset not in self.context.datasets and partition.detail != ORPHANED:
                await self.context.archive_ledger.save_partition(replace(partition, detail=ORPHANED))
        async with self.context.verifier.keep():
            for done, partition in enumerate(due):
                try:
                    await self._advance(partition, partial(_report_step, progress, done, len(due)), urgent=urgent)
                except StoreError as problem:
                    error = error or problem
        return error

    async def _advance(self, partition: Partition, begin_step: Callable[[Partition], None], *, urgent: bool) -> None:
        """Step after step, until the partition has to wait or something fails."""
        while partition.stage in IN_PROGRESS and not self._pacing.must_wait(partition, urgent=urgent):
            begin_step(partition)
            stage = partition.stage
            try:
                partition = await self._step(partition, urgent=urgent)
            except HeldError as problem:
                partition = replace(partition, stage="held", detail=f"{problem}; {describe_remedy(partition)}")
                _log_held(partition)
            except StoreError as problem:
                failed = self._pacing.retry_later(partition, str(problem))
                await self.context.archive_ledger.save_partition(failed)
                raise
            if partition.stage == stage:
                await self.context.archive_ledger.save_partition(partition)
                return
            partition = await self._save_advance(partition)

    async def _step(self, partition: Partition, *, urgent: bool = False) -> Partition:
        context, stage = self.context, partition.stage
        if stage == "planned":
            known = await context.archive_ledger.partitions()
            return await seal(context, partition, [other for other in known if other.stage != "planned"])
        if stage == "switched":
            known, checks = await context.archive_ledger.partitions(), await context.archive_ledger.checks()
            obstacle = self._pacing.find_drop_obstacle(partition, known, checks, urgent=urgent)
            return replace(partition, detail=obstacle) if obstacle else await drop(context, partition)
        steps = {"sealed": export, "exported": upload, "uploaded": prove, "verified": switch}
        return replace(await steps[stage](context, partition), failures=0, not_before=None, detail="")


def _log_held(partition: Partition) -> None:
    logger(dataset=partition.dataset).error("partition held", partition=partition.id, error=partition.detail)


def _report_step(progress: Progress, done: int, total: int, partition: Partition) -> None:
    progress(f"{STEP_NAMES[partition.stage]} {partition.dataset} {partition.id}", done, total)
