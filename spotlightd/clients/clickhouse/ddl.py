"""SQL that creates the table of a `Dataset`, and a view for people who write their own SQL. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spotlightd.model.bucket import quote
from spotlightd.model.dataset import GENERATION, Column, Dataset
from spotlightd.sql.tiers import ArchivedPartitions
from spotlightd.sql.visibility import Snapshot, all_rows, format_reading, newest_condition

FIRST_YEAR = 1000  # smaller numbers of partitions are decades
NO_ARCHIVE = ArchivedPartitions()
SETTINGS = "non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1"
"""The window makes the engine ignore a repeated insert with the same token. With fsync an acknowledged row survives a
power cut: a one-row insert takes 4.1 ms instead of 1.6, two million rows 0.12 s instead of 0.11.
"""
BY_LOAD = "INDEX by_load load_id TYPE minmax GRANULARITY 1"
"""Finds the rows of new loads without reading the column of all others: numbers of loads only grow. A table of an earlier
release has no such index, and is read in whole instead.
"""


def create_table(dataset: Dataset, database: str, name: str = "") -> str:
    """CREATE TABLE with all stored columns, sorted by the columns that people search; under `name` if one is given."""
    clauses = [*map(column_clause, dataset.stored), *map(derived_clause, dataset.derived)]
    if dataset.split_by:
        clauses.append(generation_clause(dataset, {}))
    if dataset.by_load:
        clauses.append(BY_LOAD)
    columns = ",\n".join(f"    {clause}" for clause in clauses)
    partition = f"PARTITION BY ({partition_key(dataset)})\n" if dataset.partition else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {database}.{name or dataset.name}\n(\n{columns}\n)\n"
        f"ENGINE = MergeTree\n{partition}ORDER BY ({', '.join(dataset.order)})\n"
        f"SETTINGS {SETTINGS}\nCOMMENT {quote(dataset.title)}"
    )


def partition_key(dataset: Dataset) -> str:
    """The partition key of the table. With the generation in it, rows that come after a seal get a partition of their own."""
    return f"{dataset.partition}, {GENERATION}" if dataset.split_by else dataset.partition


def by_year(dataset: Dataset) -> Dataset:
    """The dataset as an earlier release declared it: by year where it is by decade now. A table by year keeps its years,
    because each of them may be in the archive, or on its way there.
    """
    return replace(dataset, partition=f"toYear({dataset.split_by})") if dataset.is_by_decade else dataset


def has_years(dataset: Dataset, archived: ArchivedPartitions) -> bool:
    """Whether a year of a dataset by decade was archived: then its table is by year, also when it is created again."""
    numbers = (int(partition.partition.partition("-")[0]) for partition in archived.of_dataset(dataset.name))
    return dataset.is_by_decade and any(number >= FIRST_YEAR for number in numbers)


def generation_clause(dataset: Dataset, sealed: Mapping[int, int]) -> str:
    """The column `archive_generation`. Its default is how often the row's partition was sealed; `sealed`: by number, which
    tells the years of a table by year from decades.
    """
    default = "0"
    if sealed:
        numbered = by_year(dataset) if min(sealed) >= FIRST_YEAR else dataset
        default = f"transform({numbered.partition}, {list(sealed)}, {list(sealed.values())}, 0)"
    return f"{GENERATION} UInt16 DEFAULT {default} COMMENT 'how often rows of this partition were sealed before'"


def alter_generation(dataset: Dataset, sealed: Mapping[int, int], database: str) -> str:
    """ALTER TABLE that gives the next generation to rows that are inserted into sealed partitions from now on.

    The change is durable when it is acknowledged. Inserts that began before keep the old default.
    """
    return f"ALTER TABLE {database}.{dataset.name} MODIFY COLUMN {generation_clause(dataset, sealed)}"


def add_column(dataset: Dataset, database: str, column: Column) -> str:
    """ALTER TABLE for a column that the table does not have yet. Older rows have the type's default in a stored column;
    one that is computed has its value for them too.
    """
    clause = derived_clause(column) if column.sql else column_clause(column)
    return f"ALTER TABLE {database}.{dataset.name} ADD COLUMN IF NOT EXISTS {clause}"


def alter_codecs(dataset: Dataset, database: str, columns: Sequence[Column]) -> str:
    """ALTER TABLE for columns that are compressed otherwise. It rewrites nothing: rows get the codec when they are inserted
    or when their part is merged, and rows of both codecs are read alike.
    """
    changes = (f"MODIFY COLUMN {column.name} CODEC({column.compression})" for column in columns)
    return f"ALTER TABLE {database}.{dataset.name} {', '.join(changes)}"


def create_view(dataset: Dataset, database: str, archived: ArchivedPartitions = NO_ARCHIVE) -> str:
    """The view for people who write SQL; empty for a table that is never archived, because the table has all rows."""
    if dataset.by_load:
        return create_current_view(dataset, database, archived)
    return create_full_view(dataset, database, archived) if dataset.split_by else ""


def create_full_view(dataset: Dataset, database: str, archived: ArchivedPartitions = NO_ARCHIVE) -> str:
    """The view `<dataset>_all` of spotlightd's own records: those in the table and those in the archive."""
    names = _select_list(dataset)
    comment = f"{dataset.title}: all rows, those in the table and those in the archive. Filter by time: each file is looked at."
    return (
        f"CREATE OR REPLACE VIEW {database}.{dataset.name}_all AS\n"
        f"SELECT {names}\nFROM {all_rows(dataset, archived, database=database)}\n"
        f"COMMENT {quote(comment)}"
    )


def create_current_view(dataset: Dataset, database: str, archived: ArchivedPartitions = NO_ARCHIVE) -> str:
    """The view `<dataset>_current`: the rows visible now, without a snapshot. Two reads of it can differ or tear."""
    names = _select_list(dataset)
    if dataset.reading:
        newest = f"(SELECT max(seq) FROM {database}.loads)"
        rows = f"({format_reading(dataset, Snapshot(0, archived=archived), seq=newest, database=database)})"
    else:
        rows = f"{all_rows(dataset, archived, database=database)}\nWHERE {newest_condition(dataset, database=database)}"
    comment = (
        f"{dataset.title}: rows visible now. For a quick look only: while something is being published an answer can "
        "miss or mix loads, and two queries need not agree. The pages pin one publication instead."
    )
    return (
        f"CREATE OR REPLACE VIEW {database}.{dataset.name}_current AS\n"
        f"SELECT {names}\nFROM {rows}\n"
        f"COMMENT {quote(comment)}"
    )


def _select_list(dataset: Dataset) -> str:
    """All columns of the view: what a row has when it is read, and what is computed from it."""
    return ", ".join([column.name for column in dataset.readable] + [column.select_item for column in dataset.derived])


def column_clause(column: Column) -> str:
    """`name Type CODEC(…) COMMENT '…'`; the comment is the meaning and the unit."""
    meaning = f"{column.meaning} ({column.unit})" if column.unit else column.meaning
    return f"{column.name} {column.type} CODEC({column.compression}) COMMENT {quote(meaning)}"


def derived_clause(column: Column) -> str:
    """`name Type ALIAS … COMMENT '…'`."""
    return f"{column.name} {column.type} ALIAS {column.sql} COMMENT {quote(column.meaning)}"
