"""What becomes of the loads of a bundle, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from spotlightd.errors import FormatError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Packed
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream

Came = Literal["imported", "here", "older", "differs", "refused"]


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of one load of a bundle. `here`: it was in this instance already. `older`: what is shown here is newer.
    `differs`: another version of the parser finds other rows. `refused`: it is not published.
    """

    source: str
    covers: str
    came: Came
    rows: int = 0
    says: str = ""


def told(source: Batch | Stream, packed: Packed, found: Mapping[str, Fingerprint], came: Came) -> Brought:
    """What is to be said of rows that are shown here now."""
    rows = sum(one.rows for one in found.values())
    if says := difference(packed, found):
        says = f"read by version {source.parser} here, by {packed.parser} there: {says}"
        return Brought(source.name, packed.covers, "differs", rows, says)
    return Brought(source.name, packed.covers, came, rows)


def hold(source: Batch | Stream, packed: Packed, found: Mapping[str, Fingerprint]) -> None:
    """FormatError for rows that the same version found there otherwise: one of the two is wrong, and nobody knows which."""
    says = difference(packed, found)
    if says and packed.parser == source.parser:
        raise FormatError(says)


def difference(packed: Packed, found: Mapping[str, Fingerprint]) -> str:
    """In which dataset the rows are not those that the bundle says; empty when all are the same."""
    for name, mark in packed.rows.items():
        if found[name] != mark:
            return (
                f"{found[name].rows:,} rows of {name} were found in it here, and they are not the {mark.rows:,} rows that"
                " the bundle says"
            )
    return ""
