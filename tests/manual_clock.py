"""The clock of tests that must not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from spotlightd.backoff import Clock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class ManualClock:
    """A clock that advances only when code sleeps by it or a test sets it. `start` is the wall clock at second 0, and
    `slept` the seconds that the machine has slept.

    `pauses` lists the sleeps, in seconds. `chances` are the next random values; after them, each is `chance`.
    """

    start: datetime = datetime(2021, 3, 1, tzinfo=UTC)
    seconds: float = 0.0
    chance: float = 0.5
    chances: Iterator[float] = field(default_factory=lambda: iter(()))
    pauses: list[float] = field(default_factory=list)
    has_slept: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: int = 0
    slept: float = 0.0

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.has_slept.set()
        self.seconds += seconds
        await asyncio.sleep(0)

    def now(self) -> float:
        return self.seconds

    @property
    def at(self) -> datetime:
        """The wall clock."""
        return self.start + timedelta(seconds=self.seconds + self.slept)

    def wall(self) -> int:
        return (self.at - EPOCH) // timedelta(microseconds=1) * 1_000

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def to_clock(self) -> Clock:
        return Clock(
            self.wall,
            self.now,
            self.sleep,
            lambda: next(self.chances, self.chance),
            self.number,
            lambda: self.seconds + self.slept,
        )
