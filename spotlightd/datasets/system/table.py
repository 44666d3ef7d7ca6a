"""What all system tables share: they are records of this instance, without loads and without a pointer."""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Retention, Rhythm

RECORD_DAYS = 365
ID = Column("id", "UInt64", "number of the record")
SOURCE = Column("source", "LowCardinality(String)", "the source")


def time_column(name: str, meaning: str) -> Column:
    """A column with a time in UTC, to the microsecond."""
    return Column(name, "DateTime64(6, 'UTC')", meaning)


def label_column(name: str, meaning: str) -> Column:
    """A column with few different texts."""
    return Column(name, "LowCardinality(String)", meaning)


def system_table(
    name: str,
    title: str,
    about: str,
    columns: tuple[Column, ...],
    *,
    order: tuple[str, ...],
    key: tuple[str, ...] = (),
    time: str = "at",
    partition: str = "",
    hot_days: int = 0,
    rhythm: str = "as it happens",
) -> Dataset:
    """A table of this instance's own records. Its key is its order unless another one is given."""
    return Dataset(
        name=name,
        title=title,
        publisher="this instance",
        about=about,
        columns=columns,
        key=key or order,
        order=order,
        time=time,
        partition=partition,
        retention=Retention(hot_days=hot_days),
        rhythm=Rhythm(rhythm, stale_days=0),
        by_load=False,
    )
