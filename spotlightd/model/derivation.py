"""A derivation: rows that are computed from the visible rows of other datasets, slice by slice.

An author writes two SELECTs and no code that runs:

    per_day = Derivation(
        name="fails_by_day", inputs=(fails,), dataset=fails_by_day, version="1",
        slices="SELECT toString(day) AS slice FROM {fails}",
        select="SELECT toString(day) AS slice, day, sum(quantity) AS quantity FROM {fails}"
        " WHERE day IN (SELECT toDate(arrayJoin({{slices:Array(String)}}))) GROUP BY day",
        origins=(RowsOf(fails, "day = {day:Date}"),),
    )

`flows/derive/` does the rest. Whatever was published of the inputs since the last round gives the touched slices. Each is
computed again at one publication, as a load that covers the slice and replaces the former load of it. So a derived row is
read like any other: at a snapshot, `as_of` a time, with its earlier versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import NAME, Dataset, check_template

PARAMETER = re.compile(r"\{(\w+):[^{}]+\}")


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows of an input that a derived row was computed from: its receipt.

    `where` is a condition on the rows of `dataset`, in which `{column:Type}` is the value of that column of the derived
    row: `message_id IN {messages:Array(String)}`. `{seq:UInt64}` is the publication at which the row is read. Conditions on the
    columns that the dataset is sorted by are fast.
    """

    dataset: Dataset
    where: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """The columns of the derived row that the condition names."""
        return tuple(name for name in dict.fromkeys(PARAMETER.findall(self.where)) if name != "seq")


@dataclass(frozen=True, slots=True)
class Derivation:
    """Computes the rows of `dataset` from `inputs`, slice by slice.

    name       what its loads are called; usually the name of the dataset
    inputs     the datasets that the SELECTs read, of documents or derived; not those of streams, which grow without publications
    version    version of the SELECTs; when it changes, all slices are computed again
    slices     a SELECT of one column of text: the slices that rows belong to, in any order, as often as it likes. `{name}`
               is an input's rows that were published since the last round, and those that such publications replaced
    select     a SELECT of the column `slice` and of the dataset's columns, for the slices `{{slices:Array(String)}}`. It
               gives no row of another slice. `{name}` is the rows of an input that are visible. A slice without rows has
               none from then on
    origins  what leads from a derived row to the rows that it was computed from
    at_once    how many slices are computed by one statement, for those whose rows need much memory

    Both SELECTs are templates: the braces of parameters are doubled. A slice is a path of lower-case words from coarse to
    fine, such as `2026-11-27` or `nyse/gme`; no slice is a part of another. Slices are computed in falling order, so that
    the newest days are there first.
    """

    name: str
    inputs: tuple[Dataset, ...]
    dataset: Dataset
    version: str
    slices: str
    select: str
    origins: tuple[RowsOf, ...] = ()
    at_once: int = 400

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"derivation name {self.name!r}: use lower case letters, digits and _")
        check_template(f"derivation {self.name}", self.slices)
        check_template(f"derivation {self.name}", self.select)
        check_inputs(f"derivation {self.name}", self.inputs, self.dataset)
        check_origins(f"derivation {self.name}", self.origins, self.dataset)
        if self.at_once < 1:
            raise SettingsError(f"derivation {self.name}: at_once must be at least 1")

    @property
    def parser(self) -> str:
        """The version, by the name that it has in loads."""
        return self.version

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.dataset,)

    @property
    def unit(self) -> str:
        """What a round computes, for people."""
        return "slice"


def check_inputs(owner: str, inputs: tuple[Dataset, ...], dataset: Dataset) -> None:
    """SettingsError for a dataset that cannot be derived from these."""
    if not inputs:
        raise SettingsError(f"{owner}: it needs at least one input")
    if growing := [source.name for source in inputs if source.is_growing]:
        raise SettingsError(f"{owner}: {growing[0]} grows without publications; a Transform computes from it")
    if dataset.name in {source.name for source in inputs}:
        raise SettingsError(f"{owner}: {dataset.name} cannot be computed from itself")
    if dataset.pointer or not dataset.by_load:
        raise SettingsError(f"{owner}: declare {dataset.name} with pointer=(), because its rows are in no document")


def check_origins(owner: str, origins: tuple[RowsOf, ...], dataset: Dataset) -> None:
    """SettingsError when a condition names a column that the derived row has not."""
    known = {column.name for column in dataset.columns}
    for rows in origins:
        if unknown := [name for name in rows.parameters if name not in known]:
            raise SettingsError(f"{owner}: {{{unknown[0]}}} in origins is no column of {dataset.name}")
