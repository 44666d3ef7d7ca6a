"""The rows that a derivation reads: the visible ones of an input, and those that changed since it last looked. Text only.

`{since:UInt64}` and `{seq:UInt64}` are publications: what it has looked at before, and its snapshot now.
"""

from __future__ import annotations

from spotlightd.model.dataset import Dataset
from spotlightd.sql.tiers import ArchivedPartitions
from spotlightd.sql.visibility import SEQ, Snapshot, all_rows, hot_rows, table_expression, visible_condition

SINCE = "{since:UInt64}"


def visible_rows(dataset: Dataset, snapshot: Snapshot) -> str:
    """The text after FROM for the dataset's visible rows, hot and archived, under its name."""
    rows = table_expression(dataset, snapshot)
    return rows if dataset.reading or not dataset.by_load else _select(dataset, rows, visible_condition(dataset))


def changed_rows(dataset: Dataset, archived: ArchivedPartitions, *, only_hot: bool = False) -> str:
    """The text after FROM for the rows that publications since then brought or replaced, under the dataset's name. Of a
    dataset whose rows are computed these are the stored rows that they are computed from. `only_hot`: none is archived.
    """
    rows = hot_rows(dataset, archived) if only_hot else all_rows(dataset, archived)
    return _select(dataset, rows, f"load_id IN ({changed_loads(dataset)})") if dataset.by_load else rows


def changed_loads(dataset: Dataset) -> str:
    """A SELECT of the loads of the dataset that were published since then, of those that they replaced, and of those that have
    rows which they hide, or hid.
    """
    changed = f"SELECT arrayJoin(arrayPushBack(supersedes, load_id)) FROM loads WHERE {newer_publications(dataset)}"
    if not dataset.repeats_within:
        return changed
    hidden = f"SELECT load_id FROM hidden_rows WHERE dataset = '{dataset.name}' AND by_load IN ({changed})"
    return f"{changed} UNION ALL {hidden}"


def newer_publications(*datasets: Dataset) -> str:
    """The condition on `loads` of publications of these datasets since then."""
    names = ", ".join(f"'{dataset.name}'" for dataset in datasets)
    return f"dataset IN ({names}) AND seq > {SINCE} AND seq <= {SEQ}"


def _select(dataset: Dataset, rows: str, condition: str) -> str:
    names = ", ".join(column.select_item for column in (*dataset.stored, *dataset.derived))
    return f"(SELECT {names} FROM {rows} WHERE {condition}) AS {dataset.name}"
