"""A question of a reader to one dataset: filters, order, columns, page, and time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spotlightd.model.dataset import Column, Dataset


@dataclass(frozen=True, slots=True)
class Condition:
    """`values` are canonical texts: one, two for `between`, any number for `in`; `1` or `0` for `isnull`."""

    column: Column
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to one dataset. `size` 0: not in the address. `after`: the sort values of the last row of the page before."""

    dataset: Dataset
    conditions: tuple[Condition, ...] = ()
    document: str = ""
    sort: Column | None = None
    descending: bool = False
    size: int = 0
    after: tuple[str | None, ...] = ()
    columns: tuple[Column, ...] = ()
    facets: tuple[Column, ...] = ()
    receipt: bool = False
    as_of: datetime | None = None

    @property
    def selected(self) -> tuple[Column, ...]:
        return self.columns or self.dataset.columns

    @property
    def order(self) -> tuple[tuple[Column, bool], ...]:
        """Columns and directions of a total order: the requested one, the order on disk, the place of the row."""
        dataset = self.dataset
        if dataset.has_receipts:
            place = [*dataset.pointer, dataset.column("load_id")]
        else:
            place = [dataset.column(name) for name in dataset.key]
        columns = {column.name: column for column in (*map(dataset.column, dataset.order), *place)}
        first = [(self.sort, self.descending)] if self.sort else []
        others = [column for column in columns.values() if column != self.sort and column.kind != "list"]
        return (*first, *((column, False) for column in others))
