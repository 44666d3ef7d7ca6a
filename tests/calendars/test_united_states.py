"""On which days trades settle: the table of closures against the library that it was taken from, and the days of FINRA's notices."""

from __future__ import annotations

from datetime import date

import pytest

from spotlightd.calendars.closures import CLOSED
from spotlightd.calendars.united_states import (
    is_settlement_day,
    number_settlement_day,
    settlement_day_after,
    settlement_day_before,
    settlement_days,
)
from tests.calendars.closures import list_closures


@pytest.mark.filterwarnings("ignore:Series.values returning:DeprecationWarning")  # within the library
def test_the_table_has_the_closures_of_the_library() -> None:
    assert list_closures() == CLOSED


@pytest.mark.parametrize(
    "day",
    [
        date(2021, 10, 11), date(2019, 10, 14),  # Columbus Day
        date(2021, 11, 11), date(2015, 11, 11), date(2018, 11, 12), date(2012, 11, 12),  # Veterans Day, twice kept on Monday
        date(2026, 7, 3), date(2018, 12, 5), date(2025, 1, 9), date(2012, 10, 29), date(2021, 4, 2), date(2021, 1, 23),
    ],
)  # fmt: skip
def test_trades_do_not_settle(day: date) -> None:
    assert not is_settlement_day(day)


@pytest.mark.parametrize("day", [date(2017, 11, 10), date(2023, 11, 10), date(2021, 10, 12), date(2021, 12, 31)])
def test_trades_settle(day: date) -> None:
    """A Veterans Day on a Saturday (2017, 2023) leaves the Friday as it is."""
    assert is_settlement_day(day)


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        (date(2020, 12, 15), date(2020, 12, 31), "1215 1216 1217 1218 1221 1222 1223 1224 1228 1229 1230 1231"),
        (date(2021, 1, 1), date(2021, 1, 14), "0104 0105 0106 0107 0108 0111 0112 0113 0114"),
        (date(2021, 1, 15), date(2021, 1, 31), "0115 0119 0120 0121 0122 0125 0126 0127 0128 0129"),
        (date(2021, 2, 15), date(2021, 2, 28), "0216 0217 0218 0219 0222 0223 0224 0225 0226"),
    ],
)
def test_the_days_of_real_files_of_fails_are_settlement_days(first: date, last: date, days: str) -> None:
    """The days in the SEC's files of these half-months."""
    assert " ".join(f"{day:%m%d}" for day in settlement_days(first, last)) == days


def test_settlement_days_are_numbered_without_holes() -> None:
    days = list(settlement_days(date(2005, 1, 1), date(2007, 12, 31)))
    assert [number_settlement_day(day) for day in days] == list(range(1, len(days) + 1))
    assert settlement_day_after(date(2026, 7, 2)) == date(2026, 7, 6)
    assert settlement_day_before(date(2026, 7, 6)) == date(2026, 7, 2)


def test_a_day_outside_of_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="2004-12-31 is not in the calendar, which has 2005-01-01 to 2035-12-31"):
        is_settlement_day(date(2004, 12, 31))
