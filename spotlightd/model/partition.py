"""Partitions that move from the warehouse to the archive, as the ledger records them."""

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
CheckKind = Literal["audit", "drill", "documents", "objects"]
SPANS = {"toYear": "%Y", "toYYYYMM": "%Y%m", "toYYYYMMDD": "%Y%m%d"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that moves to the archive, as the ledger records it. `number` is its day, month or year, such as
    20260131. `stage` is the last completed step; it is recorded after the effect of the step was verified.

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
        """Its day, or the first day of its month or year."""
        text = f"{self.number}"
        return date(int(text[:4]), int(text[4:6] or 1), int(text[6:8] or 1))

    @property
    def end(self) -> date:
        """The first day after it."""
        return first_day_after(self.number)


def partition_number(dataset: Dataset, at: date) -> int:
    """The day, month or year of the partition with rows of that date; 0 when the table has no partitions."""
    match = PARTITION.match(dataset.partition)
    return int(f"{at:{SPANS[match['span']]}}") if match else 0


def first_day_after(number: int) -> date:
    """The first day after the day, month or year with that number."""
    text = f"{number}"
    if len(text) == len("20260131"):
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) + timedelta(days=1)
    if len(text) == len("202601"):
        return (date(int(text[:4]), int(text[4:]), 1) + timedelta(days=32)).replace(day=1)
    return date(int(text) + 1, 1, 1)


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
