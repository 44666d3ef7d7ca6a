"""The result of each load of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from spotlightd.errors import FormatError
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import PackedLoad
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream

ImportStatus = Literal["imported", "here", "older", "differs", "refused"]


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """The result of importing one load. `here`: this instance had it already. `older`: this instance shows newer data.
    `differs`: another parser version finds other rows. `refused`: the load was not published.
    """

    source: str
    covers: str
    status: ImportStatus
    rows: int = 0
    detail: str = ""


def make_outcome(
    source: Batch | Stream, packed: PackedLoad, fingerprints: Mapping[str, Fingerprint], status: ImportStatus
) -> ImportOutcome:
    """The outcome of a load that is visible here now: `differs` when its rows are not those of the bundle."""
    rows = sum(fingerprint.rows for fingerprint in fingerprints.values())
    if difference := describe_difference(packed, fingerprints):
        detail = f"read by version {source.parser} here, by {packed.parser} there: {difference}"
        return ImportOutcome(source.name, packed.covers, "differs", rows, detail)
    return ImportOutcome(source.name, packed.covers, status, rows)


def require_same_rows(source: Batch | Stream, packed: PackedLoad, fingerprints: Mapping[str, Fingerprint]) -> None:
    """Raise FormatError when the same parser version found other rows there: one of the two is wrong, and it is unknown
    which.
    """
    difference = describe_difference(packed, fingerprints)
    if difference and packed.parser == source.parser:
        raise FormatError(difference)


def describe_difference(packed: PackedLoad, fingerprints: Mapping[str, Fingerprint]) -> str:
    """The first dataset whose rows differ from the bundle's, in a sentence; empty when all are the same."""
    for name, expected in packed.rows.items():
        if fingerprints[name] != expected:
            return (
                f"this instance finds {fingerprints[name].rows:,} rows of {name} in it, and they are not the"
                f" {expected.rows:,} rows of the bundle"
            )
    return ""
