"""Outages of the archive's store: how a failed query is recognized, and when the store is tried again.

A store that does not answer holds up each query for seconds. So fewer queries of the archive than of the warehouse run
at a time, and after a failure none is tried for a while: pages show only hot rows and downloads are refused, at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spotlightd.backoff import Clock
from spotlightd.errors import StoreError
from spotlightd.sql.tiers import ArchivedPartitions, Archives
from spotlightd.turns import Turns

RETRY_SECONDS = 10.0
MARK = "/* archived */"
"""In every statement that reads objects."""

_UNAVAILABLE_CODES = frozenset({76, 86, 198, 209, 210, 499})
"""ClickHouse's error codes for a file that cannot be opened, and for a store that refuses or does not answer."""
_NO_FILE, _OF_S3 = 107, 499
_OBJECT_MISSING = re.compile(r"response code: 404\b|NoSuchKey|key does not exist")


class ArchiveUnavailableError(StoreError):
    """The query was not sent, because the archive did not answer a moment ago."""


def is_object_missing(error: StoreError) -> bool:
    """Whether the store answers, but one of the archive's objects is not in it."""
    return error.code == _NO_FILE or (error.code == _OF_S3 and _OBJECT_MISSING.search(str(error)) is not None)


def is_unavailable(error: StoreError) -> bool:
    """Whether the store does not answer, or not as it should."""
    return error.code in _UNAVAILABLE_CODES and not is_object_missing(error)


@dataclass(slots=True)
class Outage:
    """The state of the archive's store. `turns` limits how many queries read it at a time."""

    turns: Turns
    clock: Clock = field(default_factory=Clock)
    error: StoreError | None = None
    failed_at: float = 0.0
    retry_at: float = 0.0

    def record_failure(self, error: StoreError) -> None:
        """A query that reads objects failed."""
        if is_unavailable(error) and not isinstance(error, ArchiveUnavailableError):
            self.error, self.failed_at = error, self.clock.now()
            self.retry_at = self.failed_at + RETRY_SECONDS

    def record_success(self) -> None:
        """A query that reads objects was answered."""
        self.error = None

    def check(self, created_at: float) -> None:
        """ArchiveUnavailableError for a statement that was built before the last failure, and has waited since."""
        if self.error is not None and created_at < self.failed_at:
            raise _unavailable(self.error)

    def try_now(self) -> None:
        """ArchiveUnavailableError if the store must not be tried now: after each pause only one query may try it."""
        if self.error is None:
            return
        if self.clock.now() < self.retry_at:
            raise _unavailable(self.error)
        self.retry_at = self.clock.now() + RETRY_SECONDS


def _unavailable(error: StoreError) -> ArchiveUnavailableError:
    return ArchiveUnavailableError(str(error), code=error.code)


@dataclass(slots=True)
class OutageAwareArchives:
    """The index for one request. It builds no statement that reads objects while the store is unavailable."""

    index: Archives
    outage: Outage
    has_tried: bool = False

    @property
    def archived(self) -> ArchivedPartitions:
        archived = self.index.archived

        def table(keys: Sequence[str], structure: str) -> str:
            if not self.has_tried:
                self.outage.try_now()
            self.has_tried = True
            return f"{archived.table(keys, structure)} {MARK}"

        return replace(archived, table=table)
