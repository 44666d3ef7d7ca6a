"""The flow that watches the bucket."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from spotlightd.backoff import Clock
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.bucket import watch_bucket
from spotlightd.ports.storage import Bucket


@dataclass
class ScriptedBucket:
    """Answers pings as scripted: an empty text is a good answer."""

    script: list[str]
    board: Board = field(default_factory=Board)
    sweeps: int = 0
    now: float = 0.0
    states: list[tuple[str, str]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    async def ping(self) -> None:
        if error := self.script.pop(0):
            raise StoreError(error)

    async def sweep(self) -> int:
        self.sweeps += 1
        return 0

    async def sleep(self, seconds: float) -> None:
        (status,) = self.board.read()
        self.states.append((status.state, status.error))
        self.slept.append(seconds)
        self.now += seconds
        if not self.script:
            raise asyncio.CancelledError

    async def run(self) -> None:
        board: Any = self.board
        report = board.reporter("bucket")
        with suppress(asyncio.CancelledError):
            await watch_bucket(report, cast("Bucket", self), clock=Clock(now=lambda: self.now, sleep=self.sleep))


async def test_what_is_wrong_is_on_the_board_until_it_is_right() -> None:
    bucket = ScriptedBucket(["gone", "still gone", "", ""])
    await bucket.run()
    assert bucket.states == [("holding", "gone"), ("holding", "still gone"), ("waiting", ""), ("waiting", "")]


async def test_a_bucket_that_fails_is_probed_again_after_a_minute_and_not_sooner() -> None:
    bucket = ScriptedBucket(["gone"] * 5)
    await bucket.run()
    assert all(60 <= pause <= 72 for pause in bucket.slept)
    assert bucket.sweeps == 0


async def test_the_bucket_is_swept_at_once_and_every_day() -> None:
    bucket = ScriptedBucket([""] * 3000)
    await bucket.run()
    days = bucket.now / 86_400
    assert days - 1 <= bucket.sweeps <= days + 1
