from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spotlightd.backoff import Backoff, Clock


def test_a_pause_doubles_with_each_failure_up_to_the_ceiling() -> None:
    backoff = Backoff(first=1.0, most=10.0)
    assert [backoff.pause(failures, lambda: 0.0) for failures in range(1, 7)] == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("failures", [1, 60, 10_000])
def test_jitter_takes_its_share_and_no_more(failures: int) -> None:
    whole = Backoff(first=3.0, most=120.0).pause(failures, lambda: 0.0)
    half = Backoff(first=3.0, most=120.0, jitter=0.5).pause(failures, lambda: 1.0)
    assert half == whole / 2
    assert half <= Backoff(first=3.0, most=120.0).pause(failures) <= whole


def test_without_a_failure_the_pause_is_the_first_one() -> None:
    assert Backoff(first=2.0, most=8.0, jitter=0.0).pause(0) == 2.0


def test_the_wall_clock_is_aware_utc() -> None:
    assert Clock(wall=lambda: 1_500_000_000).utc() == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
