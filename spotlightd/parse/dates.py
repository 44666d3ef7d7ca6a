"""Calendar arithmetic for sources: months, half-months, quarters and business days. Pure.

A business day is a weekday, Monday to Friday. There is no holiday calendar: a publisher's holidays count as business
days, so a date computed here may be early by the holidays in between. Grant some days when lateness is judged by it.
"""

from __future__ import annotations

from datetime import date, timedelta

from spotlightd.model.source import Period

__all__ = [
    "Period", "add_business_days", "add_months", "business_days", "half_month", "is_business_day", "last_business_day",
    "month", "quarter", "quarter_number",
]  # fmt: skip

_WEEKDAYS = 5


def month(day: date) -> Period:
    """The month of that day."""
    first = day.replace(day=1)
    return Period(first, (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1))


def add_months(day: date, months: int) -> date:
    """The same day of another month, or that month's last day if it is shorter. `months` may be negative."""
    number = day.year * 12 + day.month - 1 + months
    first = date(number // 12, number % 12 + 1, 1)
    return first.replace(day=min(day.day, month(first).last.day))


def half_month(day: date) -> Period:
    """The half-month of that day: days 1 to 14 of a month, or 15 to its end."""
    whole = month(day)
    if day.day <= 14:  # noqa: PLR2004
        return Period(whole.first, whole.first.replace(day=14))
    return Period(whole.first.replace(day=15), whole.last)


def quarter(day: date) -> Period:
    """The quarter of that day: January to March, and so on."""
    first = day.replace(month=day.month - (day.month - 1) % 3, day=1)
    return Period(first, month(add_months(first, 2)).last)


def quarter_number(day: date) -> int:
    """1 to 4."""
    return (day.month - 1) // 3 + 1


def is_business_day(day: date) -> bool:
    """Monday to Friday."""
    return day.weekday() < _WEEKDAYS


def add_business_days(day: date, count: int) -> date:
    """The `count`-th business day after that day; before it for a negative number. 0 gives the day itself."""
    step = timedelta(days=1 if count > 0 else -1)
    left = abs(count)
    while left:
        day += step
        left -= is_business_day(day)
    return day


def last_business_day(period: Period) -> date:
    """The last business day of the period."""
    return add_business_days(period.day_after, -1)


def business_days(period: Period) -> tuple[date, ...]:
    """All business days of the period, oldest first."""
    days = (period.first + timedelta(days=number) for number in range(period.days))
    return tuple(day for day in days if is_business_day(day))
