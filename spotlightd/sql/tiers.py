"""The index of the archive: where rows are that left the warehouse. Every statement that reads is built with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from spotlightd.model.dataset import Dataset

STATEMENT_START_SECONDS = 60.0
"""A statement must start within this time after it was built. The archiver waits longer before it drops a partition."""

Bound = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True)
class Archived:
    """A partition whose rows are read from the bucket. `bounds` has the least and greatest time of each time column.
    `newest_id` is the greatest `id`, for copies of the ledger's records. `columns` has name and type of the columns in
    its files: those that the dataset had when the partition was sealed.
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
    """The times of the requested rows, by column, both ends included; None is no bound."""

    bounds: Mapping[str, Bound] = field(default_factory=dict)

    def may_contain(self, partition: Archived) -> bool:
        """Whether the partition can have such a row."""
        columns = self.bounds.keys() & partition.bounds.keys()
        return all(_overlaps(self.bounds[column], partition.bounds[column]) for column in columns)


def _overlaps(bound: Bound, times: tuple[datetime, datetime]) -> bool:
    since, until = bound
    return (since is None or since <= times[1]) and (until is None or times[0] <= until)


EVER = Span()


@dataclass(frozen=True, slots=True)
class Overlap:
    """Rows with a start and an end that overlap a time span, `until` excluded. A clock that was set can have swapped start
    and end of a row.
    """

    since: datetime
    until: datetime

    def may_contain(self, partition: Archived) -> bool:
        """Whether the partition can have such a row."""
        first = min(low for low, _ in partition.bounds.values())
        last = max(high for _, high in partition.bounds.values())
        return first < self.until and self.since <= last


Table = Callable[[Sequence[str], str], str]
"""(keys, structure) → the text after FROM that reads these objects. Each object must have all of these columns."""


def _no_table(keys: Sequence[str], structure: str) -> str:
    raise AssertionError(f"nothing is archived, but {len(keys)} objects with {structure} are to be read")


@dataclass(frozen=True, slots=True)
class ArchivedPartitions:
    """The archived partitions at one moment, by dataset.

    A statement that was built with them is right if it starts within `archive.rest_seconds`: partitions are dropped
    later than that. `table` is the bucket's.
    """

    partitions: Mapping[str, tuple[Archived, ...]] = field(default_factory=dict)
    table: Table = field(default=_no_table, compare=False)

    def of_dataset(self, dataset: str) -> tuple[Archived, ...]:
        return self.partitions.get(dataset, ())

    def without_bucket(self) -> ArchivedPartitions:
        """The same partitions without their objects: archived rows are then read from neither place."""
        emptied = {
            name: tuple(replace(partition, keys=()) for partition in partitions)
            for name, partitions in self.partitions.items()
        }
        return replace(self, partitions=emptied)


class Archives(Protocol):
    """The index of the archive: the warehouse's table `archives`, as this process last read it."""

    @property
    def archived(self) -> ArchivedPartitions:
        """The present state, a new object after every change."""


@dataclass(frozen=True, slots=True)
class NoArchives:
    """For an instance that archives nothing."""

    @property
    def archived(self) -> ArchivedPartitions:
        return ArchivedPartitions()


@dataclass(frozen=True, slots=True)
class WithoutBucket:
    """The index for a reader that leaves archived rows out, and says so."""

    index: Archives

    @property
    def archived(self) -> ArchivedPartitions:
        return self.index.archived.without_bucket()
