"""Levels and forecasts, for any disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.errors import SettingsError
from spotlightd.model.disk import GIB, Level, Watermarks, ballast_bytes, ballast_fits
from spotlightd.model.disk_forecast import MOST_POINTS, YEAR, Forecast, History, Point, build_history, forecast

MARKS = Watermarks()
SIZE = 1_000_000
BEGUN = datetime(2026, 11, 28, tzinfo=UTC)
sizes = st.integers(1, 1 << 50)
levels = st.sampled_from(Level)
used = st.integers(0, SIZE)


def points(values: Sequence[float], *, every: float = 60.0) -> list[Point]:
    return [Point(BEGUN + timedelta(seconds=every * at), int(value)) for at, value in enumerate(values)]


@pytest.mark.parametrize(
    ("percent", "level"),
    [(0, 0), (84.9, 0), (85, 1), (91.9, 1), (92, 2), (94.9, 2), (95, 3), (96.9, 3), (97, 4), (100, 4)],
)
def test_a_level_is_reached_at_its_mark(percent: float, level: int) -> None:
    assert MARKS.find_level(int(percent * 10_000), SIZE) == level


@pytest.mark.parametrize(
    "marks", [(85, 84, 95, 97), (0, 92, 95, 97), (85, 92, 95, 101), (85, 85, 95, 97), (85, 95, 92, 97)]
)
def test_marks_that_do_not_grow_are_a_setting_to_be_put_right(marks: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="must grow in this order"):
        Watermarks(*marks)


@given(used, used, levels)
def test_more_in_use_is_never_better(used_bytes: int, other: int, before: Level) -> None:
    low, high = sorted((used_bytes, other))
    assert MARKS.find_level(low, SIZE, before) <= MARKS.find_level(high, SIZE, before)


@given(used, levels)
def test_what_was_worse_before_is_never_better_now(now: int, before: Level) -> None:
    assert (
        MARKS.find_level(now, SIZE) <= MARKS.find_level(now, SIZE, before) <= max(before, MARKS.find_level(now, SIZE))
    )


@given(used, levels)
def test_a_second_look_changes_nothing(now: int, before: Level) -> None:
    level = MARKS.find_level(now, SIZE, before)
    assert MARKS.find_level(now, SIZE, level) == level


@given(st.lists(st.floats(0.0, 0.99), max_size=50), st.sampled_from([level for level in Level if level]))
def test_a_disk_that_trembles_below_a_mark_keeps_its_level(below: list[float], level: Level) -> None:
    now = level
    for difference in below:
        now = MARKS.find_level(int((MARKS.marks[level] - difference) * 10_000) + 1, SIZE, now)
        assert now == level


@given(sizes)
def test_a_ballast_takes_a_fiftieth_at_most(size: int) -> None:
    wanted = ballast_bytes(None, size)
    assert wanted <= size // 50 + 1
    assert wanted <= 8 * GIB
    assert wanted == GIB or size < 50 * GIB or size > 100 * GIB
    assert ballast_bytes(0, size) == 0


@given(st.integers(0, 100), used)
def test_a_ballast_that_fits_holds_nothing(share: int, now: int) -> None:
    wanted = share * SIZE // 100
    if ballast_fits(MARKS, now, SIZE, wanted):
        assert MARKS.find_level(now + wanted, SIZE) < Level.BATCH_HELD
        assert MARKS.find_level(now, SIZE, Level.BALLAST_RELEASED) == Level.FINE


@given(st.integers(-(10**9), 10**9), st.integers(6, 200), st.integers(60, 3600))
def test_the_rate_of_a_steady_disk_is_its_rate(rate: int, many: int, every: int) -> None:
    history = build_history(points([10**15 + rate * every * at for at in range(many)], every=every))
    assert history.rate == pytest.approx(rate, rel=1e-6, abs=1e-3)


@given(st.integers(1, 10**6), st.sets(st.integers(0, 59), max_size=12), st.randoms(use_true_random=False))
def test_a_fifth_of_wild_points_does_not_turn_the_rate(rate: int, wild: set[int], chance: object) -> None:
    values = [10**12 + rate * 60 * at for at in range(60)]
    noisy = [chance.randrange(0, 2 * 10**12) if at in wild else value for at, value in enumerate(values)]  # type: ignore[attr-defined]
    assert build_history(points(noisy)).rate == pytest.approx(rate, rel=0.5)


@given(st.lists(st.tuples(st.integers(-(10**6), 10**7), st.integers(0, 1 << 50)), max_size=400))
def test_a_history_is_bounded_and_in_order_whatever_the_clock_does(samples: list[tuple[int, int]]) -> None:
    history = History()
    for seconds, value in samples:
        history = history.with_point(Point(BEGUN + timedelta(seconds=seconds), value))
        times = [point.at for point in history.points]
        assert times == sorted(set(times))
        assert len(times) <= MOST_POINTS
        assert history.points[-1].used == value


def test_a_long_history_stays_even() -> None:
    history = build_history(points(range(5_000)))
    gaps = [(b.at - a.at).total_seconds() for a, b in zip(history.points, history.points[1:], strict=False)]
    assert history.points[0].at == BEGUN
    assert max(gaps) < 5 * 5_000 * 60 / MOST_POINTS


@given(st.floats(1e-3, 1e12), st.integers(0, 1 << 50), st.integers(0, 1 << 50))
def test_less_room_is_never_full_later(rate: float, free: int, other: int) -> None:
    low, high = sorted((free, other))
    assert (forecast(rate, low).seconds or math.inf) <= (forecast(rate, high).seconds or math.inf) or not low


@pytest.mark.parametrize(
    ("forecast", "summary"),
    [
        (Forecast(), "too early to say how fast it fills"),
        (forecast(-5.0, 10), "not growing"),
        (forecast(0.0, 10), "not growing"),
        (forecast(1.0, 23 * 86_400 + 5), "full in 23 days at this rate"),
        (forecast(1.0, 5 * 3_600), "full in 5 hours at this rate"),
        (forecast(1.0, 70), "full in 1 minute at this rate"),
        (forecast(1.0, 7), "full in less than 1 minute at this rate"),
        (forecast(1.0, int(3 * YEAR)), "full in 3 years at this rate"),
        (forecast(1.0, int(30 * YEAR)), "not growing"),
    ],
)
def test_a_forecast_is_a_sentence(forecast: Forecast, summary: str) -> None:
    assert forecast.summary == summary
