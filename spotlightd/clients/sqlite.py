"""A SQLite file whose writes are all on disk when they return. The ledger and the log are such files.

All calls run in order in one thread, off the event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from spotlightd.errors import StoreError

BUSY_SECONDS = 10.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")


class SqliteFile:
    """The file, opened with `async with`. StoreError when it cannot be used, or was written by a newer release.

    `SCHEMA_FILE`, below this folder, is SQL that creates missing tables. `STEPS` upgrade a file of an older version, one
    version at a time.
    """

    SCHEMA_FILE: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int]
    STEPS: ClassVar[dict[int, str]] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._db: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        await self.run_in_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._db is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown()

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
        self._db.row_factory = sqlite3.Row
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        newest = self.SCHEMA_VERSION
        if version > newest:
            raise StoreError(
                f"{self.path} was written by a newer release (schema {version}, this one knows {newest}):"
                " install that release again"
            )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        steps = "".join(self.STEPS.get(step, "") for step in range(version, newest)) if version else ""
        schema = resources.files("spotlightd.clients").joinpath(self.SCHEMA_FILE).read_text(encoding="utf-8")
        self._db.executescript(f"BEGIN IMMEDIATE; {steps} {schema} PRAGMA user_version={newest}; COMMIT;")
        self.path.chmod(0o600)

    async def run_in_thread(self, work: Callable[[], T]) -> T:
        """Run the work in the file's thread. Errors of SQLite and of the disk are raised as StoreError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as problem:
            raise StoreError(f"{self.path} refused: {problem}") from problem
        except OSError as problem:
            raise StoreError(f"{self.path} cannot be used: {problem}") from problem

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run one statement, for work that already runs in the file's thread."""
        if self._db is None:
            raise StoreError(f"{self.path} is not open")
        return self._db.execute(sql, values).fetchall()

    async def run(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        return await self.run_in_thread(lambda: self.execute(sql, values))

    async def run_transaction(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[sqlite3.Row]:
        """Run all statements or none; returns the rows of the last one."""
        return await self.run_in_thread(lambda: self.execute_transaction(statements))

    def execute_transaction(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[sqlite3.Row]:
        """As `run_transaction`, for work that already runs in the file's thread."""
        answers = self.execute_all(statements)
        return answers[-1] if answers else []

    def execute_all(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[sqlite3.Row]]:
        """Run all statements or none, in the file's thread; returns the rows of each."""
        self.execute("BEGIN IMMEDIATE")
        try:
            answers = [self.execute(sql, values) for sql, values in statements]
            self.execute("COMMIT")
        except BaseException:
            if self._db is not None and self._db.in_transaction:
                self._db.rollback()
            raise
        return answers


async def copy_database(source: Path, target: Path) -> None:
    """Copy the file as it is at one moment, beside processes that write to it, and check the copy. StoreError when either
    fails.
    """
    try:
        await asyncio.to_thread(_copy_database, source, target)
    except sqlite3.Error as problem:
        raise StoreError(f"{source} cannot be copied: {problem}") from problem


def _copy_database(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    address = f"{source.resolve().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as reader,
        closing(sqlite3.connect(target)) as writer,
    ):
        reader.backup(writer)
        (verdict,) = writer.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreError(f"{source} is damaged ({verdict}): restore it from an earlier backup")


def placeholders(values: Sequence[Any]) -> str:
    """A question mark for each value."""
    return ", ".join("?" * len(values))


def to_micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int | None) -> Any:
    return None if micros is None else EPOCH + timedelta(microseconds=micros)
