"""A spool whose oldest frames cannot be freed is told to send again: seldom, and only when the drain is not what it waits for."""

from __future__ import annotations

import itertools

from spotlightd.flows.stream.loss import FIRST_SECONDS, StallDetector


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def after(
    stuck: StallDetector,
    hand: Hand,
    seconds: float,
    *,
    freed: int,
    waiting: int = 5,
    offset: int = 0,
    drained: bool = False,
) -> list[int]:
    """At which seconds it said so, looked at once a second."""
    said = []
    for second in range(int(seconds)):
        hand.now += 1.0
        if stuck.is_so(freed=freed, waiting=waiting, offset=offset + second, drained=drained):
            said.append(second)
    return said


def test_a_busy_feed_behind_frames_that_the_bus_lost_is_sent_again_and_ever_more_seldom() -> None:
    hand = Hand()
    said = after(StallDetector(hand), hand, 500, freed=10)
    assert len(said) == 4
    pauses = [b - a for a, b in itertools.pairwise(said)]
    assert said[0] >= FIRST_SECONDS
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses))


def test_a_spool_that_frees_or_is_empty_is_left_alone() -> None:
    hand = Hand()
    stuck = StallDetector(hand)
    assert [one for freed in range(100) for one in after(stuck, hand, 5, freed=freed)] == []
    assert after(stuck, hand, 500, freed=100, waiting=0, drained=True) == []


def test_a_drain_that_stands_still_is_waited_for() -> None:
    hand = Hand()
    stuck = StallDetector(hand)
    assert [stuck.is_so(freed=1, waiting=5, offset=7, drained=False) for hand.now in range(500)].count(True) == 0
    assert stuck.is_so(freed=1, waiting=5, offset=7, drained=True)
