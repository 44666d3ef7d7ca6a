"""A transform: rows that are computed from rows of the warehouse, load by load."""

from __future__ import annotations

from dataclasses import dataclass

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
