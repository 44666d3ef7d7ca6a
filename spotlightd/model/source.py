"""A source: which documents a publisher has, when they are due, and how to parse one. It opens no socket and no store."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import Any, Protocol

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import CELLS, LINES, NAME, Dataset
from spotlightd.model.provenance import Body, Reject

COVERS = re.compile(r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$")


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `first` to `last`, both included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def overlaps(self, other: Period) -> bool:
        return self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def day_before(self) -> date:
        """So `half_month(period.day_before)` is the half-month before a half-month."""
        return self.first - timedelta(days=1)

    @property
    def day_after(self) -> date:
        return self.last + timedelta(days=1)


class OutsideRows(Enum):
    """What becomes of rows whose day is outside the days of their document. Every source chooses one.

    REFUSE      the document is refused: such a row shows that it is not what its name says
    REJECT      the line is rejected, and counts against `rejects_allowed`
    OWNER_ONLY  the row is loaded only from the document that reports its day, and is a reject with that reason here
    """

    REFUSE = "refuse"
    REJECT = "reject"
    OWNER_ONLY = "owner only"


@dataclass(frozen=True, slots=True)
class Link:
    """A document, and where it is.

    `covers` names what it reports, as a path from coarse to fine: `2021/01/b`. A document replaces those that cover the
    same path or a part of it; a part that comes after its whole is kept and not loaded. `first` and `last` are the days
    that it reports: the source's `outside` says what becomes of rows of other days. `is_supplement`: it only adds to other
    documents of these days, so they are loaded first, and it is the one that is refused when a key is in both.

    `is_probe`: the address is computed, not listed, so the document may not exist (yet). That it is absent is no failure:
    it is requested again with growing pauses until two weeks after its last day, and then only by `spotlightd backfill`.

    `post` is the JSON text of a document that is requested by POST; None requests it by GET. `url` identifies the document
    all the same. So where many documents have one address, a fragment such as `#2026-11-27` tells them apart. It is never
    sent, and it is in the name that `parse` gets: `thresholdList#2026-11-27`.
    """

    url: str
    covers: str
    first: date
    last: date
    is_supplement: bool = False
    is_probe: bool = False
    post: str | None = None

    def __post_init__(self) -> None:
        if not COVERS.match(self.covers):
            raise SettingsError(f"link {self.url}: covers {self.covers!r} is not a path of lower-case words")
        if self.first > self.last:
            raise SettingsError(f"link {self.url}: its last day, {self.last}, is before its first, {self.first}")
        if self.post is not None and not _is_json(self.post):
            raise SettingsError(f"link {self.url}: post {self.post[:80]!r} is not JSON; write it with json.dumps")

    @property
    def period(self) -> Period:
        return Period(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Expected:
    """The newest path that should be published by some day, and the day from which it counts as late."""

    covers: str
    due: date


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one dataset, as a pyarrow.RecordBatch of the dataset's columns and its pointer (never `load_id`).

    `texts` gives the texts of lines by their numbers, for rows that are rejected later on because of their day. Without
    it the values stand in for the text.
    """

    dataset: Dataset
    columns: Any
    texts: Callable[[Iterable[int]], list[str]] | None = None


class Pages(Protocol):
    """The argument of `discover` and `authorize`: fetches the publisher's pages within the limits of the source.

    With `post` the page is requested by POST, with that JSON text as its body; "" sends none.
    """

    async def page(self, url: str, *, post: str | None = None) -> str:
        """The text of a page of one of the source's hosts, at most 4 MB. PublisherError when it cannot be fetched.

        `spotlightd.parse.json_text.read` reads its JSON.
        """


@dataclass(frozen=True, slots=True)
class Batch:
    """A source that publishes documents.

    discover(pages)  yields a Link for every document that exists now; the ledger decides which of them are new
    parse(body)      pure: yields Rows and Rejects, raises FormatError
    reread(text)     pure: the values of one line, by other code than `parse`; an audit compares both, for all columns that it
                     gives (not a day that only the name of the file tells)
    parser           version of `parse`; change it when the same bytes give other rows, then all documents are loaded again
    hosts            the only hosts that are contacted, redirects included
    begins_with      first bytes of a real document (b"PK" for a zip), or several: other bodies are not documents
    cron             when to look for documents, UTC, five fields
    expected(day)    the newest path that should be published by that day, so that lateness is visible
    outside          what becomes of rows outside the days of their document; days are those of each dataset's `time`
    least_links      the fewest documents that a look can find; fewer, or none, and the look has failed
    names_matter     whether names or the order of files in an archive mean something; otherwise the same files under other
                     names are no new version
    requests_per_second  the most requests to each host of this source
    rejects_allowed  share of a document's lines that may be rejected before the whole document is refused
    hot_days         least days that its documents stay in the folder before they are only in the bucket; 0 = for ever
    suspended        why it is not collected; empty when it is
    authorize(pages) the headers of requests for documents, such as {"Authorization": "Bearer …"} after a call for a token;
                     called before the first document, and again when the publisher answers 401. They go to the host of
                     the document's address only
    page_is_absent   an HTML page instead of a document, with status 200, says that a probe's document is absent (Nasdaq)
    forbidden_is_absent  status 403 says that a probe's document is absent (buckets of S3, Cboe), or, if a request by HEAD
                     is answered with 200, that the publisher has moved it to its archive: then it is not requested again
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
    outside: OutsideRows
    least_links: int = 1
    names_matter: bool = False
    begins_with: bytes | tuple[bytes, ...] = b""
    max_bytes: int = 1 << 30
    requests_per_second: float = 2.0
    rejects_allowed: float = 0.001
    contact_required: bool = False
    reread: Callable[[str], Mapping[str, Any]] | None = None
    suspended: str = ""
    hot_days: int = 0
    authorize: Callable[[Pages], Awaitable[Mapping[str, str]]] | None = None
    page_is_absent: bool = False
    forbidden_is_absent: bool = False

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"source name {self.name!r}: use lower case letters, digits and _")
        if self.least_links < 1:
            raise SettingsError(
                f"source {self.name}: least_links must be at least 1, because none is never a whole answer"
            )
        if self.page_is_absent and not self.begins_with:
            raise SettingsError(
                f"source {self.name}: page_is_absent needs begins_with, which tells a page from a document"
            )
        for dataset in self.datasets:
            self._check_days(dataset)

    def _check_days(self, dataset: Dataset) -> None:
        """SettingsError for a dataset whose rows cannot be compared with the days of a document."""
        time = dataset.column(dataset.time)
        if time.kind not in ("date", "time") or time.is_nullable:
            raise SettingsError(
                f"source {self.name}: {dataset.name}.{time.name} is a {time.type}; the time of documents' rows must be a "
                "Date or a DateTime64, so that rows outside the days of a document are found"
            )
        if dataset.pointer not in (LINES, CELLS):
            raise SettingsError(
                f"source {self.name}: rows of {dataset.name} must point to a member and a line, or a page and a cell"
            )

    def next_due(self, day: date) -> Expected:
        """The first expected document that is not yet due on that day. Looks half a year ahead."""
        current = self.expected(day)
        for days in range(1, 190):
            later = self.expected(day + timedelta(days=days))
            if later.covers != current.covers:
                return later
        return current


def list_wholes(covers: str) -> list[str]:
    """The slice and all larger ones that contain it: `2021`, `2021/01` and `2021/01/a` for the last of them."""
    parts = covers.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
