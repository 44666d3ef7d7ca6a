"""When the newest document of a source is unlike those before it. Pure.

It is compared with up to twenty documents of its kind: those whose `covers` differ in digits only, so a facility is compared
with itself, and first halves of a month with first halves. With fewer than five of them nothing is judged.

- A share (of empty values, of values with digits …) changed when it is more than 0.5 away from the usual one, the median, and
  more than 0.25 outside of all that was there before.
- A size (the median of a number) changed when it is more than eight times the usual one, or less than an eighth, and more than
  twice outside of all before. A unit that becomes thousands does that, a turbulent day does not.
- A length (the average of a text) changed when it is more than doubled or halved, and more than 1.5 times outside of all before.
- The number of rows changed when it is less than half of the fewest before, or more than double the most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from spotlightd.flows.upkeep.scorecard.profiles import EMPTY, Feature, Profile, profiled_columns
from spotlightd.model.dataset import Dataset

LEAST_EARLIER, LEAST_ROWS = 5, 20
SHARE_DISTANCE, SHARE_OUTSIDE = 0.5, 0.25
SIZE_FACTOR, SIZE_OUTSIDE = 8.0, 2.0
LENGTH_FACTOR, LENGTH_OUTSIDE = 2.0, 1.5
ROWS_OUTSIDE = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """What is unlike before. `column` is empty for the number of rows."""

    kind: str
    column: str
    sentence: str


def compare_rows(rows: int, earlier: Sequence[int]) -> Change | None:
    """A change of the number of rows."""
    if len(earlier) < LEAST_EARLIER or max(earlier) < LEAST_ROWS:
        return None
    low, high = min(earlier), max(earlier)
    if low / ROWS_OUTSIDE <= rows <= high * ROWS_OUTSIDE:
        return None
    return Change("rows", "", f"{rows:,} rows, where {low:,} to {high:,} are usual")


def compare_columns(dataset: Dataset, newest: Profile, earlier: Sequence[Profile]) -> Iterator[Change]:
    """At most one change of each column."""
    comparable = [profile for profile in earlier if profile.rows >= LEAST_ROWS]
    if newest.rows < LEAST_ROWS or len(comparable) < LEAST_EARLIER:
        return
    for column, features in profiled_columns(dataset):
        for feature in features:
            now = newest.columns[column.name].features[feature.name]
            before = [profile.columns[column.name].features[feature.name] for profile in comparable]
            if has_changed(feature, now, before):
                yield _describe(column.name, feature, now, median(before))
                break


def has_changed(feature: Feature, now: float, before: Sequence[float]) -> bool:
    usual, low, high = median(before), min(before), max(before)
    if feature.measure == "share":
        return abs(now - usual) > SHARE_DISTANCE and not low - SHARE_OUTSIDE <= now <= high + SHARE_OUTSIDE
    factor, outside = (SIZE_FACTOR, SIZE_OUTSIDE) if feature.measure == "size" else (LENGTH_FACTOR, LENGTH_OUTSIDE)
    if not (math.isfinite(now) and math.isfinite(usual)) or min(now, usual) <= 0:
        return False
    return max(now / usual, usual / now) > factor and not low / outside <= now <= high * outside


def _describe(column: str, feature: Feature, now: float, usual: float) -> Change:
    if feature.name == EMPTY:
        kind = "newly empty" if now > usual else "newly filled"
        return Change(kind, column, f"{now:.0%} of the values are empty; usual are {usual:.0%}")
    if feature.measure == "share":
        return Change("share", column, f"{now:.0%} of the values {feature.words}; usual are {usual:.0%}")
    if feature.measure == "size":
        return Change("size", column, f"the median is {now:,.6g}, where it was {usual:,.6g}")
    return Change("length", column, f"texts have {now:.1f} letters on average, where they had {usual:.1f}")
