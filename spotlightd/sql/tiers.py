"""Where rows are that have left the warehouse: the index of the archive, as every statement that reads is made with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from spotlightd.model.dataset import Dataset

STATEMENT_START_SECONDS = 60.0
"""So long after it was made a statement may begin, and no longer: the archiver's rest is longer than that."""

Bound = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True)
class Archived:
    """A partition whose rows are read from the bucket. `bounds`: by column, the least and greatest of its times.
    `newest_id` is the greatest `id` in it, for copies of the ledger's records. `columns`: name → type of those that its
    files hold, which is all that the dataset had when it was sealed.
    """

    dataset: Dataset
    partition: str
    keys: tuple[str, ...]
    rows: int
    bounds: Mapping[str, tuple[datetime, datetime]]
    newest_id: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Between which times rows are asked for, by column, both ends included; None is no bound."""

    bounds: Mapping[str, Bound] = field(default_factory=dict)

    def may_contain(self, one: Archived) -> bool:
        """Whether the partition can hold such a row."""
        return all(_meet(self.bounds[name], one.bounds[name]) for name in self.bounds.keys() & one.bounds.keys())


def _meet(asked: Bound, held: tuple[datetime, datetime]) -> bool:
    since, until = asked
    return (since is None or since <= held[1]) and (until is None or held[0] <= until)


EVER = Span()


@dataclass(frozen=True, slots=True)
class Overlap:
    """For rows that last from one of their times to another, in whichever order a clock that was set has left them: those
    that reach into a time. `until` is excluded.
    """

    since: datetime
    until: datetime

    def may_contain(self, one: Archived) -> bool:
        """Whether the partition can hold such a row."""
        first, last = (min(low for low, _ in one.bounds.values()), max(high for _, high in one.bounds.values()))
        return first < self.until and self.since <= last


Table = Callable[[Sequence[str], str], str]
"""(keys, structure) → what stands behind FROM to read these objects, each of which must hold all of these columns."""


def _no_table(keys: Sequence[str], structure: str) -> str:
    raise AssertionError(f"nothing is archived, and {len(keys)} objects with {structure} are to be read")


@dataclass(frozen=True, slots=True)
class ArchivedPartitions:
    """Where rows are that have left the warehouse, at one moment: by dataset, the archived partitions.

    A statement made with it is right as long as it begins within `archive.rest_seconds`: partitions are dropped later.
    `table` is the bucket's: what stands behind FROM to read objects.
    """

    partitions: Mapping[str, tuple[Archived, ...]] = field(default_factory=dict)
    table: Table = field(default=_no_table, compare=False)

    def of_dataset(self, dataset: str) -> tuple[Archived, ...]:
        return self.partitions.get(dataset, ())

    def without_bucket(self) -> ArchivedPartitions:
        """For who reads no object: rows that have left are read neither there nor here."""
        left = {name: tuple(replace(one, keys=()) for one in some) for name, some in self.partitions.items()}
        return replace(self, partitions=left)


class Archives(Protocol):
    """The index of the archive: the warehouse's `archives`, as this process knows it."""

    @property
    def archived(self) -> ArchivedPartitions:
        """As it is now. Made anew with every change."""


@dataclass(frozen=True, slots=True)
class NoArchives:
    """For an instance that archives nothing."""

    @property
    def archived(self) -> ArchivedPartitions:
        return ArchivedPartitions()


@dataclass(frozen=True, slots=True)
class WithoutBucket:
    """The index for a reader who does without archived rows, and says so."""

    index: Archives

    @property
    def archived(self) -> ArchivedPartitions:
        return self.index.archived.without_bucket()
