"""A bundle: one file with rows of a dataset and the very bytes that they lead back to, for another instance to import.

The words of its manifest and the names of its members. The format is described in docs/bundles.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

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
MOST_MEMBER_BYTES = (8 << 30) - 1  # what the head of a member can say
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
    """The frames of one part of a received day, in these members, one after the other. `mark` is their fingerprint."""

    day: date
    part: int
    mark: Fingerprint
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """One load: what it was made of, a document or frames, and the fingerprint of its rows in each dataset, without
    what is local to an instance. `digest` is what stands for the document in citations.
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
        """The files of it, documents and frames first."""
        origin = self.frames.members if self.frames else (document_name(self.digest),)
        return (*origin, *(rows_name(self.source, self.digest, name) for name in self.rows))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle holds. `first` and `last` are the days that were asked for; `columns` by dataset, name and type."""

    release: str
    made_at: datetime
    dataset: str
    first: date
    last: date
    columns: Mapping[str, Columns]
    loads: tuple[Packed, ...]
    members: tuple[Member, ...] = field(default=())


class Pen(Protocol):
    """Writes the members of a bundle, one after the other."""

    async def add(self, name: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """A member of so many bytes. StoreError when `chunks` has another number of them, or the disk refuses."""


class Opened(Protocol):
    """A bundle that was looked through: its members are those of its manifest, byte for byte."""

    @property
    def manifest(self) -> Manifest: ...

    def read(self, name: str) -> AsyncIterator[bytes]:
        """A member's bytes in pieces. FormatError at the end if they are others than when it was looked through."""


def document_name(digest: str) -> str:
    return f"documents/{digest}"


def frames_name(digest: str, number: int) -> str:
    return f"frames/{digest}/{number:06}"


def rows_name(source: str, digest: str, dataset: str) -> str:
    return f"rows/{source}/{digest}/{dataset}.parquet"


DECODED = "ingested"  # of streams: when a row was decoded here


def compared(dataset: Dataset) -> tuple[Column, ...]:
    """The columns that are the same at every instance, in the order of the table."""
    local = {LOAD.name, DECODED} if dataset.pointer == PLACE else {LOAD.name}
    return tuple(one for one in dataset.stored if one.name not in local)
