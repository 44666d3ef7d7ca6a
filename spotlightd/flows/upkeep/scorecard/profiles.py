"""What the columns of a load look like, in a few shares and sizes, and some of their values. SQL text and values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spotlightd.model.dataset import Column, Dataset
from spotlightd.sql.tiers import ArchivedPartitions
from spotlightd.sql.visibility import all_rows

MOST_ROWS = 20_000
"""Rows of a load that are looked at, the first ones on disk: of every load the same part."""

SAMPLE = 8
LONGEST_VALUE = 120
Measure = Literal["share", "size", "length"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One number about a column. `sql` is computed of the column's expression `{c}`; `words` say what a share is a share of."""

    name: str
    measure: Measure
    sql: str
    words: str = ""


EMPTY = "empty"
NUMBERS = (
    Feature("negative", "share", "avg(toFloat64({c}) < 0)", "are below 0"),
    Feature("zero", "share", "avg(toFloat64({c}) = 0)", "are 0"),
    Feature("fraction", "share", "avg(toFloat64({c}) != round(toFloat64({c})))", "have a fraction"),
    Feature("size", "size", "quantileIf(0.5)(abs(toFloat64({c})), toFloat64({c}) != 0)"),
)
TEXTS = (
    Feature("digits", "share", "avg(match({c}, '[0-9]'))", "have digits"),
    Feature("small", "share", "avg(match({c}, '[a-z]'))", "have small letters"),
    Feature("signs", "share", "avg(match({c}, '[^0-9A-Za-z ]'))", "have signs"),
    Feature("length", "length", "avg(lengthUTF8({c}))"),
)
KINDS: Mapping[str, tuple[Feature, ...]] = {
    "integer": NUMBERS, "decimal": NUMBERS, "float": NUMBERS, "text": TEXTS, "date": (), "time": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """`features` by name; `sample` has values chosen by chance."""

    features: Mapping[str, float]
    sample: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The columns of a load that can be compared."""

    rows: int
    columns: Mapping[str, ColumnProfile]


def features_of(column: Column) -> tuple[Feature, ...] | None:
    """What is measured of a column; None for lists, maps and truth values, which are not compared."""
    known = KINDS.get(column.kind)
    if known is None:
        return None
    empty = "isNull({c})" if column.is_nullable else "{c} = ''" if column.kind == "text" else "0"
    return (Feature(EMPTY, "share", f"avg({empty})", "are empty"), *known)


def profiled_columns(dataset: Dataset) -> list[tuple[Column, tuple[Feature, ...]]]:
    """The columns that are compared; not the day of the rows, which is another one in every document."""
    found = [(column, features_of(column)) for column in dataset.columns if column.name != dataset.time]
    return [(column, features) for column, features in found if features is not None]


def select_profiles(dataset: Dataset, archived: ArchivedPartitions) -> str:
    """One row for each load of `{loads:Array(UInt64)}`: the load, its rows that were looked at, then for each column its
    features and a sample.
    """
    items = []
    for column, features in profiled_columns(dataset):
        name = f"toString(`{column.name}`)" if column.type.startswith("FixedString") else f"`{column.name}`"
        numbers = ", ".join(f"ifNull(toFloat64({feature.sql.format(c=name)}), 0)" for feature in features)
        items.append(
            f"[{numbers}], groupArraySample({SAMPLE}, 1)(substring(ifNull(toString({name}), ''), 1, {LONGEST_VALUE}))"
        )
    names = ", ".join(f"`{column.name}`" for column, _ in profiled_columns(dataset))
    rows = (
        f"SELECT load_id, {names} FROM {all_rows(dataset, archived)} WHERE load_id IN {{loads:Array(UInt64)}} "
        f"LIMIT {MOST_ROWS} BY load_id"
    )
    return f"SELECT load_id, count(), {', '.join(items)} FROM ({rows}) GROUP BY load_id"


def read_profiles(dataset: Dataset, rows: Iterable[Sequence[Any]]) -> dict[int, Profile]:
    """From the answer to `select_profiles`."""
    columns = profiled_columns(dataset)
    profiles = dict[int, Profile]()
    for load_id, count, *values in rows:
        pairs = zip(columns, values[::2], values[1::2], strict=True)
        profiles[load_id] = Profile(
            count,
            {
                column.name: ColumnProfile(
                    {feature.name: number for feature, number in zip(features, numbers, strict=True)}, tuple(sample)
                )
                for (column, features), numbers, sample in pairs
            },
        )
    return profiles
