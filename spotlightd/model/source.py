"""A source: what a publisher has, when, and how to read one document of it. It opens no socket and knows no store."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import NAME, Dataset
from spotlightd.model.provenance import Body, Reject

COVERS = re.compile(r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$")


@dataclass(frozen=True, slots=True)
class Link:
    """A document known to exist.

    `covers` names the slice of the world that it reports, as a path from coarse to fine: `2021/01/b`. A document
    replaces those that cover the same slice or a part of it. `first` and `last` are the days it reports.
    """

    url: str
    covers: str
    first: date
    last: date

    def __post_init__(self) -> None:
        if not COVERS.match(self.covers):
            raise SettingsError(f"link {self.url}: covers {self.covers!r} is not a path of lower-case words")


@dataclass(frozen=True, slots=True)
class Expected:
    """The newest slice that should be out by some day, and the day from which it counts as late."""

    covers: str
    due: date


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one dataset, as a pyarrow.RecordBatch of the dataset's columns and its pointer (never `load_id`)."""

    dataset: Dataset
    columns: Any


class Pages(Protocol):
    """What `discover` is given: the publisher's pages, politely fetched."""

    async def page(self, url: str) -> str:
        """The text of a page of one of the source's hosts, at most 4 MB. PublisherError when it cannot be had."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A source that publishes documents.

    discover(pages)  yields a Link for all that exists now; what is new is decided by the ledger, not here
    parse(body)      pure: yields Rows and Rejects, raises FormatError
    reread(text)     pure: one line alone as a row's values, by other code than `parse`: what an audit compares with
    parser           version of `parse`; raise it when the same bytes give other rows, and documents are loaded anew
    hosts            the only hosts that are asked, redirects included
    begins_with      first bytes of a real document (b"PK" for a zip): other bodies are not documents
    cron             when to look, UTC, five fields
    expected(day)    the newest slice that should be out by that day: so that lateness shows
    requests_per_second  to each host of this source, at most
    rejects_allowed  share of a document's lines that may be rejected before all of it is refused
    hot_days         days that its documents stay in the folder at least; then, proven, in the bucket alone; 0 = for ever
    suspended        why it is not collected; empty when it is
    """

    name: str
    title: str
    home: str
    datasets: tuple[Dataset, ...]
    discover: Callable[[Pages], AsyncIterator[Link]]
    parse: Callable[[Body], Iterator[Rows | Reject]]
    parser: str
    hosts: tuple[str, ...]
    cron: str
    expected: Callable[[date], Expected]
    begins_with: bytes = b""
    max_bytes: int = 1 << 30
    requests_per_second: float = 2.0
    rejects_allowed: float = 0.001
    contact_required: bool = False
    reread: Callable[[str], Mapping[str, Any]] | None = None
    suspended: str = ""
    hot_days: int = 0

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"source name {self.name!r}: use lower case letters, digits and _")

    def next_due(self, day: date) -> Expected:
        """The first slice that is not yet due on that day. Looks half a year ahead."""
        now = self.expected(day)
        for ahead in range(1, 190):
            later = self.expected(day + timedelta(days=ahead))
            if later.covers != now.covers:
                return later
        return now
