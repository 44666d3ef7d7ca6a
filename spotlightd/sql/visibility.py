"""Snapshots: which loads a reader sees at publication `seq`, and where their rows are. Text only, for pages and flows.

A page reads `max(seq)` once and binds it to all its queries. Without a snapshot the engine reads a dataset's rows and the
`loads` table at different moments, and answers tear: 7 of 7,684 were empty under fast publishing; with one, 0 of 1,528.

Rows of a partition that was switched to the archive are read from the bucket and not from the table, before and after
the partition is dropped. Each statement lists these partitions, so that one statement reads every row once.

`database` in these functions: the tables are named in full, for statements that run in another database or that give
the dataset's name another meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from spotlightd.model.dataset import Column, Dataset
from spotlightd.sql.tiers import EVER, Archived, ArchivedPartitions, Overlap, Span, Table


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The publication that all queries of a page, answer, export or citation share.

    `seq` is the number of the newest visible publication, `at` its time, `as_of` the time that the reader asked for.
    `archived` has the partitions that left the warehouse. It is always current, whatever `as_of` is. `published` names the
    datasets that have a publication by then; it is only known for a snapshot of all datasets.
    """

    seq: int
    at: datetime | None = None
    as_of: datetime | None = None
    archived: ArchivedPartitions = field(default_factory=ArchivedPartitions, compare=False)
    published: frozenset[str] = field(default=frozenset(), compare=False)


NOW = Snapshot(0)
SEQ = "{seq:UInt64}"
UNTIL = f" AND seq <= {SEQ}"


class _Tables(dict[str, str]):
    """The values of a reading's placeholders: a table without an entry is read as it is."""

    def __init__(self, database: str, **values: str) -> None:
        super().__init__(values)
        self._database = database

    def __missing__(self, name: str) -> str:
        return table_name(name, self._database)


def table_name(name: str, database: str = "") -> str:
    return f"{database}.{name}" if database else f"`{name}`"


def table_expression(dataset: Dataset, snapshot: Snapshot = NOW, span: Span = EVER, *, database: str = "") -> str:
    """The text after FROM for all rows of the dataset, hot and archived, under the dataset's name.

    Of the archive only partitions that can have rows of that span are read.
    """
    if not dataset.reading:
        return all_rows(dataset, snapshot.archived, span, database=database)
    return f"({format_reading(dataset, snapshot, span, database=database)}) AS {dataset.name}"


def format_reading(
    dataset: Dataset, snapshot: Snapshot = NOW, span: Span = EVER, *, seq: str = SEQ, database: str = ""
) -> str:
    """The dataset's reading with its placeholders replaced: `{seq}` by `seq`, each `{table}` by the rows of that table.

    Where rows still come, a partition is archived only after what is computed from it is stored, which is read instead. So a
    reading of now needs only hot rows. Every other reading, also one as of an earlier time, may need archived ones.
    """
    archived = snapshot.archived
    values = {"seq": seq}
    for name, partitions in archived.partitions.items():
        table = partitions[0].dataset
        if snapshot.as_of is None and dataset.is_growing:
            values[name] = hot_rows(table, archived, database=database)
        else:
            values[name] = all_rows(table, archived, span, database=database)
    return dataset.reading.format_map(_Tables(database, **values))


def all_rows(dataset: Dataset, archived: ArchivedPartitions, span: Span | Overlap = EVER, *, database: str = "") -> str:
    """All rows of the dataset's table, hot and archived, under its name; the table itself when nothing is archived."""
    partitions, table = archived.of_dataset(dataset.name), table_name(dataset.name, database)
    if not partitions:
        return table
    names = ", ".join(column.name for column in dataset.stored)
    selects = [f"SELECT {names} FROM {table} WHERE {hot_condition(partitions)}"]
    keys_by_columns = dict[tuple[str, ...], list[str]]()
    for partition in partitions:
        if partition.keys and span.may_contain(partition):
            keys_by_columns.setdefault(tuple(partition.columns), []).extend(partition.keys)
    selects += [_select_archived(dataset, columns, archived.table, keys) for columns, keys in keys_by_columns.items()]
    return f"({' UNION ALL '.join(selects)}) AS {dataset.name}"


