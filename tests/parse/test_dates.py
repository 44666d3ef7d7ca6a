"""Calendar arithmetic: properties over all days of two centuries, and known days by hand."""

from __future__ import annotations

import calendar
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.parse import dates
from spotlightd.parse.dates import Period

DAYS = st.dates(date(1901, 1, 1), date(2099, 12, 31))
KINDS = (dates.month, dates.half_month, dates.quarter)
ONE_DAY = timedelta(days=1)


@pytest.mark.parametrize("period_of", KINDS)
@given(day=DAYS)
def test_a_day_is_in_its_period_and_every_day_of_it_has_the_same(period_of: object, day: date) -> None:
    assert callable(period_of)
    period = period_of(day)
    assert day in period
    assert period_of(period.first) == period_of(period.last) == period
    assert period.days == (period.last - period.first).days + 1


@pytest.mark.parametrize("period_of", KINDS)
@given(day=DAYS)
def test_periods_follow_each_other_without_hole_or_overlap(period_of: object, day: date) -> None:
    assert callable(period_of)
    period = period_of(day)
    before, after = period_of(period.day_before), period_of(period.day_after)
    assert before.last + ONE_DAY == period.first
    assert period.last + ONE_DAY == after.first
    assert period.day_before not in period
    assert period.day_after not in period


@given(DAYS)
def test_a_month_is_the_calendars_own(day: date) -> None:
    assert dates.month(day).days == calendar.monthrange(day.year, day.month)[1]


@given(DAYS)
def test_half_months_and_quarters_fit_months(day: date) -> None:
    month = dates.month(day)
    first, second = dates.half_month(month.first), dates.half_month(month.last)
    assert (first.first, second.last) == (month.first, month.last)
    assert (first.days, second.first) == (14, month.first.replace(day=15))
    quarter = dates.quarter(day)
    assert quarter.first <= month.first <= month.last <= quarter.last
    assert 90 <= quarter.days <= 92
    assert dates.quarter_number(day) == (quarter.first.month + 2) // 3


@given(DAYS, st.integers(-600, 600))
def test_months_added_are_months(day: date, months: int) -> None:
    moved = dates.add_months(day, months)
    assert (moved.year - day.year) * 12 + moved.month - day.month == months
    assert moved.day == min(day.day, dates.month(moved).days)
    assert dates.add_months(day.replace(day=1), months) == moved.replace(day=1)


@given(DAYS, st.integers(-300, 300))
def test_business_days_added_are_counted(day: date, count: int) -> None:
    moved = dates.add_business_days(day, count)
    between = Period(day + ONE_DAY, moved) if count > 0 else Period(moved, day - ONE_DAY)
    assert len(dates.business_days(between)) == abs(count)
    assert count == 0 or dates.is_business_day(moved)


@given(DAYS, st.integers(1, 300))
def test_business_days_back_and_forth(day: date, count: int) -> None:
    moved = dates.add_business_days(dates.add_business_days(day, count), -count)
    assert moved == day if dates.is_business_day(day) else moved == dates.add_business_days(day, -1)


@given(DAYS)
def test_the_last_business_day_of_a_month(day: date) -> None:
    month = dates.month(day)
    assert dates.last_business_day(month) == dates.business_days(month)[-1]


def test_known_days() -> None:
    assert dates.half_month(date(2024, 2, 29)) == Period(date(2024, 2, 15), date(2024, 2, 29))
    assert dates.quarter(date(2009, 5, 31)) == Period(date(2009, 4, 1), date(2009, 6, 30))
    assert dates.quarter_number(date(2009, 12, 1)) == 4
    assert dates.add_months(date(2021, 1, 31), 1) == date(2021, 2, 28)
    assert dates.add_months(date(2021, 1, 15), -1) == date(2020, 12, 15)
    assert dates.add_business_days(date(2021, 1, 15), 1) == date(2021, 1, 18)  # a holiday, but a weekday
    assert dates.add_business_days(date(2021, 1, 16), -1) == date(2021, 1, 15)
    assert dates.last_business_day(dates.month(date(2021, 1, 1))) == date(2021, 1, 29)
    assert date(2021, 1, 14) in dates.half_month(date(2021, 1, 1))
    assert date(2021, 1, 15) not in dates.half_month(date(2021, 1, 1))
