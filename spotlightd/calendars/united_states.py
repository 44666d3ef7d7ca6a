"""Days on which trades in American securities settle.

An exchange is closed on weekends and on the days in `closures`. On Columbus Day and Veterans Day it is open, but trades do not
settle, because banks are closed (FINRA, Notices to Members 95-77 and 99-83). A Veterans Day on a Saturday changes nothing, on a
Sunday it is kept on Monday, as the Federal Reserve does.

The closures are a table that a test compares with exchange_calendars. The library itself needs pandas: each process that reads a
source would take 70 MB and half a second of processor time more for it. Closures that are announced a few days before, as for
a funeral of state, are there with the next release.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache

from spotlightd.calendars.closures import CLOSED

FIRST_DAY, LAST_DAY = date(min(CLOSED), 1, 1), date(max(CLOSED), 12, 31)
_WEEKDAYS = 5
_OCTOBER, _NOVEMBER, _SUNDAY = 10, 11, 6


def is_settlement_day(day: date) -> bool:
    """Whether trades settle on that day. ValueError for a day before 2005 or after the table."""
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"{day} is not in the calendar, which has {FIRST_DAY} to {LAST_DAY}")
    return day.weekday() < _WEEKDAYS and day not in days_without_settlement(day.year)


def settlement_days(first: date, last: date) -> Iterator[date]:
    """All settlement days from `first` to `last`, oldest first."""
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return (day for day in days if is_settlement_day(day))


def number_settlement_day(day: date) -> int:
    """The number of a settlement day among all of them since the first one of 2005."""
    years = range(FIRST_DAY.year, day.year)
    return sum(_count_year(year) for year in years) + sum(1 for _ in settlement_days(date(day.year, 1, 1), day))


def settlement_day_after(day: date) -> date:
    """The first settlement day after that day."""
    return next(settlement_days(day + timedelta(days=1), LAST_DAY))


def settlement_day_before(day: date) -> date:
    """The last settlement day before that day."""
    day -= timedelta(days=1)
    while not is_settlement_day(day):
        day -= timedelta(days=1)
    return day


@cache
def _count_year(year: int) -> int:
    return sum(1 for _ in settlement_days(date(year, 1, 1), date(year, 12, 31)))


@cache
def days_without_settlement(year: int) -> frozenset[date]:
    """The weekdays of a year on which trades do not settle."""
    closed = {date(year, int(text[:2]), int(text[2:])) for text in CLOSED[year].split()}
    return frozenset(closed | {_columbus_day(year), *_veterans_day(year)})


def _columbus_day(year: int) -> date:
    """The second Monday of October."""
    first = date(year, _OCTOBER, 1)
    return first + timedelta(days=-first.weekday() % 7 + 7)


def _veterans_day(year: int) -> tuple[date, ...]:
    day = date(year, _NOVEMBER, 11)
    if day.weekday() < _WEEKDAYS:
        return (day,)
    return (day + timedelta(days=1),) if day.weekday() == _SUNDAY else ()
