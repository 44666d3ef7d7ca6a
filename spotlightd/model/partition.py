"""Partitions that move from the warehouse to the archive, and the rules of how long data stay on the disk, as the ledger
records them.

A rule that becomes shorter has to wait for a day: it is the only setting that removes data from the disk, and a slip of a
digit looks like any other edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import PARTITION, Dataset
from spotlightd.model.text import count

Stage = Literal["planned", "sealed", "exported", "uploaded", "verified", "switched", "dropped", "held", "restored"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Event = Literal["switched", "withdrawn"]
CheckKind = Literal["audit", "drill", "documents", "objects"]
SPANS = {"toYear": "%Y", "toYYYYMM": "%Y%m", "toYYYYMMDD": "%Y%m%d"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that moves to the archive, as the ledger records it. `number` is its day, month, year or decade, such as
    20260131, or 202 for the years from 2020 to 2029. `stage` is the last completed step; it is recorded after the effect of the step was verified.

    `columns` are the columns at the time of sealing, by name and type: copies are compared over these, whatever columns
    are added later. `detail` is why it is held or waits; nothing is tried before `not_before`. `keys` are the objects in
    the bucket.
    """

    dataset: str
    number: int
    generation: int
    stage: Stage = "planned"
    since: datetime = datetime.fromtimestamp(0, UTC)
    keys: tuple[str, ...] = ()
    manifest: str = ""
    digest: str = ""
    size: int = 0
    fingerprint: Fingerprint = Fingerprint()
    columns: tuple[tuple[str, str], ...] = ()
    detail: str = ""
    failures: int = 0
    not_before: datetime | None = None

    @property
    def id(self) -> str:
        """The name of the partition in the warehouse."""
        return f"{self.number}-{self.generation}"

    @property
    def day(self) -> date:
        """Its day, or the first day of its month, year or decade."""
        text = f"{self.number}".ljust(4, "0")
        return date(int(text[:4]), int(text[4:6] or 1), int(text[6:8] or 1))

    @property
    def end(self) -> date:
        """The first day after it."""
        return first_day_after(self.number)


def partition_number(dataset: Dataset, at: date) -> int:
    """The day, month, year or decade of the partition with rows of that date; 0 when the table has no partitions."""
    match = PARTITION.match(dataset.partition)
    if dataset.is_by_decade:
        return at.year // 10
    return int(f"{at:{SPANS[match['span']]}}") if match else 0


def first_day_after(number: int) -> date:
    """The first day after the day, month, year or decade with that number."""
    text = f"{number}"
    if len(text) == len("20260131"):
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) + timedelta(days=1)
    if len(text) == len("202601"):
        return (date(int(text[:4]), int(text[4:]), 1) + timedelta(days=32)).replace(day=1)
    years = 10 if len(text) == len("202") else 1
    return date((int(text) + 1) * years, 1, 1)


@dataclass(frozen=True, slots=True)
class Check:
    """The last audit, drill, check of the documents or comparison of the bucket with the index (`objects`): its time, whether it passed, and its result in a sentence."""

    at: datetime
    passed: bool
    detail: str


IN_PROGRESS: tuple[Stage, ...] = ("planned", "sealed", "exported", "uploaded", "verified", "switched")


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """The state of the archiver after its last round: all partitions, oldest first, and the last checks. `error`: why it waits.
    `hot_days` are in force; `shortened` has a sentence for each shorter rule that waits for a day.
    """

    partitions: tuple[Partition, ...] = ()
    checks: Mapping[CheckKind, Check] = field(default_factory=dict)
    hot_days: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    shortened: tuple[str, ...] = ()

    def in_stages(self, *stages: Stage) -> tuple[Partition, ...]:
        return tuple(partition for partition in self.partitions if partition.stage in stages)


DAY = timedelta(days=1)
LONGEST_WAIT = timedelta(days=8)
"""A shorter rule that seems to have waited longer waits for another day: so no clock that jumps brings it into force."""
DOCUMENTS = "documents of "  # names of rules about the documents of a source begin so


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """The rule of a dataset, or of the documents of a source. `days` are in force, `configured` is what the settings say; 0
    is permanently. `since`: when a shorter rule was first seen.
    """

    name: str
    days: int
    configured: int
    since: datetime = datetime.fromtimestamp(0, UTC)

    @property
    def is_waiting(self) -> bool:
        """Whether a shorter rule is configured and not in force yet."""
        return self.configured != self.days

    @property
    def starts_at(self) -> datetime:
        """When the shorter rule comes into force."""
        return self.since + DAY

    def describe(self, leaving: str) -> str:
        """The alarm, as a sentence. `leaving` is what would leave."""
        return (
            f"{self.name}: the settings say {describe_days(self.configured)} instead of {describe_days(self.days)}."
            f" From {self.starts_at:%Y-%m-%d %H:%M} UTC on that is in force, and {leaving};"
            " until then nothing leaves that would have stayed before: set hot_days back to keep it"
        )


def decide_rule(
    known: RetentionRule | None, name: str, configured: int, now: datetime, *, is_new: bool
) -> RetentionRule:
    """The rule now that the settings ask for so many days. A longer one is in force at once.

    `is_new`: there are no data yet under that name, so nothing was promised. Data without a known rule stayed permanently.
    """
    known = known or RetentionRule(name, configured if is_new else 0, configured if is_new else 0)
    if not _is_shorter(configured, known.days):
        return RetentionRule(name, configured, configured)
    if known.configured != configured:
        return replace(known, configured=configured, since=now)
    waited = now - known.since
    if timedelta() <= waited < DAY:
        return known
    if DAY <= waited <= LONGEST_WAIT:
        return RetentionRule(name, configured, configured)
    # a clock that was set says nothing about how long the rule has waited, and neither does a daemon that was off
    return replace(known, since=now)


def describe_days(days: int) -> str:
    return count(days, "day") if days else "permanently"


def _is_shorter(days: int, than: int) -> bool:
    return bool(days) and (not than or days < than)
