"""The flow that looks after the bucket."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.bucket import looking_after
from spotlightd.ports.storage import Bucket


@dataclass
class Scripted:
    """Answers pings as the script says: an empty sentence is a good answer."""

    script: list[str]
    board: Board = field(default_factory=Board)
    sweeps: int = 0
    now: float = 0.0
    seen: list[tuple[str, str]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    async def ping(self) -> None:
        if said := self.script.pop(0):
            raise StoreError(said)

    async def sweep(self) -> int:
        self.sweeps += 1
        return 0

    async def sleep(self, seconds: float) -> None:
        (status,) = self.board.read()
        self.seen.append((status.state, status.error))
        self.slept.append(seconds)
        self.now += seconds
        if not self.script:
            raise asyncio.CancelledError

    async def run(self) -> None:
        board: Any = self.board
        report = board.reporter("bucket")
        with suppress(asyncio.CancelledError):
            await looking_after(report, cast("Bucket", self), sleep=self.sleep, seconds=lambda: self.now)


async def test_what_is_wrong_is_on_the_board_until_it_is_right() -> None:
    one = Scripted(["gone", "still gone", "", ""])
    await one.run()
    assert one.seen == [("holding", "gone"), ("holding", "still gone"), ("waiting", ""), ("waiting", "")]


async def test_it_is_asked_again_after_a_minute_and_not_sooner() -> None:
    one = Scripted(["gone"] * 5)
    await one.run()
    assert all(60 <= pause <= 72 for pause in one.slept)
    assert one.sweeps == 0


async def test_it_is_swept_at_once_and_every_day() -> None:
    one = Scripted([""] * 3000)
    await one.run()
    days = one.now / 86_400
    assert days - 1 <= one.sweeps <= days + 1
