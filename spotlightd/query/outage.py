"""What a failed question tells of the archive, and who asks it again while it does not answer.

A store that swallows every question holds each for seconds. So such questions have fewer places than there are, and when
one has failed nobody asks for a while: pages go on with what is hot, and downloads are refused, both at once.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from spotlightd.errors import StoreError
from spotlightd.sql.tiers import ArchivedPartitions, Archives

RETRY_SECONDS = 10.0
MARK = "/* archived */"
"""Stands in every statement that reads objects."""

_UNAVAILABLE_CODES = frozenset({76, 86, 198, 209, 210, 499})
"""ClickHouse's codes for a file that cannot be opened, and for a store that refuses or does not answer."""
_NO_FILE, _OF_S3 = 107, 499
_OBJECT_MISSING = re.compile(r"response code: 404\b|NoSuchKey|key does not exist")


class ArchiveUnavailableError(StoreError):
    """Nobody asked: the archive did not answer a moment ago."""


def is_object_missing(problem: StoreError) -> bool:
    """Whether the store answers, and an object of ours is not in it."""
    return problem.code == _NO_FILE or (problem.code == _OF_S3 and _OBJECT_MISSING.search(str(problem)) is not None)


def is_unavailable(problem: StoreError) -> bool:
    """Whether the store does not answer, or not as it should."""
    return problem.code in _UNAVAILABLE_CODES and not is_object_missing(problem)


@dataclass(slots=True)
class Outage:
    """What the application knows of the archive's store. `places`: so many questions read it at a time."""

    slots: asyncio.Semaphore
    clock: Callable[[], float] = time.monotonic
    error: StoreError | None = None
    failed_at: float = 0.0
    retry_at: float = 0.0

    def record_failure(self, problem: StoreError) -> None:
        """A question that reads objects failed."""
        if is_unavailable(problem) and not isinstance(problem, ArchiveUnavailableError):
            self.error, self.failed_at = problem, self.clock()
            self.retry_at = self.failed_at + RETRY_SECONDS

    def record_success(self) -> None:
        """A question that reads objects was answered."""
        self.error = None

    def check(self, made: float) -> None:
        """StillAwayError for a statement that was written before the last failure: it waited for its turn since."""
        if self.error is not None and made < self.failed_at:
            raise _unavailable(self.error)

    def try_now(self) -> None:
        """StillAwayError for who is not to ask now: during an outage all but one, each time that it is to be tried again."""
        if self.error is None:
            return
        if self.clock() < self.retry_at:
            raise _unavailable(self.error)
        self.retry_at = self.clock() + RETRY_SECONDS


def _unavailable(problem: StoreError) -> ArchiveUnavailableError:
    return ArchiveUnavailableError(str(problem), code=problem.code)


@dataclass(slots=True)
class OutageAwareArchives:
    """The index for one request, which writes no statement that reads objects while the store is away."""

    index: Archives
    outage: Outage
    has_tried: bool = False

    @property
    def archived(self) -> ArchivedPartitions:
        cold = self.index.archived

        def table(keys: Sequence[str], structure: str) -> str:
            if not self.has_tried:
                self.outage.try_now()
            self.has_tried = True
            return f"{cold.table(keys, structure)} {MARK}"

        return replace(cold, table=table)
