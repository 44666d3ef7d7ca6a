"""The outside, as the flows and the pages see it. Implementations stand in clients/, parse/child.py and testing.py.

Everything here is closed by whoever opened it; no port outlives the `async with` of the daemon or command that made it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Document, Load, LoadState, Reject, Run
from spotlightd.model.source import Batch, Pages
from spotlightd.model.stream import Stream
from spotlightd.model.transform import Transform

Format = str  # ClickHouse's word: CSVWithNames, JSONEachRow, JSONCompact, ArrowStream, Parquet, Native, TabSeparated
Value = Any  # what a query parameter may be: str, int, float, bool, Decimal, date, aware datetime, list of these


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole small answer: column names, their ClickHouse types where known, and rows of Python values.

    Times are aware UTC, amounts Decimal, days `date`, texts `str`.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one query; beyond them it raises StoreError(slow=True), never a shortened answer. 0 = no bound of its own."""

    seconds: float = 0
    result_rows: int = 0
    memory_bytes: int = 0


class Warehouse(Protocol):
    """ClickHouse, embedded or server. Values go in as `{name:Type}` parameters, never as text."""

    async def ping(self) -> None:
        """StoreError unless a query was answered."""

    async def rows(
        self, sql: str, params: Mapping[str, Value] | None = None, *, limits: Limits | None = None
    ) -> Answer:
        """The whole answer, or StoreError: never a part of it. For small answers; no FORMAT clause."""

    def stream(
        self, sql: str, format: Format, params: Mapping[str, Value] | None = None, *, limits: Limits | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The answer's bytes as they come. A late failure raises StoreError out of the iteration; leaving early ends
        the query. Takes one of a bounded number of slots: StoreError(code=202) when none is free.
        """

    async def execute(self, sql: str, params: Mapping[str, Value] | None = None, *, token: str = "") -> int:
        """A statement without an answer (DDL, DELETE, INSERT … SELECT); how many rows it says that it wrote. With a token
        `ended` finds it, and a repeat of what was acknowledged is ignored, if its rows come in the same blocks. Of an
        INSERT that was cut off the engine may know the token and not have the rows: who repeats it counts, and takes
        another token.
        """

    async def ended(self, token: str) -> None:
        """No statement whose token begins so runs any more when this returns; those that do are ended, else StoreError."""

    async def insert(self, dataset: Dataset, rows: Sequence[Sequence[Any]], *, token: str = "") -> None:
        """A few rows in `dataset.stored` order, as one block. `token` as in `execute`."""

    async def insert_stream(self, dataset: Dataset, blocks: AsyncIterator[bytes], *, token: str = "") -> int:
        """An Arrow IPC stream into the dataset's table; answers the number of rows written. On any error or
        cancellation part of the rows may be there: they are invisible by load, and swept.
        """

    async def ensure(self, dataset: Dataset) -> None:
        """Make the dataset's table and its unpinned view if missing; add columns that are new; StoreError if a
        column has another type.
        """


@dataclass(frozen=True, slots=True)
class Fetched:
    """An open answer of a publisher: what it says of itself, and its bytes as they come.

    `chunks` ends normally only when the body was complete, within the size limit, and began as it should.
    """

    url: str
    via: str
    etag: str
    last_modified: str
    media_type: str
    chunks: AsyncIterator[bytes]


class Publisher(Pages, Protocol):
    """The outside web as one source may see it: its hosts only, at its pace."""

    def fetch(
        self, url: str, *, etag: str = "", last_modified: str = ""
    ) -> AbstractAsyncContextManager[Fetched | None]:
        """Ask for a document; None when it has not changed (304). PublisherError otherwise."""


class Publishers(Protocol):
    """Hands each source its Publisher; the buckets of requests per host are shared by all of them."""

    def of(self, source: Batch) -> Publisher: ...


@dataclass(frozen=True, slots=True)
class Stored:
    digest: str
    size: int
    new: bool


class Bucket(Protocol):
    """Objects that never change, under the SHA-256 of their bytes."""

    async def ping(self) -> None:
        """StoreError unless an object can be written and read back."""

    async def put(self, chunks: AsyncIterator[bytes]) -> Stored:
        """Keep the bytes. Durable when it returns; nothing is left behind when `chunks` raises."""

    def path(self, digest: str) -> Path:
        """A local file with the object's bytes, for a parser. StoreError when there is none."""

    def read(self, digest: str) -> AsyncIterator[bytes]:
        """The object's bytes in pieces of at most 1 MiB. StoreError when there is none."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the parser found once it has read the whole document."""

    rows: Mapping[str, int]
    rejects: tuple[Reject, ...]
    lines: int


class Parsing(Protocol):
    """A document being parsed: one Arrow IPC stream per dataset, `load_id` included, in `dataset.stored` order.

    All streams are to be read at the same time: the parser writes them as rows come. `parsed` waits for the end and
    raises FormatError for a document that is not what it should be (the streams then end early).
    """

    def columns(self, dataset: str) -> AsyncIterator[bytes]: ...

    @property
    def rejects(self) -> tuple[Reject, ...]:
        """Those found so far; also of a document that was refused."""

    async def parsed(self) -> Parsed: ...


class Parser(Protocol):
    """Reads untrusted bytes apart from the daemon, with limits of memory, processor and wall time."""

    def parse(
        self, source: Batch | Stream, path: Path, name: str, *, load_id: int
    ) -> AbstractAsyncContextManager[Parsing]:
        """Leaving the block ends the parsing, finished or not."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of one address: the last answer, and when to ask again."""

    url: str
    covers: str
    digest: str = ""
    etag: str = ""
    last_modified: str = ""
    first_seen: datetime | None = None
    checked_at: datetime | None = None
    outcome: str = ""
    parser: str = ""
    failures: int = 0
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A backfill that somebody asked for: documents of a source that report days between `first` and `last`.

    It stands in the ledger, so that it is taken up again after a stop. `state`: waiting, running, done or failed.
    """

    source: str
    first: date
    last: date
    number: int = 0
    state: str = "waiting"
    done: int = 0
    total: int = 0
    says: str = ""


class Ledger(Protocol):
    """What was intended, where each flow stands, what failed: one SQLite file, durable at every return."""

    async def known(self, source: str) -> Mapping[str, Known]:
        """By address: all that was ever asked of that source."""

    async def answered(self, source: str, known: Known) -> None:
        """Remember the last answer of an address."""

    async def keep_document(self, document: Document) -> None:
        """A document is in the bucket. The same (digest, address) again changes nothing."""

    async def document(self, digest: str) -> Document | None:
        """The first time that these bytes were fetched."""

    async def record(self, run: Run) -> None: ...

    async def begin_load(
        self, source: Batch | Stream | Transform, digest: str, covers: str, *, derived_from: int = 0
    ) -> Load:
        """A new load, state `loading`, with a load_id that was never used."""

    async def close_load(self, load_id: int) -> Load:
        """No more rows will come with that load."""

    async def loaded(self, load_id: int, rows: Mapping[str, int], rejects: Sequence[Reject]) -> Load: ...

    async def intend(self, load_id: int, seq: int, supersedes: Sequence[int], at: datetime) -> Load:
        """Before the publishing row is written: state `publishing`."""

    async def published(self, load_id: int) -> Load: ...

    async def dead(self, load_id: int, rejects: Sequence[Reject] = ()) -> Load:
        """The load will never be published; its rows, if any, are to be swept."""

    async def swept(self, load_ids: Sequence[int]) -> None: ...

    async def loads(self, source: str = "", *, states: Sequence[LoadState] = ()) -> tuple[Load, ...]:
        """Oldest first."""

    async def adopt(self, loads: Sequence[Load], taken: Mapping[str, int]) -> None:
        """Take over publications that the warehouse has and this ledger does not (a lost or older ledger), and number
        what comes on from above `taken`: by table, the highest number that the warehouse has seen.
        """

    async def restore(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Take back rows of `history` that this ledger has lost; those it has are left as they are."""

    async def history(self, table: str, after: int, limit: int) -> tuple[tuple[Any, ...], ...]:
        """Rows of a mirrored dataset with an id above `after`, in the column order of that dataset."""

    async def ask(self, wish: Wish) -> Wish:
        """Leave a wish for the daemon, numbered."""

    async def wishes(self, *, number: int = 0) -> tuple[Wish, ...]:
        """Wishes that are not done, oldest first; or the one of that number, done or not."""

    async def answer(self, wish: Wish) -> None:
        """How far a wish is."""
