"""The only door to chDB: handles, what runs on them, and the KILL of a statement. Everything here blocks its thread.

Each request gets a handle of its own (it opens in 0.3 ms): settings, database and temporary tables cannot reach
another request, and neither can output that a failed statement left in the handle. Only sessions keep theirs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chdb.state.sqlitelike import Connection

from spotlightd.engine.configuration import Configuration, query_settings
from spotlightd.engine.errors import SESSION_IS_LOCKED, SESSION_NOT_FOUND, TOO_MANY_QUERIES, failure, told
from spotlightd.engine.request import Question, Session, quoted, set_clause

MOST_SESSIONS = 64


@dataclass(slots=True)
class _Kept:
    """A session's handle, who may use it, and when it was last used."""

    handle: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    seconds: int = 60
    used: float = field(default_factory=time.monotonic)

    @property
    def expired(self) -> bool:
        return time.monotonic() - self.used > self.seconds and not self.lock.locked()


class Handles:
    """Opens the engine, and hands out handles until it is closed."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._path = f"{configuration.data}?config-file={configuration.file}"
        self._defaults = query_settings(configuration)
        self._sessions: dict[str, _Kept] = {}
        self._guard = threading.Lock()
        self._control = threading.Lock()
        self._keeper = Connection(self._path)  # holds the engine open, and sends KILL QUERY
        self._keeper.query(f"CREATE DATABASE IF NOT EXISTS {configuration.database} ENGINE = Atomic")

    def close(self) -> None:
        with self._guard:
            for kept in self._sessions.values():
                kept.handle.close()
            self._sessions.clear()
        self._keeper.close()

    @contextlib.contextmanager
    def prepared(self, asked: Question) -> Iterator[Connection]:
        """A handle with the request's settings and database. What the engine raises inside becomes Failed."""
        try:
            with self._handle(asked.session) as handle:
                mark = {"log_comment": asked.query_id}
                handle.query(set_clause(self._defaults | dict(asked.settings) | mark))
                if asked.database:
                    handle.query("USE `" + asked.database.replace("\\", "\\\\").replace("`", "\\`") + "`")
                yield handle
        except RuntimeError as problem:
            raise told(problem) from None

    def read(self, asked: Question, sql: str) -> dict[str, str]:
        """A statement that writes its answer into a pipe itself; how much was read and answered."""
        with self.prepared(asked) as handle:
            result = handle.query(sql, "TabSeparated", params=dict(asked.values))
            return {
                "read_rows": str(result.storage_rows_read()),
                "read_bytes": str(result.storage_bytes_read()),
                "result_rows": str(result.rows_read()),
            }

    def change(self, asked: Question, sql: str) -> tuple[bytes, dict[str, str]]:
        """A statement with a small answer, or none."""
        with self.prepared(asked) as handle:
            try:
                result = handle.query(sql, asked.format, params=dict(asked.values))
            except RuntimeError:
                if asked.session is not None:  # what the statement left in the handle would begin the next answer
                    with contextlib.suppress(RuntimeError):
                        handle.query("SELECT 1")
                raise
            return result.bytes(), {"written_rows": str(result.rows_written())}

    def load(self, asked: Question, sql: str, format: str, take: Callable[[], bytes | None]) -> dict[str, str]:
        """An INSERT whose data come block by block out of `take`, until None. What `take` raises ends the insert."""
        with self.prepared(asked) as handle:
            inserter: Any = handle.send_insert(sql, format)
            finished = False
            try:
                while (data := take()) is not None:
                    inserter.append(data)
                finished = True
                done = inserter.finish()
            finally:
                if not finished:
                    with contextlib.suppress(RuntimeError):
                        inserter.cancel()
            return {"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written)}

    def kill(self, query_id: str) -> None:
        """Ask the engine to end that request's statement. One that has not registered yet is not found: ask again."""
        with self._control, contextlib.suppress(RuntimeError):
            self._keeper.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(query_id)} ASYNC")

    @contextlib.contextmanager
    def _handle(self, session: Session | None) -> Iterator[Connection]:
        if session is None:
            handle = Connection(self._path)
            try:
                yield handle
            finally:
                handle.close()
            return
        kept = self._kept(session)
        if not kept.lock.acquire(blocking=False):
            raise failure(SESSION_IS_LOCKED, f"Session {session.name} is locked by a concurrent client")
        try:
            kept.seconds = session.seconds
            yield kept.handle
        finally:
            kept.used = time.monotonic()
            kept.lock.release()

    def _kept(self, session: Session) -> _Kept:
        with self._guard:
            for name in [name for name, kept in self._sessions.items() if kept.expired]:
                self._sessions.pop(name).handle.close()
            kept = self._sessions.get(session.name)
            if kept is None and session.must_exist:
                raise failure(SESSION_NOT_FOUND, f"Session {session.name} not found")
            if kept is None and len(self._sessions) >= MOST_SESSIONS:
                raise failure(TOO_MANY_QUERIES, f"Too many sessions: at most {MOST_SESSIONS}")
            if kept is None:
                kept = self._sessions[session.name] = _Kept(Connection(self._path))
            return kept
