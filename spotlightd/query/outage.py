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

_AWAY = frozenset({76, 86, 198, 209, 210, 499})
"""ClickHouse's codes for a file that cannot be opened, and for a store that refuses or does not answer."""
_NO_FILE, _OF_S3 = 107, 499
_NOT_THERE = re.compile(r"response code: 404\b|NoSuchKey|key does not exist")


class StillAwayError(StoreError):
    """Nobody asked: the archive did not answer a moment ago."""


def not_there(problem: StoreError) -> bool:
    """Whether the store answers, and an object of ours is not in it."""
    return problem.code == _NO_FILE or (problem.code == _OF_S3 and _NOT_THERE.search(str(problem)) is not None)


def away(problem: StoreError) -> bool:
    """Whether the store does not answer, or not as it should."""
    return problem.code in _AWAY and not not_there(problem)


@dataclass(slots=True)
class Outage:
    """What the application knows of the archive's store. `places`: so many questions read it at a time."""

    places: asyncio.Semaphore
    clock: Callable[[], float] = time.monotonic
    problem: StoreError | None = None
    noted: float = 0.0
    again: float = 0.0

    def note(self, problem: StoreError) -> None:
        """A question that reads objects failed."""
        if away(problem) and not isinstance(problem, StillAwayError):
            self.problem, self.noted = problem, self.clock()
            self.again = self.noted + RETRY_SECONDS

    def over(self) -> None:
        """A question that reads objects was answered."""
        self.problem = None

    def check(self, made: float) -> None:
        """StillAwayError for a statement that was written before the last failure: it waited for its turn since."""
        if self.problem is not None and made < self.noted:
            raise _refused(self.problem)

    def try_now(self) -> None:
        """StillAwayError for who is not to ask now: during an outage all but one, each time that it is to be tried again."""
        if self.problem is None:
            return
        if self.clock() < self.again:
            raise _refused(self.problem)
        self.again = self.clock() + RETRY_SECONDS


def _refused(problem: StoreError) -> StillAwayError:
    return StillAwayError(str(problem), code=problem.code)


@dataclass(slots=True)
class Heeding:
    """The index for one request, which writes no statement that reads objects while the store is away."""

    index: Archives
    outage: Outage
    tries: bool = False

    @property
    def cold(self) -> ArchivedPartitions:
        cold = self.index.cold

        def table(keys: Sequence[str], structure: str) -> str:
            if not self.tries:
                self.outage.try_now()
            self.tries = True
            return f"{cold.table(keys, structure)} {MARK}"

        return replace(cold, table=table)
