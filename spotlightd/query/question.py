"""A question of a reader to one dataset: filters, order, columns, page, and time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spotlightd.model.dataset import Column, Dataset

_INDEXED_OPERATORS = frozenset({"eq", "in"})


@dataclass(frozen=True, slots=True)
class Condition:
    """`values` are canonical texts: one, two for `between`, any number for `in`; `1` or `0` for `isnull`."""

    column: Column
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to one dataset. `size` 0: not in the address. `after`: the sort values of the last row of the page before.

    `is_safe`: no text of a download begins with a sign that a spreadsheet takes for a formula.
    """

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
    is_safe: bool = False
    as_of: datetime | None = None

    @property
    def selected(self) -> tuple[Column, ...]:
        return self.columns or self.dataset.columns

    @property
    def read(self) -> tuple[Column, ...]:
        """The columns that a page reads: all of a row, and the computed ones that are selected or sorted by."""
        named = [*self.selected, *([self.sort] if self.sort else [])]
        return (*self.dataset.readable, *dict.fromkeys(column for column in named if column.sql))

    @property
    def is_heavy(self) -> bool:
        """Whether its answer may read the whole dataset: facets, another order, or filters that no index answers."""
        first = self.dataset.column(self.dataset.order[0])
        is_indexed = any(
            condition.column == first and condition.operator in _INDEXED_OPERATORS for condition in self.conditions
        )
        has_other_order = self.sort is not None and self.sort != first
        return bool(self.facets) or ((has_other_order or bool(self.conditions)) and not is_indexed)

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
        others = [column for column in columns.values() if column != self.sort and column.kind not in ("list", "map")]
        return (*first, *((column, False) for column in others))
