"""The daily audit of the bucket and the monthly drill: when they are due, and their last results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from spotlightd.backoff import Clock
from spotlightd.errors import StoreError
from spotlightd.flows.archive.audit import AuditResult, audit
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.flows.archive.copies import describe_unknown, find_unknown
from spotlightd.flows.archive.restore import DrillResult, drill
from spotlightd.log import logger
from spotlightd.model.partition import Check, CheckKind, Partition

AUDIT_DAYS = 1.0
REPEAT_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Checks:
    """Runs the audit and the drill. A check that failed is repeated after an hour."""

    context: ArchiveContext
    clock: Clock

    async def round(self) -> StoreError | None:
        """Run the checks that are due. The first of each is due when something has been archived for that long. A check
        that cannot run counts as failed, and blocks nothing but drops. Returns the last StoreError.
        """
        ledger, policy = self.context.archive_ledger, self.context.policy
        known, checks = await ledger.partitions(), await ledger.checks()
        archived = [partition for partition in known if partition.stage in ("switched", "dropped")]
        runs: dict[CheckKind, tuple[float, Callable[[], Awaitable[object]]]] = {
            "audit": (AUDIT_DAYS, self.audit), "drill": (policy.drill_days, self.drill),
        }  # fmt: skip
        error: StoreError | None = None
        for kind, (days, run) in runs.items():
            if days and archived and self._is_due(checks.get(kind), days, archived):
                try:
                    await run()
                except StoreError as problem:
                    error = problem
                    detail = f"the check could not run: {problem}"
                    await ledger.save_check(kind, Check(self.clock.utc(), passed=False, detail=detail))
        return error

    def _is_due(self, last: Check | None, days: float, archived: Sequence[Partition]) -> bool:
        since = last.at if last else min(partition.since for partition in archived)
        pause = timedelta(days=days) if last is None or last.passed else timedelta(seconds=REPEAT_SECONDS)
        return abs(self.clock.utc() - since) >= pause

    async def audit(self) -> AuditResult:
        """Check that the bucket has every object. While it does not, nothing is dropped."""
        ledger, today = self.context.archive_ledger, self.clock.utc().date()
        last = (await ledger.checks()).get("audit")
        # audits are at least a day apart and may skip a date
        days = max(1, (today - last.at.date()).days) if last else 1
        result = await audit(self.context, await ledger.partitions(), today, days)
        detail = f"{result.objects} objects are there, {result.read} were read back"
        if result.defects:
            detail = result.defects[0]
        await ledger.save_check("audit", Check(self.clock.utc(), not result.defects, detail))
        return result

    async def compare_objects(self) -> None:
        """Compare the bucket with the index, at a start. An object that counts and is not known shows that this state is
        older than the bucket.
        """
        ledger = self.context.archive_ledger
        unknown = await find_unknown(self.context, await ledger.partitions())
        detail = describe_unknown(unknown)
        if unknown:
            logger(flow="archive").error("state went back", detail=detail)
        await ledger.save_check("objects", Check(self.clock.utc(), not unknown, detail))

    async def drill(self) -> DrillResult | None:
        """Restore a random partition to a scratch table, and compare. None when nothing is archived."""
        ledger = self.context.archive_ledger
        known = [partition for partition in await ledger.partitions() if partition.dataset in self.context.datasets]
        result = await drill(self.context, known)
        if result:
            await ledger.save_check("drill", Check(self.clock.utc(), result.is_same, result.detail))
        return result
