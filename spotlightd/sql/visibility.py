"""The pin: which loads a reader at publication `seq` sees, and where their rows are. Text only, so that pages, flows and
clients share it.

A page reads `max(seq)` once and binds it to all its queries. Unpinned, the engine snapshots a dataset's rows and the
`loads` table at different moments, and answers tear: 7 of 7,684 were empty under fast publishing; pinned, 0 of 1,528.

Rows of a partition that was switched to the archive are read from the bucket and not from the table, until and after it
is dropped: which partitions these are is written into each statement, so that one statement sees every row once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from spotlightd.model.dataset import Column, Dataset
from spotlightd.sql.tiers import EVER, Archived, ArchivedPartitions, Overlap, Span, Table


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The one sequence number that all queries of a page, answer, export or citation share.

    `seq` is the newest publication that it sees, `at` when that was published; `asked` is the reader's `as_of`.
    `cold` says where rows are that have left the warehouse: always as it is now, whatever is asked for.
    """

    seq: int
    at: datetime | None = None
    as_of: datetime | None = None
    archived: ArchivedPartitions = field(default_factory=ArchivedPartitions, compare=False)


NOW = Snapshot(0)
SEQ = "{seq:UInt64}"


def table_expression(dataset: Dataset, pin: Snapshot = NOW, span: Span = EVER) -> str:
    """What stands behind FROM: all rows of the dataset's table, hot and archived, or its reading under its name.

    Of the archive only what can hold rows of that span is read. Nothing is archived before what is made of it is there
    and read instead; only as of an earlier time can a reading come to rest on archived rows.
    """
    if not dataset.reading:
        return all_rows(dataset, pin.archived, span)
    reading = dataset.reading
    for name, archived in pin.archived.partitions.items():
        if pin.as_of is None:
            reading = reading.replace(f"`{name}` WHERE ", f"`{name}` WHERE {is_hot(archived)} AND ")
        else:
            reading = reading.replace(f"`{name}`", all_rows(archived[0].dataset, pin.archived, span))
    return f"({reading}) AS {dataset.name}"


def all_rows(dataset: Dataset, cold: ArchivedPartitions, span: Span | Overlap = EVER) -> str:
    """All rows of the dataset's table, hot and archived, under its name; the table itself when nothing is archived."""
    archived = cold.of_dataset(dataset.name)
    if not archived:
        return f"`{dataset.name}`"
    names = ", ".join(column.name for column in dataset.stored)
    text = f"SELECT {names} FROM `{dataset.name}` WHERE {is_hot(archived)}"
    by_columns = dict[tuple[str, ...], list[str]]()
    for one in archived:
        if one.keys and span.may_contain(one):
            by_columns.setdefault(tuple(one.columns), []).extend(one.keys)
    tables = [_select_archived(dataset, held, cold.table, keys) for held, keys in by_columns.items()]
    return f"({' UNION ALL '.join([text, *tables])}) AS {dataset.name}"


def _select_archived(dataset: Dataset, held: Sequence[str], table: Table, keys: Sequence[str]) -> str:
    """The rows of files that hold these columns, all of them. What the dataset has got since is as in rows from before it.

    That a file must hold them is said, because the engine would fill in what it does not find: one bit of a name in the
    footer, and the numbers of a column were all 0.
    """
    there = [column for column in dataset.stored if not held or column.name in held]
    taken = (column.name if column in there else _default(column) for column in dataset.stored)
    structure = ", ".join(f"{column.name} {column.type}" for column in there)
    return f"SELECT {', '.join(taken)} FROM {table(keys, structure)}"


def _default(column: Column) -> str:
    word = column.type.replace("'", "\\'")
    return f"defaultValueOfTypeName('{word}') AS {column.name}"


def hot_rows(dataset: Dataset, cold: ArchivedPartitions) -> str:
    """The rows alone that are read from the dataset's table, under its name: for what is new, without a look at the bucket."""
    archived = cold.of_dataset(dataset.name)
    return (
        f"(SELECT * FROM `{dataset.name}` WHERE {is_hot(archived)}) AS {dataset.name}"
        if archived
        else f"`{dataset.name}`"
    )


def is_hot(archived: Sequence[Archived]) -> str:
    """The condition that a row of a table is read from there: that its partition was not switched to the archive."""
    gone = ", ".join(f"'{one.partition}'" for one in archived)
    return f"_partition_id NOT IN ({gone})"


def visible_condition(dataset: Dataset) -> str:
    """The condition that a row of `source` is visible at `{seq:UInt64}`: published by then, and not superseded by then.

    Always true for datasets that are not read through `loads`, and for a reading, which sees to it itself.
    """
    return published_condition(dataset) if dataset.by_load and not dataset.reading else "1"


def published_condition(dataset: Dataset) -> str:
    """The condition that a load of the dataset is visible at `{seq:UInt64}`: for rows of its table, and of `loads`.

    It holds the dataset's name as a literal (a declared name, never a reader's text), so that one statement can pin
    several datasets with the one parameter.
    """
    return f"load_id IN ({_loads(dataset, '`loads`', f' AND seq <= {SEQ}')})"


def newest_condition(dataset: Dataset, loads: str) -> str:
    """The same condition without a pin, for the view that can tear; `loads` names the table in full."""
    return f"load_id IN ({_loads(dataset, loads, '')})"


def qualify_tables(reading: str, database: str) -> str:
    """A reading with its tables named in full: they are all that stands in back quotes in it."""
    return re.sub(r"`(\w+)`", rf"{database}.\1", reading)


def _loads(dataset: Dataset, loads: str, until: str) -> str:
    of = f"FROM {loads} WHERE dataset = '{dataset.name}'{until}"
    return f"SELECT load_id {of} AND load_id NOT IN (SELECT arrayJoin(supersedes) {of})"
