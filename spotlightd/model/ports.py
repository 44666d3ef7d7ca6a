"""The outside, as the flows and the pages see it. Implementations stand in clients/, parse/child.py and testing.py.

Everything here is closed by whoever opened it; no port outlives the `async with` of the daemon or command that made it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from spotlightd.model.cold import Cold
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import Measured
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, Pages
from spotlightd.model.stream import Stream

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

    async def ensure(self, dataset: Dataset, cold: Cold | None = None) -> None:
        """Make the dataset's table and its unpinned view (over what has left too) if missing; add columns that are new;
        copy a table of an older release into the partitions that are declared now. StoreError if a column has another
        type, or the copy cannot be made.
        """

    async def show(self, dataset: Dataset, cold: Cold) -> None:
        """Make the unpinned view of a dataset anew, if it has one, over what is in the warehouse and what has left it."""

    async def seal(self, dataset: Dataset, sealed: Mapping[int, int]) -> None:
        """From now on rows for these partitions, by number, carry these generations. No insert that began before it
        is still at work when this returns.
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


class Documents(Protocol):
    """The bytes that publishers sent, under their SHA-256, never changed: in a folder, or in the bucket alone."""

    async def ping(self) -> None:
        """StoreError unless an object can be written and read back."""

    async def put(self, chunks: AsyncIterator[bytes]) -> Stored:
        """Keep the bytes. Durable when it returns; nothing is left behind when `chunks` raises."""

    def file(self, digest: str) -> AbstractAsyncContextManager[Path]:
        """A local file with the document's bytes, for a parser; it stays while the block runs. StoreError when there is
        none, and when it is in the bucket alone and cannot be had from there now.
        """

    def read(self, digest: str) -> AsyncGenerator[bytes]:
        """The document's bytes in pieces of at most 1 MiB. StoreError as of `file`, or at the end if they are damaged."""


@dataclass(frozen=True, slots=True)
class Object:
    """What a bucket says of one object. `digest` is the SHA-256 that was given at `put`, empty where it is not known."""

    key: str
    size: int
    digest: str = ""


class Bucket(Protocol):
    """Objects by key, where old data goes: a folder, or any S3. An object never changes, and nothing here deletes one.

    A key is words with `/` between them (model/bucket.py); a key that continues another behind a `/` may be refused, or
    not be listed, so nobody makes one. Every call to the store has a time-out, also where an answer
    takes many of them. What the store refuses is a StoreError that names the store and the remedy.
    """

    async def ping(self) -> None:
        """StoreError unless the store does what is asked of it here, tried with a probe of our own: put, create-only
        put, ranged get, list, delete of the probe. It says which of them the store does not do.
        """

    async def put(self, key: str, body: Path | bytes, digest: str) -> Object:
        """Keep the bytes, which have that SHA-256, under the key: whole or not at all, durable when it returns. An
        object of the same digest and size that is there already is left as it is; another one is a StoreError.
        """

    def read(self, key: str, *, first: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes, or some of them, in pieces of at most 1 MiB. StoreError when there is none, or fewer."""

    async def head(self, key: str) -> Object | None:
        """None when there is no such object; StoreError when that cannot be known."""

    def list(self, prefix: str) -> AsyncIterator[Object]:
        """All objects whose keys begin so, in the order of their keys as bytes; digests are not told."""

    async def sweep(self) -> int:
        """End uploads that were never finished, begun a day ago or more or by a process that is gone; how many."""

    def table(self, keys: Sequence[str], structure: str) -> str:
        """What stands behind FROM for the warehouse to read these Parquet objects as one table of that structure
        (`name Type, …`). It holds no secret. An object that is not there, that is empty, or that lacks a column is an
        error of the question, never a shorter answer or one with something filled in.
        """


class Disks(Protocol):
    """The file systems of this machine. A disk may hang: every call ends in time, with StoreError then."""

    async def measure(self, folder: Path) -> Measured:
        """The file system of a folder, or of the nearest one above it that exists."""

    async def taken(self, file: Path) -> int:
        """Bytes that a file takes on its disk; 0 when there is none."""

    async def reserve(self, file: Path, size: int) -> None:
        """Make a file that takes so many bytes, for our eyes only, durable. StoreError when they are not really taken;
        then there is no file.
        """

    async def remove(self, file: Path) -> None:
        """Remove a file, if there is one, for good."""


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
