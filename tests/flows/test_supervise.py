"""Flows that fail are started again after growing pauses, which a long run resets; the board shows which flows hang."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from spotlightd.backoff import Clock
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import (
    RESTART,
    Board,
    Reporter,
    Status,
    run_in_background,
    run_isolated,
    run_vital,
)

MIDNIGHT = datetime(2021, 3, 20, tzinfo=UTC)


@dataclass
class Time:
    """Time that passes only in `sleep` and `advance`."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def clock(self) -> Clock:
        """Without jitter: each pause is the longest that it may be."""
        return Clock(
            wall=lambda: int((MIDNIGHT + timedelta(seconds=self.seconds)).timestamp() * 1e9), now=lambda: self.seconds,
            sleep=self.sleep, chance=lambda: 0.0,
        )  # fmt: skip


def only(board: Board) -> Status:
    (status,) = board.read()
    return status


async def pauses(time: Time, spells: list[float]) -> tuple[list[float], Status]:
    """The pauses of a flow that runs for these spells, failing after each; it stops after the last."""
    board, left = Board(time.clock()), iter(spells)

    async def flow(_: Reporter) -> None:
        spell = next(left, None)
        if spell is None:
            return
        time.advance(spell)
        raise StoreError("the disk is full")

    await run_isolated(board, "flow", flow, clock=time.clock())
    return time.slept, only(board)


async def test_pauses_grow_with_each_failure_up_to_the_longest() -> None:
    slept, status = await pauses(Time(), [0.0] * 12)
    assert slept[:4] == [1, 2, 4, 8]
    assert slept[-1] == RESTART.most
    assert (status.state, status.restarts) == ("stopped", 12)


async def test_a_good_spell_makes_the_pauses_short_again() -> None:
    slept, status = await pauses(Time(), [0.0, 0.0, 0.0, RESTART.most, 0.0, RESTART.most - 1])
    assert slept == [1, 2, 4, 1, 2, 4]
    assert status.restarts == 6


async def test_a_vital_flow_that_fails_ends_what_runs() -> None:
    board = Board()

    async def flow(_: Reporter) -> None:
        raise StoreError("the disk is full")

    with pytest.raises(BaseExceptionGroup):
        async with run_in_background(one=run_vital(board, "one", flow)):
            await asyncio.sleep(60)
    assert (only(board).state, only(board).error) == ("failed", "the disk is full")


def test_a_beat_tells_when_what_waits_and_whether_there_was_anything_to_do() -> None:
    time = Time()
    board = Board(time.clock())
    report = board.reporter("drain")
    report.beat(lag_seconds=1.5, queue=7)
    time.advance(10)
    report.beat(did_something=False)
    time.advance(2)
    status = only(board)
    assert (status.beats, status.silent_seconds, status.lag_seconds, status.queue) == (2, 2, 0, 0)
    assert status.last_beat_at == MIDNIGHT + timedelta(seconds=10)
    assert status.last_event_at == MIDNIGHT


def test_a_flow_hangs_after_three_beats_that_it_promised_and_did_not_give() -> None:
    time = Time()
    board = Board(time.clock())
    report = board.reporter("drain")
    time.advance(1_000)
    assert not only(board).is_hanging, "it promised nothing yet"
    report.expect_beats(30)
    report.beat()
    time.advance(6)
    assert (only(board).is_hanging, only(board).beat_summary) == (False, "last beat 6 s ago")
    time.advance(0.1)
    assert only(board).is_hanging
    time.advance(33.9)
    assert only(board).beat_summary == "it hangs: last beat 40 s ago, where one is due every 2 s"
    report.beat()
    assert not only(board).is_hanging


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_flow_that_is_not_at_work_does_not_hang(state: str) -> None:
    time = Time()
    board = Board(time.clock())
    report = board.reporter("drain")
    report.expect_beats(60)
    board.update("drain", state=state)
    time.advance(1_000)
    assert (only(board).is_hanging, only(board).beat_summary) == (False, "")
    board.start_flow("drain")
    assert not only(board).is_hanging, "the wait for its first beat begins when it is begun again"
    time.advance(4)
    assert only(board).beat_summary == "it hangs: no beat for 4 s, where one is due every 1 s"


def test_setting_the_clock_makes_nobody_hang() -> None:
    wall = [int(MIDNIGHT.timestamp() * 1e9)]
    board = Board(Clock(wall=lambda: wall[0], now=lambda: 0.0))
    report = board.reporter("drain")
    report.expect_beats(60)
    report.beat()
    wall[0] += 86_400 * 10**9
    assert not only(board).is_hanging
    assert only(board).silent_seconds == 0
