"""A transform: rows made of rows that are here already, load by load."""

from __future__ import annotations

from dataclasses import dataclass

from spotlightd.model.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Transform:
    """What is made of each load of `of` once the load is closed.

    `select` is one SELECT of the dataset's columns and its pointer, over the load `{of:UInt64}` received on the day
    `{day:Date}`. `parser` is its version: with another, all loads are made anew.
    """

    name: str
    of: Dataset
    dataset: Dataset
    select: str
    parser: str

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.dataset,)
