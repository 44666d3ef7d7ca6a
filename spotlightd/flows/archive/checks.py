"""The daily look at the bucket and the monthly drill: when their time has come, and what they found last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotlightd.errors import StoreError
from spotlightd.flows.archive.audit import Audited, audit
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.flows.archive.restore import Drilled, drill
from spotlightd.model.partition import Check, CheckKind, Partition

AUDIT_DAYS = 1.0
AGAIN_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Checks:
    """`now` is the clock. One that was not well is repeated after an hour."""

    means: ArchiveContext
    now: Callable[[], datetime]

    async def round(self) -> StoreError | None:
        """The daily look at the bucket and the monthly drill, when their time has come. The first of each comes when
        something was archived for that long. One that cannot be done is not well, and holds up nothing but drops.
        """
        known, checks, policy = await self.means.kept.partitions(), await self.means.kept.checks(), self.means.policy
        proven = [one for one in known if one.stage in ("switched", "dropped")]
        works: dict[CheckKind, tuple[float, Callable[[], Awaitable[object]]]] = {
            "audit": (AUDIT_DAYS, self.audit), "drill": (policy.drill_days, self.drill),
        }  # fmt: skip
        failed: StoreError | None = None
        for kind, (days, work) in works.items():
            if days and proven and self._has_come(checks.get(kind), days, proven):
                try:
                    await work()
                except StoreError as problem:
                    failed = problem
                    said = f"it could not be done: {problem}"
                    await self.means.kept.note(kind, Check(self.now(), well=False, says=said))
        return failed

    def _has_come(self, last: Check | None, days: float, proven: Sequence[Partition]) -> bool:
        since = last.at if last else min(one.since for one in proven)
        pause = timedelta(days=days) if last is None or last.well else timedelta(seconds=AGAIN_SECONDS)
        return abs(self.now() - since) >= pause

    async def audit(self) -> Audited:
        """Look whether the bucket has everything; while it has not, nothing is dropped."""
        today, last = self.now().date(), (await self.means.kept.checks()).get("audit")
        days = (
            max(1, (today - last.at.date()).days) if last else 1
        )  # audits are a day apart at least, and may skip a date
        found = await audit(self.means, await self.means.kept.partitions(), today, days)
        says = found.amiss[0] if found.amiss else f"{found.objects} objects are there, {found.read} were read back"
        await self.means.kept.note("audit", Check(self.now(), not found.amiss, says))
        return found

    async def drill(self) -> Drilled | None:
        """Restore a partition drawn by lot to a scratch table, and compare."""
        known = [one for one in await self.means.kept.partitions() if one.dataset in self.means.datasets]
        found = await drill(self.means, known)
        if found:
            await self.means.kept.note("drill", Check(self.now(), found.same, found.says))
        return found
