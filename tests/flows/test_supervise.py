"""Flows that fail are begun again, after pauses that grow and that a good spell forgets; the board tells who hangs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from spotlightd.errors import StoreError
from spotlightd.flows.supervise import (
    LONGEST_PAUSE_SECONDS,
    Board,
    Clock,
    Reporter,
    Status,
    isolated,
    running,
    vital,
)

MIDNIGHT = datetime(2021, 3, 20, tzinfo=UTC)


@dataclass
class Time:
    """A time that goes on only when somebody sleeps, or the test says so."""

    seconds: float = 0.0

    def passes(self, seconds: float) -> None:
        self.seconds += seconds

    def clock(self) -> Clock:
        return Clock(lambda: MIDNIGHT + timedelta(seconds=self.seconds), lambda: self.seconds)


def only(board: Board) -> Status:
    (one,) = board.read()
    return one


async def pauses(time: Time, spells: list[float]) -> tuple[list[float], Status]:
    """The pauses between the spells of a flow that runs so long each time before it fails; it stops after the last."""
    board, left, slept = Board(time.clock()), iter(spells), list[float]()

    async def flow(_: Reporter) -> None:
        spell = next(left, None)
        if spell is None:
            return
        time.passes(spell)
        raise StoreError("the disk is full")

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.passes(seconds)

    await isolated(board, "flow", flow, sleep=sleep, seconds=lambda: time.seconds)
    return slept, only(board)


async def test_pauses_grow_with_each_failure_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    slept, status = await pauses(Time(), [0.0] * 12)
    assert slept[:4] == [1, 2, 4, 8]
    assert slept[-1] == LONGEST_PAUSE_SECONDS
    assert (status.state, status.restarts) == ("stopped", 12)


async def test_a_good_spell_makes_the_pauses_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    slept, status = await pauses(Time(), [0.0, 0.0, 0.0, LONGEST_PAUSE_SECONDS, 0.0, LONGEST_PAUSE_SECONDS - 1])
    assert slept == [1, 2, 4, 1, 2, 4]
    assert status.restarts == 6


async def test_a_vital_flow_that_fails_ends_what_runs() -> None:
    board = Board()

    async def flow(_: Reporter) -> None:
        raise StoreError("the disk is full")

    with pytest.raises(BaseExceptionGroup):
        async with running(one=vital(board, "one", flow)):
            await asyncio.sleep(60)
    assert (only(board).state, only(board).error) == ("failed", "the disk is full")


def test_a_beat_tells_when_what_waits_and_whether_there_was_anything_to_do() -> None:
    time = Time()
    board = Board(time.clock())
    report = board.reporter("drain")
    report.beat(lag_seconds=1.5, queue=7)
    time.passes(10)
    report.beat(did_something=False)
    time.passes(2)
    status = only(board)
    assert (status.beats, status.silent_seconds, status.lag_seconds, status.queue) == (2, 2, 0, 0)
    assert status.last_beat_at == MIDNIGHT + timedelta(seconds=10)
    assert status.last_event_at == MIDNIGHT


def test_a_flow_hangs_after_three_beats_that_it_promised_and_did_not_give() -> None:
    time = Time()
    board = Board(time.clock())
    report = board.reporter("drain")
    time.passes(1_000)
    assert not only(board).hangs, "it promised nothing yet"
    report.expects(30)
    report.beat()
    time.passes(6)
    assert (only(board).hangs, only(board).heard) == (False, "last beat 6 s ago")
    time.passes(0.1)
    assert only(board).hangs
    time.passes(33.9)
    assert only(board).heard == "it hangs: last beat 40 s ago, where one is due every 2 s"
    report.beat()
    assert not only(board).hangs


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_flow_that_is_not_at_work_does_not_hang(state: str) -> None:
    time = Time()
    board = Board(time.clock())
    report = board.reporter("drain")
    report.expects(60)
    board.update("drain", state=state)
    time.passes(1_000)
    assert (only(board).hangs, only(board).heard) == (False, "")
    board.begun("drain")
    assert not only(board).hangs, "the wait for its first beat begins when it is begun again"
    time.passes(4)
    assert only(board).heard == "it hangs: no beat for 4 s, where one is due every 1 s"


def test_setting_the_clock_makes_nobody_hang() -> None:
    seconds, now = [0.0], [MIDNIGHT]
    board = Board(Clock(lambda: now[0], lambda: seconds[0]))
    report = board.reporter("drain")
    report.expects(60)
    report.beat()
    now[0] += timedelta(days=1)
    assert not only(board).hangs
    assert only(board).silent_seconds == 0
