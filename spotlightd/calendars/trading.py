"""Days on which the exchanges of the United States trade: weekdays without those in `closures`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache

from spotlightd.calendars.closures import CLOSED
from spotlightd.calendars.united_states import FIRST_DAY, LAST_DAY

_WEEKDAYS = 5


def is_trading_day(day: date) -> bool:
    """Whether the exchanges trade on that day. ValueError for a day before 2005 or after the table."""
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"{day} is not in the calendar, which has {FIRST_DAY} to {LAST_DAY}")
    return day.weekday() < _WEEKDAYS and day not in _closures(day.year)


def trading_days(first: date, last: date) -> Iterator[date]:
    """All trading days from `first` to `last`, oldest first."""
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return (day for day in days if is_trading_day(day))


def trading_day_before(day: date, count: int = 1) -> date:
    """The last trading day before that day; with a count the one so many trading days before."""
    while count:
        day -= timedelta(days=1)
        count -= is_trading_day(day)
    return day


def trading_day_after(day: date) -> date:
    """The first trading day after that day."""
    return next(trading_days(day + timedelta(days=1), LAST_DAY))


@cache
def _closures(year: int) -> frozenset[date]:
    return frozenset(date(year, int(text[:2]), int(text[2:])) for text in CLOSED[year].split())
