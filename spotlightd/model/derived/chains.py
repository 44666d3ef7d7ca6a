"""Chains: one row for all messages that point to each other, such as the life of a swap trade.

A message may point to an earlier one. Followed to their end, the pointers of all messages of a trade lead to one identifier:
its *root*. The message with that identifier may not be here yet.

Rows of such datasets are kept by key and not by slice. A publication brings the new row of each changed key, and withdraws
the former one by a copy of it with `change` -1. So at any publication the rows that count are those whose changes add up to
more than 0, any condition selects a row and its withdrawal alike, and sums over the stored rows are right when each is
multiplied by `change`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import NAME, Column, Dataset
from spotlightd.model.derivation import Derivation, check_origins

CHANGE = Column("change", "Int8", "1 from its publication on the row counts; -1 it does not count any more")
PUBLISHED = """load_id IN (SELECT load_id FROM {{loads}} WHERE dataset = '{name}' AND seq <= {{seq}}
    AND load_id NOT IN (SELECT arrayJoin(supersedes) FROM {{loads}} WHERE dataset = '{name}' AND seq <= {{seq}} AND notEmpty(supersedes)))"""


def read_changes(name: str, columns: tuple[Column, ...]) -> str:
    """The reading of a dataset whose rows are changes. All columns are grouped by, so that a condition on any of them is
    applied to the stored rows.
    """
    names = ", ".join(column.name for column in columns)
    return (
        f"SELECT {names} FROM {{{name}}} WHERE {PUBLISHED.format(name=name)} GROUP BY {names} HAVING sum(change) > 0"
        " SETTINGS optimize_aggregation_in_order = 1"
    )


@dataclass(frozen=True, slots=True)
class Chains(Derivation):
    """Computes `dataset`, one row for each chain of messages of the one input.

    scope    the columns within which identifiers are unique; with `root_id` they are the key of `dataset`
    at       when a message counts, as an expression; messages of the same time are in the order of their identifiers
    first    columns that the first message gives, by name: expressions over a message
    now      columns that the message in force gives
    roots    the dataset that says which chain a message belongs to, by message; `steps` is the same by chain
    """

    slices: str = ""
    select: str = ""
    scope: tuple[str, ...] = ()
    at: str = ""
    first: Mapping[str, str] = field(default_factory=dict)
    now: Mapping[str, str] = field(default_factory=dict)
    roots: Dataset = field(kw_only=True)
    steps: Dataset = field(kw_only=True)

    def __post_init__(self) -> None:
        owner = f"derivation {self.name}"
        if not NAME.match(self.name):
            raise SettingsError(f"derivation name {self.name!r}: use lower case letters, digits and _")
        if len(self.inputs) != 1:
            raise SettingsError(f"{owner}: chains are of the messages of one dataset")
        check_origins(owner, self.origins, self.dataset)

    @property
    def messages(self) -> Dataset:
        return self.inputs[0]

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.dataset, self.roots, self.steps)

    @property
    def unit(self) -> str:
        return "message"
