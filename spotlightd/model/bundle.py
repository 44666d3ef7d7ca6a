"""A bundle: one file with rows of a dataset and the documents or frames that they come from, for another instance.

This module has the types of its manifest and the names of its members. docs/bundles.md describes the format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from spotlightd.model.archive import Fingerprint
from spotlightd.model.dataset import LOAD, Column, Dataset
from spotlightd.model.provenance import Document
from spotlightd.model.stream import PLACE

VERSION = 1
MANIFEST = "manifest.json"
MEMBER = re.compile(
    r"manifest\.json|documents/[0-9a-f]{64}|frames/[0-9a-f]{64}/[0-9]{6}|rows/[a-z][a-z0-9_]{0,59}/[0-9a-f]{64}/[a-z][a-z0-9_]{0,59}\.parquet",
    re.ASCII,
)
MOST_MANIFEST_BYTES = 16 << 20
MOST_MEMBER_BYTES = (8 << 30) - 1  # the largest size that the header of a member can hold
MOST_MEMBERS = 100_000

Columns = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a bundle."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one part of a received day, in these members in order. `mark` is their fingerprint."""

    day: date
    part: int
    mark: Fingerprint
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackedLoad:
    """One load: its document or frames, and the fingerprint of its rows in each dataset, without the columns that differ
    between instances. `digest` represents the document in citations.
    """

    source: str
    covers: str
    digest: str
    parser: str
    rows: Mapping[str, Fingerprint]
    document: Document | None = None
    frames: Frames | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """The names of its files, documents and frames first."""
        origin = self.frames.members if self.frames else (document_name(self.digest),)
        return (*origin, *(rows_name(self.source, self.digest, name) for name in self.rows))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a bundle. `first` and `last` are the requested days; `columns` has name and type by dataset."""

    release: str
    created_at: datetime
    dataset: str
    first: date
    last: date
    columns: Mapping[str, Columns]
    loads: tuple[PackedLoad, ...]
    members: tuple[Member, ...] = field(default=())


def document_name(digest: str) -> str:
    return f"documents/{digest}"


def frames_name(digest: str, number: int) -> str:
    return f"frames/{digest}/{number:06}"


def rows_name(source: str, digest: str, dataset: str) -> str:
    return f"rows/{source}/{digest}/{dataset}.parquet"


DECODED = "ingested"  # for streams: when this instance decoded the row


def portable_columns(dataset: Dataset) -> tuple[Column, ...]:
    """The columns that are equal at every instance, in the order of the table."""
    local = {LOAD.name, DECODED} if dataset.pointer == PLACE else {LOAD.name}
    return tuple(column for column in dataset.stored if column.name not in local)
