"""The only module that calls chDB: opens handles, runs statements on them, kills statements. Every call blocks.

Each request gets its own handle (it opens in 0.3 ms). So settings, the current database and temporary tables cannot
reach another request, and neither can output that a failed statement left in the handle. Only sessions keep a handle.
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
from spotlightd.engine.errors import SESSION_IS_LOCKED, SESSION_NOT_FOUND, TOO_MANY_QUERIES, failure, parse_failure
from spotlightd.engine.request import RequestOptions, Session, make_set_clause, quote

MOST_SESSIONS = 64


@dataclass(slots=True)
class _SessionHandle:
    """The handle of a session, the lock of the request that uses it, and when it was last used."""

    handle: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    seconds: int = 60
    used_at: float = field(default_factory=time.monotonic)

    @property
    def expired(self) -> bool:
        return time.monotonic() - self.used_at > self.seconds and not self.lock.locked()


class Handles:
    """Opens the engine and provides handles until it is closed."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._path = f"{configuration.data}?config-file={configuration.config_file}"
        self._defaults = query_settings(configuration)
        self._sessions: dict[str, _SessionHandle] = {}
        self._sessions_lock = threading.Lock()
        self._control_lock = threading.Lock()
        self._control_handle = Connection(self._path)  # keeps the engine open, and sends KILL QUERY
        self._control_handle.query(f"CREATE DATABASE IF NOT EXISTS {configuration.database} ENGINE = Atomic")

    def close(self) -> None:
        with self._sessions_lock:
            for entry in self._sessions.values():
                entry.handle.close()
            self._sessions.clear()
        self._control_handle.close()

    @contextlib.contextmanager
    def open_handle(self, options: RequestOptions) -> Iterator[Connection]:
        """A handle with the request's settings and database. Errors of the engine are raised as StatementError."""
        try:
            with self._handle(options.session) as handle:
                mark = {"log_comment": options.query_id}
                handle.query(make_set_clause(self._defaults | dict(options.settings) | mark))
                if options.database:
                    handle.query("USE `" + options.database.replace("\\", "\\\\").replace("`", "\\`") + "`")
                yield handle
        except RuntimeError as problem:
            raise parse_failure(problem) from None

    def read(self, options: RequestOptions, sql: str) -> dict[str, str]:
        """Run a statement that writes its answer into a pipe itself; return how much it read and answered."""
        with self.open_handle(options) as handle:
            result = handle.query(sql, "TabSeparated", params=dict(options.values))
            return {
                "read_rows": str(result.storage_rows_read()),
                "read_bytes": str(result.storage_bytes_read()),
                "result_rows": str(result.rows_read()),
            }

    def change(self, options: RequestOptions, sql: str) -> tuple[bytes, dict[str, str]]:
        """Run a statement with a small answer, or none."""
        with self.open_handle(options) as handle:
            try:
                result = handle.query(sql, options.format, params=dict(options.values))
            except RuntimeError:
                if options.session is not None:  # output left in the handle would appear in the next answer
                    with contextlib.suppress(RuntimeError):
                        handle.query("SELECT 1")
                raise
            return result.bytes(), {"written_rows": str(result.rows_written())}

    def load(
        self, options: RequestOptions, sql: str, format: str, next_block: Callable[[], bytes | None]
    ) -> dict[str, str]:
        """Run an INSERT whose data `next_block` returns, until it returns None. An exception from it cancels the insert."""
        with self.open_handle(options) as handle:
            inserter: Any = handle.send_insert(sql, format)
            finished = False
            try:
                while (data := next_block()) is not None:
                    inserter.append(data)
                finished = True
                done = inserter.finish()
            finally:
                if not finished:
                    with contextlib.suppress(RuntimeError):
                        inserter.cancel()
            return {"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written)}

    def kill(self, query_id: str) -> None:
        """Ask the engine to kill the statement of that request. It finds only statements that have already registered."""
        with self._control_lock, contextlib.suppress(RuntimeError):
            self._control_handle.query(f"KILL QUERY WHERE Settings['log_comment'] = {quote(query_id)} ASYNC")

    @contextlib.contextmanager
    def _handle(self, session: Session | None) -> Iterator[Connection]:
        if session is None:
            handle = Connection(self._path)
            try:
                yield handle
            finally:
                handle.close()
            return
        entry = self._find_session(session)
        if not entry.lock.acquire(blocking=False):
            raise failure(SESSION_IS_LOCKED, f"Session {session.name} is locked by a concurrent client")
        try:
            entry.seconds = session.seconds
            yield entry.handle
        finally:
            entry.used_at = time.monotonic()
            entry.lock.release()

    def _find_session(self, session: Session) -> _SessionHandle:
        with self._sessions_lock:
            for name in [name for name, entry in self._sessions.items() if entry.expired]:
                self._sessions.pop(name).handle.close()
            entry = self._sessions.get(session.name)
            if entry is None and session.must_exist:
                raise failure(SESSION_NOT_FOUND, f"Session {session.name} not found")
            if entry is None and len(self._sessions) >= MOST_SESSIONS:
                raise failure(TOO_MANY_QUERIES, f"Too many sessions: at most {MOST_SESSIONS}")
            if entry is None:
                entry = self._sessions[session.name] = _SessionHandle(Connection(self._path))
            return entry
