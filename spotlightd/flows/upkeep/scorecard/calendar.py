"""Which slices of a source were due, which are missing, and how long after its due day each was published. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from spotlightd.model.source import Batch, Expected, list_wholes

WATCHED_DAYS = 90
LONGEST_DELAY = timedelta(days=30)
USUAL = 20
DAY = timedelta(days=1)
_PERIOD = re.compile(
    r"(?P<year>\d{4})(?:/(?:q(?P<quarter>[1-4])|(?P<month>0[1-9]|1[0-2])(?:/(?P<part>a|\d\d))?))?(?:/|$)"
)
_HALF_MONTH = "14"


@dataclass(frozen=True, slots=True)
class Punctuality:
    """`late` is the newest slice that is due, if it is missing. Delays are in days; None when none is known."""

    late: str
    late_days: int
    delay: float | None
    usual_delay: float | None
    missing: tuple[str, ...]


def list_expected(source: Batch, day: date) -> list[Expected]:
    """The slices that the source's own calendar had due in the last 90 days, the newest first."""
    found = dict[str, Expected]()
    for days in range(WATCHED_DAYS):
        expected = source.expected(day - timedelta(days=days))
        found.setdefault(expected.covers, expected)
    return list(found.values())


def judge(expected: Iterable[Expected], published: Mapping[str, datetime], day: date) -> Punctuality:
    """`published` has the time of the first publication of each slice."""
    due, parts = list(expected), find_first_parts(published)
    first = {slice_.covers: find_published(slice_.covers, published, parts) for slice_ in due}
    missing = tuple(slice_.covers for slice_ in due if first[slice_.covers] is None)
    delays = [_delay(slice_, at) for slice_ in due if (at := first[slice_.covers]) is not None]
    counted = [delay for delay in delays if delay <= LONGEST_DELAY / DAY]
    newest = due[0]
    is_late = first[newest.covers] is None
    return Punctuality(
        newest.covers if is_late else "",
        max((day - newest.due).days, 0) if is_late else 0,
        counted[0] if counted else None,
        median(counted[1 : USUAL + 1]) if counted[1:] else None,
        missing,
    )


def find_published(covers: str, published: Mapping[str, datetime], parts: Mapping[str, datetime]) -> datetime | None:
    """When the slice was first there: itself, in a larger one, or the first of its parts."""
    known = [published[whole] for whole in list_wholes(covers) if whole in published]
    return min([*known, parts[covers]] if covers in parts else known, default=None)


def find_first_parts(published: Mapping[str, datetime]) -> dict[str, datetime]:
    """When the first part of each larger slice was published."""
    first = dict[str, datetime]()
    for covers, at in published.items():
        for whole in list_wholes(covers)[:-1]:
            first[whole] = min(at, first.get(whole, at))
    return first


def is_complete(covers: str, published: datetime, day: date) -> bool:
    """Whether a document has all of its period: it was published after the end, or the end is two days ago. A document of the
    running month or day grows until then, and has fewer rows than those before it.
    """
    end = find_end(covers)
    return end is None or published.date() > end or day > end + DAY


def find_end(covers: str) -> date | None:
    """The last day of the period that a path names: `2021/01/a`, `2021/01/27`, `2021/01`, `2021/q1`, `2021`. None for another."""
    match = _PERIOD.match(covers)
    if match is None:
        return None
    month = int(match["quarter"]) * 3 if match["quarter"] else int(match["month"] or 12)
    month_end = (date(int(match["year"]), month, 28) + 4 * DAY).replace(day=1) - DAY
    part = match["part"]
    return month_end.replace(day=int(_HALF_MONTH if part == "a" else part)) if part else month_end


def _delay(expected: Expected, published: datetime) -> float:
    """Documents that were collected long after they were due are a backfill, and say nothing about the publisher."""
    return (published - datetime.combine(expected.due, time(), UTC)) / DAY
