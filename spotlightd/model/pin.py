"""The pin: which loads a reader at publication `seq` sees. Text only, so that pages, flows and clients share it.

A page reads `max(seq)` once and binds it to all its queries. Unpinned, the engine snapshots a dataset's rows and the
`loads` table at different moments, and answers tear: 7 of 7,684 were empty under fast publishing; pinned, 0 of 1,528.
"""

from __future__ import annotations

import re

from spotlightd.model.dataset import Dataset

SEQ = "{seq:UInt64}"


def source(dataset: Dataset) -> str:
    """What stands behind FROM: the dataset's table, or its reading under the dataset's name."""
    return f"({dataset.reading}) AS `{dataset.name}`" if dataset.reading else f"`{dataset.name}`"


def visible(dataset: Dataset) -> str:
    """The condition that a row of `source` is visible at `{seq:UInt64}`: published by then, and not superseded by then.

    Always true for datasets that are not read through `loads`, and for a reading, which sees to it itself.
    """
    return published(dataset) if dataset.by_load and not dataset.reading else "1"


def published(dataset: Dataset) -> str:
    """The condition that a load of the dataset is visible at `{seq:UInt64}`: for rows of its table, and of `loads`.

    It holds the dataset's name as a literal (a declared name, never a reader's text), so that one statement can pin
    several datasets with the one parameter.
    """
    return f"load_id IN ({_loads(dataset, '`loads`', f' AND seq <= {SEQ}')})"


def newest(dataset: Dataset, loads: str) -> str:
    """The same condition without a pin, for the view that can tear; `loads` names the table in full."""
    return f"load_id IN ({_loads(dataset, loads, '')})"


def qualified(reading: str, database: str) -> str:
    """A reading with its tables named in full: they are all that stands in back quotes in it."""
    return re.sub(r"`(\w+)`", rf"{database}.\1", reading)


def _loads(dataset: Dataset, loads: str, until: str) -> str:
    of = f"FROM {loads} WHERE dataset = '{dataset.name}'{until}"
    return f"SELECT load_id {of} AND load_id NOT IN (SELECT arrayJoin(supersedes) {of})"
