"""When a spool can free nothing, its frames are sent again: at growing intervals, and only while the drain goes on."""

from __future__ import annotations

import itertools

from spotlightd.flows.stream.loss import RESEND, StallDetector
from tests.manual_clock import ManualClock


def stall_seconds(
    stall: StallDetector,
    clock: ManualClock,
    seconds: float,
    *,
    durable: int,
    waiting: int = 5,
    offset: int = 0,
    drained: bool = False,
) -> list[int]:
    """The seconds at which a stall was reported, when checked once a second."""
    reported = []
    for second in range(int(seconds)):
        clock.seconds += 1.0
        if stall.is_stalled(durable=durable, waiting=waiting, offset=offset + second, drained=drained):
            reported.append(second)
    return reported


def test_a_busy_feed_behind_frames_that_the_bus_lost_is_sent_again_at_growing_intervals() -> None:
    clock = ManualClock()
    reported = stall_seconds(StallDetector(clock.to_clock()), clock, 500, durable=10)
    assert len(reported) == 4
    pauses = [later - earlier for earlier, later in itertools.pairwise(reported)]
    assert reported[0] >= RESEND.first
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses))


def test_a_spool_that_frees_frames_or_is_empty_is_not_stalled() -> None:
    clock = ManualClock()
    stall = StallDetector(clock.to_clock())
    assert [second for durable in range(100) for second in stall_seconds(stall, clock, 5, durable=durable)] == []
    assert stall_seconds(stall, clock, 500, durable=100, waiting=0, drained=True) == []


def test_a_drain_that_stands_still_is_no_stall_of_the_spool() -> None:
    clock = ManualClock()
    stall = StallDetector(clock.to_clock())
    stalled = [stall.is_stalled(durable=1, waiting=5, offset=7, drained=False) for clock.seconds in range(500)]
    assert stalled.count(True) == 0
    assert stall.is_stalled(durable=1, waiting=5, offset=7, drained=True)
