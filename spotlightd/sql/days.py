"""Rows of some days, by the time of their dataset: the condition, its values, and the span for archived partitions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from spotlightd.errors import FormatError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import Period
from spotlightd.sql.fingerprint import time_shape
from spotlightd.sql.tiers import Span

EPOCH_DAY = date(1970, 1, 1).toordinal()

TIME_RANGES = {"date": (date(1970, 1, 1), date(2149, 6, 5)), "time": (date(1900, 1, 1), date(2262, 4, 10))}
"""The first and last day that the engine's types can hold, by kind of column."""


def days_condition(dataset: Dataset) -> str:
    """The condition that a row is of the days of `days_values`."""
    kind = "Date" if _kind(dataset) == "date" else "DateTime64(6, 'UTC')"
    return f"`{dataset.time}` >= {{since:{kind}}} AND `{dataset.time}` < {{until:{kind}}}"


def days_values(dataset: Dataset, first: date, last: date) -> Mapping[str, date | datetime]:
    """The parameters `since` and `until` of `days_condition`, both days included."""
    since, until = _moments(dataset, first, last)
    if _kind(dataset) == "date":
        return {"since": since.date(), "until": until.date()}
    return {"since": since, "until": until}


def days_span(dataset: Dataset, first: date, last: date) -> Span:
    """The span of these days: of the archive only partitions that can have such a row are read."""
    return Span({dataset.time: _moments(dataset, first, last)})


def period_of(dataset: Dataset, mark: Fingerprint) -> Period:
    """The days of the rows that have this fingerprint. FormatError when its numbers cannot be those of rows."""
    shape = time_shape(dataset.column(dataset.time))
    unit = 86_400 * 10**shape.digits if shape.scalar.startswith("DateTime64") else 1
    least, greatest = TIME_RANGES[_kind(dataset)]
    first, last = (EPOCH_DAY + number // unit for number in (mark.low, mark.high))
    if not least.toordinal() <= first <= last <= greatest.toordinal():
        raise FormatError(
            f"rows of {dataset.name} are said to be between {mark.low} and {mark.high}, which are no days"
        )
    return Period(date.fromordinal(first), date.fromordinal(last))


def _kind(dataset: Dataset) -> str:
    return dataset.column(dataset.time).kind


def _moments(dataset: Dataset, first: date, last: date) -> tuple[datetime, datetime]:
    """From the first day until the day after the last."""
    least, greatest = TIME_RANGES[_kind(dataset)]
    since = datetime.combine(max(first, least), time(), UTC)
    return since, datetime.combine(min(last, greatest), time(), UTC) + timedelta(days=1)
