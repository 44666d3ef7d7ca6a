"""Rows that are computed from rows of the warehouse: a transform stores them load by load, a reading computes them when read."""

from __future__ import annotations

from dataclasses import dataclass

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import Dataset, check_template


@dataclass(frozen=True, slots=True)
class Transform:
    """Computes one load of `dataset` from each closed load of `input`.

    `select` is one SELECT of the dataset's columns and its pointer, over the load `{of:UInt64}` received on the day
    `{day:Date}`. It is a template: `{name}` stands for the rows of `input`, whose name it is; the braces of parameters
    are doubled. `parser` is its version: when it changes, all loads are computed again.
    """

    name: str
    input: Dataset
    dataset: Dataset
    select: str
    parser: str

    def __post_init__(self) -> None:
        check_template(f"transform {self.name}", self.select)

    def format_select(self, table: str) -> str:
        """The SELECT with that text in place of the input dataset."""
        return self.select.format_map({self.input.name: table})

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.dataset,)


@dataclass(frozen=True, slots=True)
class Reading:
    """A dataset whose rows are computed whenever they are read, by its `reading`. Nothing of it is stored.

    Publications of the dataset's `computed_from` are its publications.
    """

    name: str
    dataset: Dataset

    def __post_init__(self) -> None:
        if not (self.dataset.reading and self.dataset.computed_from):
            raise SettingsError(f"reading {self.name}: {self.dataset.name} needs `reading` and `computed_from`")
        if self.dataset.pointer:
            raise SettingsError(
                f"reading {self.name}: declare {self.dataset.name} with pointer=(): it is in no document"
            )

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.dataset,)
