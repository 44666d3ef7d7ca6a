"""Where rows come from: documents, pointers into them, the loads that brought them, and rejected lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from spotlightd.settings.sources import ParserSettings

LoadState = Literal["loading", "loaded", "publishing", "published", "dead", "swept"]
Outcome = Literal[
    "published",
    "unchanged",
    "covered",
    "refused",
    "absent",
    "archived",
    "failed",
    "wrong body",
    "store failed",
    "discovered",
]


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes that a publisher served, identified by their SHA-256.

    `url` is the publisher's address, `via` the mirror that really answered (empty when there was none).
    `fetched_at` is aware UTC. `etag` and `last_modified` are the publisher's headers, for the next conditional request.
    """

    digest: str
    size: int
    source: str
    url: str
    covers: str
    fetched_at: datetime
    via: str = ""
    etag: str = ""
    last_modified: str = ""
    media_type: str = ""

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Body:
    """A document's bytes for a parser: a local file that must not be changed, and the publisher's name of the document.

    `limits` bound the unpacked size of an archive.
    """

    path: Path
    name: str
    limits: ParserSettings = ParserSettings()


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is not loaded. `text` is the line, cut at 2,000 characters.

    `of_other_slice`: it was read well, and is loaded from the document that reports its day.
    """

    member: int
    line: int
    text: str
    reason: str
    of_other_slice: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """One attempt to load one document with one parser version. `rows` counts per dataset, once loaded.

    `seq` and `supersedes` are set when its publication is intended; `published_at` is in the warehouse's row.
    `derived_from` is the load that it was computed from, for rows that are in no document or frame. A stream's load is
    published empty and filled afterwards; `closed` means that no more rows will come. `superseded_by` is the published
    load that took its place, 0 while there is none.
    """

    load_id: int
    source: str
    digest: str
    parser: str
    covers: str
    state: LoadState
    datasets: tuple[str, ...]
    rows: Mapping[str, int] = field(default_factory=dict)
    rejects: int = 0
    seq: int = 0
    supersedes: tuple[int, ...] = ()
    published_at: datetime | None = None
    derived_from: int = 0
    closed: bool = False
    superseded_by: int = 0

    @property
    def has_rows(self) -> bool:
        return any(self.rows.values())


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of one attempt: one row in `runs` for every fetch and load, successful or not."""

    at: datetime
    source: str
    url: str
    covers: str
    outcome: Outcome
    digest: str = ""
    load_id: int = 0
    rows: int = 0
    rejects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str = ""
