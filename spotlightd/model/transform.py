"""A transform: rows that are computed from rows of the warehouse, load by load."""

from __future__ import annotations

from dataclasses import dataclass

from spotlightd.model.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Transform:
    """Computes one load of `dataset` from each closed load of `input`.

    `select` is one SELECT of the dataset's columns and its pointer, over the load `{of:UInt64}` received on the day
    `{day:Date}`. `parser` is its version: when it changes, all loads are computed again.
    """

    name: str
    input: Dataset
    dataset: Dataset
    select: str
    parser: str

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.dataset,)
