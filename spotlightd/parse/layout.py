"""How the author of a source describes a delimited document of a publisher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import LINES, Dataset
from spotlightd.parse import lines, values


@dataclass(frozen=True, slots=True)
class Trailer:
    """A line in which the publisher counts: `begins`, then a number.

    The number is the sum of the column `total`, or the number of records if `total` is empty. A line that is only a number
    begins with nothing.
    """

    begins: str
    total: str = ""

    @property
    def title(self) -> str:
        return self.begins or "<number>"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a delimited document looks like.

    take     field of the header → column of the dataset; every column is taken, or is a constant
    drop     fields that are known and not kept
    days     the format of a Date, as for strptime
    nulls    texts that mean "no value" in nullable columns
    loose    the one field that may hold the separator itself: the fields before it are counted from the left, those
             after it from the right
    trailers lines that are checked and never loaded
    strict   a document without its trailers is refused
    constants  column → the text that it has in every row, such as what the document's name says; one of `nulls` for a column
             that this layout does not have
    """

    dataset: Dataset
    separator: str
    take: Mapping[str, str]
    drop: tuple[str, ...] = ()
    encoding: lines.Encoding = "utf-8"
    days: str = "%Y-%m-%d"
    nulls: tuple[str, ...] = ("",)
    loose: str = ""
    trailers: tuple[Trailer, ...] = ()
    strict: bool = True
    constants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.dataset.name
        if sorted([*self.take.values(), *self.constants]) != sorted(column.name for column in self.dataset.columns):
            raise SettingsError(f"layout of {name}: `take` and `constants` must name every column of the dataset once")
        if self.dataset.pointer != LINES:
            raise SettingsError(f"layout of {name}: delimited text points with member and line")
        if self.loose and self.loose not in {*self.take, *self.drop}:
            raise SettingsError(f"layout of {name}: the loose field {self.loose!r} is neither taken nor dropped")
        for column in self.dataset.columns:
            values.convert(pa.array([], pa.string()), column, day_format=self.days, nulls=self.nulls)
