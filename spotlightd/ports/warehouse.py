"""The outside, as the flows and the pages see it. Implementations stand in clients/, workers/parser.py and testing.py.

Everything here is closed by whoever opened it; no port outlives the `async with` of the daemon or command that made it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from spotlightd.model.dataset import Dataset
from spotlightd.sql.tiers import ArchivedPartitions

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

    async def ensure(self, dataset: Dataset, cold: ArchivedPartitions | None = None) -> None:
        """Make the dataset's table and its unpinned view (over what has left too) if missing; add columns that are new;
        copy a table of an older release into the partitions that are declared now. StoreError if a column has another
        type, or the copy cannot be made.
        """

    async def show(self, dataset: Dataset, cold: ArchivedPartitions) -> None:
        """Make the unpinned view of a dataset anew, if it has one, over what is in the warehouse and what has left it."""

    async def seal(self, dataset: Dataset, sealed: Mapping[int, int]) -> None:
        """From now on rows for these partitions, by number, carry these generations. No insert that began before it
        is still at work when this returns.
        """
