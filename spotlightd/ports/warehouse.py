"""The warehouse as the flows and the pages see it.

The implementations are in clients/ and testing.py. Whoever opens a port closes it: no port outlives the `async with`
of the daemon or command that opened it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from spotlightd.model.dataset import Dataset
from spotlightd.sql.tiers import ArchivedPartitions

Format = str  # a format name of ClickHouse: CSVWithNames, JSONEachRow, JSONCompact, ArrowStream, Parquet, Native, TabSeparated
Value = Any  # the type of a query parameter: str, int, float, bool, Decimal, date, aware datetime, list of these


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole small answer: column names and rows of Python values.

    Times are aware UTC, amounts Decimal, days `date`, texts `str`.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one query. A query beyond them raises StoreError(slow=True) and never returns a part. 0 = no limit."""

    seconds: float = 0
    result_rows: int = 0
    memory_bytes: int = 0


class Warehouse(Protocol):
    """ClickHouse, embedded or server. Values are passed as `{name:Type}` parameters, never as text."""

    async def ping(self) -> None:
        """StoreError unless a query was answered."""

    async def rows(
        self, sql: str, params: Mapping[str, Value] | None = None, *, limits: Limits | None = None
    ) -> Answer:
        """The whole answer, or StoreError: never a part of it. For small answers; without a FORMAT clause."""

    def stream(
        self, sql: str, format: Format, params: Mapping[str, Value] | None = None, *, limits: Limits | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The answer's bytes as they arrive. A late failure raises StoreError out of the iteration; leaving early ends
        the query. It takes one of a bounded number of slots: StoreError(code=202) when none is free.
        """

    async def execute(self, sql: str, params: Mapping[str, Value] | None = None, *, token: str = "") -> int:
        """Run a statement without an answer (DDL, DELETE, INSERT … SELECT). Returns the number of written rows that the
        engine reports. With a token, `end_statements` finds the statement, and a repetition of an acknowledged statement
        is ignored if its rows come in the same blocks. After an INSERT that was cut off the engine may know the token
        without having the rows: a caller that repeats it must count the rows first, and use another token.
        """

    async def end_statements(self, token: str) -> None:
        """End all running statements whose tokens start so. None of them runs any more when this returns; StoreError
        when they cannot be ended.
        """

    async def insert(self, dataset: Dataset, rows: Sequence[Sequence[Any]], *, token: str = "") -> None:
        """Insert a few rows in the order of `dataset.stored`, as one block. `token` as in `execute`."""

    async def insert_stream(self, dataset: Dataset, blocks: AsyncIterator[bytes], *, token: str = "") -> int:
        """Insert an Arrow IPC stream into the dataset's table. Returns the number of rows written. After an error or a
        cancellation some of the rows may be there: they are invisible because of their load, and are swept.
        """

    async def ensure(self, dataset: Dataset, archived: ArchivedPartitions | None = None) -> None:
        """Create the dataset's table if it is missing, and its view of current rows, archived ones included. Add new
        columns. Copy the table of an older release into the partitions that are declared now. StoreError if a column
        has another type, or the copy fails.
        """

    async def refresh_view(self, dataset: Dataset, archived: ArchivedPartitions) -> None:
        """Replace the dataset's view of current rows, if it has one, by one over the warehouse and the archive."""

    async def seal(self, dataset: Dataset, sealed: Mapping[int, int]) -> None:
        """Give rows for these partitions (by number) these generations from now on. When this returns, no insert that
        began before it is still running.
        """
