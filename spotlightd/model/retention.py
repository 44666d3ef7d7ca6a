"""How long rows or documents stay on this machine's disk. A rule that becomes shorter has to wait for a day.

A shorter rule is the only setting that removes data from the disk, and a slip of a digit looks like any other edit. So
the ledger keeps the rules that are in force. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from spotlightd.model.text import count

DAY = timedelta(days=1)
DOCUMENTS = "documents of "  # names of rules about the documents of a source begin so


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """The rule of a dataset, or of the documents of a source. `days` are in force, `asked` is what the settings say; 0
    is permanently. `since`: when a shorter rule was first seen.
    """

    name: str
    days: int
    asked: int
    since: datetime = datetime.fromtimestamp(0, UTC)

    @property
    def is_waiting(self) -> bool:
        """Whether a shorter rule is asked for that is not in force yet."""
        return self.asked != self.days

    @property
    def starts_at(self) -> datetime:
        """When the shorter rule comes into force."""
        return self.since + DAY

    def describe(self, leaving: str) -> str:
        """The alarm, as a sentence. `leaving` is what would leave."""
        return (
            f"{self.name}: the settings say {describe_days(self.asked)} instead of {describe_days(self.days)}."
            f" From {self.starts_at:%Y-%m-%d %H:%M} UTC on that is in force, and {leaving};"
            " until then nothing leaves that would have stayed before: set hot_days back to keep it"
        )


def settle_rule(known: RetentionRule | None, name: str, asked: int, now: datetime) -> RetentionRule:
    """The rule now that the settings ask for so many days. A longer one, and the first one, is in force at once."""
    if known is None or not _is_shorter(asked, known.days):
        return RetentionRule(name, asked, asked)
    if known.asked != asked:
        return replace(known, asked=asked, since=now)
    # both directions: a clock that was once set to a wrong year must not delay the rule for years
    return RetentionRule(name, asked, asked) if abs(now - known.since) >= DAY else known


def describe_days(days: int) -> str:
    return count(days, "day") if days else "permanently"


def _is_shorter(days: int, than: int) -> bool:
    return bool(days) and (not than or days < than)