def _select_archived(dataset: Dataset, columns: Sequence[str], table: Table, keys: Sequence[str]) -> str:
    """The rows of files that have these columns. Columns that the dataset got later have the default of their type.

    The columns are listed because the engine would fill in a column that it does not find: one flipped bit of a name in
    the footer, and all numbers of a column were 0.
    """
    present = [column for column in dataset.stored if not columns or column.name in columns]
    values = (column.name if column in present else _default(column) for column in dataset.stored)
    structure = ", ".join(f"{column.name} {column.type}" for column in present)
    return f"SELECT {', '.join(values)} FROM {table(keys, structure)}"


def _default(column: Column) -> str:
    type_name = column.type.replace("'", "\\'")
    return f"defaultValueOfTypeName('{type_name}') AS {column.name}"


def hot_rows(dataset: Dataset, archived: ArchivedPartitions, *, database: str = "") -> str:
    """Only the rows that are read from the dataset's table, under its name: for new rows, without reading the bucket."""
    partitions, table = archived.of_dataset(dataset.name), table_name(dataset.name, database)
    if not partitions:
        return table
    return f"(SELECT * FROM {table} WHERE {hot_condition(partitions)}) AS {dataset.name}"


def hot_condition(archived: Sequence[Archived]) -> str:
    """The condition that a row is read from its table: its partition was not switched to the archive."""
    names = ", ".join(f"'{partition.partition}'" for partition in archived)
    return f"_partition_id NOT IN ({names})"


def visible_condition(dataset: Dataset, *, among: str = "", database: str = "") -> str:
    """The condition that a row of `table_expression` is visible at `{seq:UInt64}`: published by then, not superseded.

    Always true for datasets that are not read through `loads`, and for a reading, which has the condition inside.
    `among` is a SELECT of the loads that the rows can be of. Without it the engine makes a set of all publications.
    """
    visible = visible_load_condition(dataset, among=among, database=database)
    return f"{visible} AND {_not_hidden(dataset, database, UNTIL)}" if dataset.repeats_within else visible


def visible_load_condition(dataset: Dataset, *, among: str = "", database: str = "") -> str:
    """The same for rows of `loads`: that the load is visible, whichever of its rows are repeated elsewhere."""
    return (
        published_condition(dataset, among=among, database=database) if dataset.by_load and not dataset.reading else "1"
    )


def published_condition(dataset: Dataset, *, among: str = "", database: str = "") -> str:
    """The condition that a load of the dataset is visible at `{seq:UInt64}`: for rows of its table, and of `loads`.

    The dataset's name is a literal in it (a declared name, never a reader's text), so that one statement can read several
    datasets at the same `seq`.
    """
    return f"load_id IN ({_select_loads(dataset, table_name('loads', database), UNTIL, among)})"


def superseded_loads(dataset: Dataset) -> str:
    """A SELECT of the loads of the dataset that are superseded at `{seq:UInt64}`."""
    return _select_superseded(dataset, table_name("loads"), UNTIL)


def newest_condition(dataset: Dataset, *, database: str = "") -> str:
    """The same condition without a snapshot, for the view, whose answers can tear."""
    visible = f"load_id IN ({_select_loads(dataset, table_name('loads', database), '')})"
    return f"{visible} AND {_not_hidden(dataset, database, '')}" if dataset.repeats_within else visible


def _not_hidden(dataset: Dataset, database: str, until: str) -> str:
    """The condition that no visible load has the same key and goes before."""
    place = ", ".join(["load_id", *(column.name for column in dataset.pointer)])
    visible = _select_loads(dataset, table_name("loads", database), until)
    hidden = f"SELECT {place} FROM {table_name('hidden_rows', database)} WHERE dataset = '{dataset.name}'"
    return f"({place}) NOT IN ({hidden} AND by_load IN ({visible}))"


def _select_loads(dataset: Dataset, loads: str, until: str, among: str = "") -> str:
    among_these = f" AND load_id IN ({among})" if among else ""
    superseded = _select_superseded(dataset, loads, until)
    return f"SELECT load_id FROM {loads} WHERE dataset = '{dataset.name}'{until}{among_these} AND load_id NOT IN ({superseded})"


def _select_superseded(dataset: Dataset, loads: str, until: str) -> str:
    """Few publications supersede another, so the engine reads the lists of those only."""
    return f"SELECT arrayJoin(supersedes) FROM {loads} WHERE dataset = '{dataset.name}'{until} AND notEmpty(supersedes)"
