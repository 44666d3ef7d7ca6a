"""When a partition may take its next step: the pause after a failure, `grace_seconds` before the switch, `rest_seconds`
before the drop, and the bytes that may be dropped in a day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from spotlightd.backoff import Backoff, Clock
from spotlightd.model.partition import DAY, Check, CheckKind, Partition
from spotlightd.settings.stores import ArchiveSettings

RETRY = Backoff(first=75.0, most=3_600.0, jitter=0.2)


@dataclass(slots=True)
class Pacing:
    """Decides when a partition has to wait. `rest_starts`: the monotonic time when the rest of a partition began."""

    policy: ArchiveSettings
    clock: Clock
    rest_starts: dict[tuple[str, str], float] = field(default_factory=dict)

    def must_wait(self, partition: Partition, *, urgent: bool) -> bool:
        """Whether nothing is to be done for the partition now. `urgent` skips the grace."""
        now = self.clock.utc()
        # the upper bound: if the clock was set to a wrong year once, the pause ends nevertheless
        if partition.not_before and timedelta() < partition.not_before - now <= timedelta(seconds=RETRY.most):
            return True
        if partition.stage == "verified":
            return not urgent and abs(now - partition.since) < timedelta(seconds=self.policy.grace_seconds)
        if partition.stage == "switched":
            started = self.rest_starts.setdefault((partition.dataset, partition.id), self.clock.now())
            return self.clock.now() - started < self.policy.rest_seconds
        return False

    def restart_rest(self, partition: Partition) -> None:
        """Forget the rest of a partition that a person has moved to another stage."""
        self.rest_starts.pop((partition.dataset, partition.id), None)

    def retry_later(self, partition: Partition, error: str) -> Partition:
        """The partition with the error, one failure more, and the end of its pause."""
        failures = partition.failures + 1
        pause = RETRY.pause(failures, self.clock.chance)
        not_before = self.clock.utc() + timedelta(seconds=pause)
        return replace(partition, detail=error, failures=failures, not_before=not_before)

    def find_drop_obstacle(
        self, partition: Partition, known: Sequence[Partition], checks: Mapping[CheckKind, Check], *, urgent: bool
    ) -> str:
        """Why the original must not be dropped now; empty when it may. `urgent` skips the day's limit."""
        if any(not check.passed for kind, check in checks.items() if kind in ("audit", "drill")):
            return "nothing is dropped until the failed audit or drill is repeated and passes"
        if urgent:
            return ""
        # both directions: otherwise drops dated in the future by a wrong clock would count until that date
        dropped = [other for other in known if other.stage == "dropped" and abs(self.clock.utc() - other.since) < DAY]
        dropped_bytes = sum(other.size for other in dropped)
        if dropped and dropped_bytes + partition.size > self.policy.drop_bytes_per_day:
            return f"originals of {dropped_bytes:,} archived bytes were dropped in a day: archive.drop_bytes_per_day"
        return ""
