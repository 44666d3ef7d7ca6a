"""Partitions on their way out of the warehouse, as the ledger knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import PARTITION, Dataset

Stage = Literal["planned", "sealed", "exported", "uploaded", "verified", "switched", "dropped", "held", "restored"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Event = Literal["switched", "withdrawn"]
CheckKind = Literal["audit", "drill", "documents"]
SPANS = {"toYear": "%Y", "toYYYYMM": "%Y%m", "toYYYYMMDD": "%Y%m%d"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition on its way out of the warehouse, as the ledger knows it. `number` is its day, month or year, such as
    20260131; `stage` what was done last, each time after its effect was proven.

    `columns` are those that it was sealed with, by name and type: copies are compared over these, whatever is added later.
    `says` is why it is held, or waits; nothing is tried before `not_before`. `keys` are the objects in the bucket.
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
    says: str = ""
    failures: int = 0
    not_before: datetime | None = None

    @property
    def id(self) -> str:
        """As the warehouse names it."""
        return f"{self.number}-{self.generation}"

    @property
    def day(self) -> date:
        """The day that it holds, or the first one of its month or year."""
        text = f"{self.number}"
        return date(int(text[:4]), int(text[4:6] or 1), int(text[6:8] or 1))

    @property
    def end(self) -> date:
        """The first day after it."""
        return next_after(self.number)


def number_of(dataset: Dataset, at: date) -> int:
    """The day, month or year of its table that a row of that time lies in; 0 when the table is not divided."""
    found = PARTITION.match(dataset.partition)
    return int(f"{at:{SPANS[found['span']]}}") if found else 0


def next_after(number: int) -> date:
    """The first day after the day, month or year of that number."""
    text = f"{number}"
    if len(text) == len("20260131"):
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) + timedelta(days=1)
    if len(text) == len("202601"):
        return (date(int(text[:4]), int(text[4:]), 1) + timedelta(days=32)).replace(day=1)
    return date(int(text) + 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Check:
    """The last audit or drill, or look for documents: when it was, whether all was well, and what it found in a sentence."""

    at: datetime
    well: bool
    says: str


UNDER_WAY: tuple[Stage, ...] = ("planned", "sealed", "exported", "uploaded", "verified", "switched")


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """The archiver as of its last round: all partitions, oldest first, and the last checks. `trouble`: why it waits."""

    partitions: tuple[Partition, ...] = ()
    checks: Mapping[CheckKind, Check] = field(default_factory=dict)
    hot_days: Mapping[str, int] = field(default_factory=dict)
    trouble: str = ""

    def of(self, *stages: Stage) -> tuple[Partition, ...]:
        return tuple(one for one in self.partitions if one.stage in stages)
