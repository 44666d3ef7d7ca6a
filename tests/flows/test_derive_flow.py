"""The flow of a derivation shows its progress and how far it is behind, and holds while a store fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from spotlightd import StoreError
from spotlightd.flows.derive.flow import DeriveFlow
from spotlightd.flows.supervise import Board, Reporter
from tests.polling import until


@dataclass
class Rounds:
    """A runner that does what it is told, round by round; the last answer is repeated."""

    answers: list[int | StoreError]
    begun: int = 0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_round(self, report: Reporter | None = None) -> int:
        self.begun += 1
        answer = self.answers[min(self.begun, len(self.answers)) - 1]
        if isinstance(answer, StoreError):
            raise answer
        if report and answer:
            report.beat(lag_seconds=90.0, queue=3)
            report.set_working("sums 2026-07-15", 1, answer)
            await self.is_open.wait()
        return answer

    async def compute_again(self) -> int:
        return await self.run_round()


async def test_a_round_shows_what_it_computes_and_a_failing_store_holds_it() -> None:
    board, rounds = Board(), Rounds([StoreError("the warehouse is away"), 4, 0])
    task = asyncio.create_task(DeriveFlow(rounds, every_seconds=0.01)(board.reporter("derive sums")))
    try:
        await until(lambda: board.read()[0].state == "running")
        status = board.read()[0]
        assert (status.message, status.done, status.total) == ("sums 2026-07-15", 1, 4)
        assert (status.lag_seconds, status.queue) == (90.0, 3)
        assert rounds.begun == 2, "the failed round was tried again"
        rounds.is_open.set()
        await until(lambda: rounds.begun > 2 and board.read()[0].message == "nothing is due")
        assert board.read()[0].error == ""
        assert not board.read()[0].is_hanging
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
