"""Sessions: handles that keep settings, the current database and temporary tables from one request to the next.

ClickHouse's own clients open a session each, and most never end it. So when there are too many, the one that was idle
longest is dropped, and the newcomer is served.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spotlightd.engine.errors import SESSION_IS_LOCKED, SESSION_NOT_FOUND, TOO_MANY_QUERIES, failure
from spotlightd.engine.requests.options import Session

if TYPE_CHECKING:
    from chdb.state.sqlitelike import Connection

MOST_SESSIONS = 64


@dataclass(slots=True)
class SessionHandle:
    """A session's handle.

    `own` are the settings and `database` the current database that its own SET and USE statements chose, `applied` and
    `selected` those of the last request, which are still in force on the handle.
    """

    handle: Connection
    own: Mapping[str, str] = field(default_factory=dict)
    database: str = "default"
    applied: Mapping[str, str] = field(default_factory=dict)
    selected: str = "default"
    seconds: int = 60
    used_at: float = field(default_factory=time.monotonic)
    busy: bool = False

    @property
    def expired(self) -> bool:
        return not self.busy and time.monotonic() - self.used_at > self.seconds


class Sessions:
    """The open sessions, at most `MOST_SESSIONS`."""

    def __init__(self, open_handle: Callable[[], Connection]) -> None:
        self._open_handle = open_handle
        self._entries: dict[str, SessionHandle] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            for name in list(self._entries):
                self._drop(name)

    @contextlib.contextmanager
    def use(self, session: Session) -> Iterator[SessionHandle]:
        """The session's handle, for one request. StatementError when another request uses it."""
        entry = self._take(session)
        try:
            yield entry
        finally:
            entry.used_at = time.monotonic()
            entry.busy = False

    def drop(self, session: Session) -> None:
        """Forget the session; the next request with its name begins a new one. The caller uses it."""
        with self._lock:
            self._drop(session.name)

    def _take(self, session: Session) -> SessionHandle:
        with self._lock:
            for name in [name for name, entry in self._entries.items() if entry.expired]:
                self._drop(name)
            entry = self._entries.get(session.name)
            if entry is None and session.must_exist:
                raise failure(SESSION_NOT_FOUND, f"Session {session.name} not found")
            if entry is None:
                self._make_place()
                entry = self._entries[session.name] = SessionHandle(self._open_handle())
            if entry.busy:
                raise failure(SESSION_IS_LOCKED, f"Session {session.name} is locked by a concurrent client")
            entry.busy = True
            entry.seconds = session.seconds
            return entry

    def _make_place(self) -> None:
        """Drop the session that was idle longest when there is no place. StatementError when all are in use."""
        if len(self._entries) < MOST_SESSIONS:
            return
        idle = [name for name, entry in self._entries.items() if not entry.busy]
        if not idle:
            raise failure(TOO_MANY_QUERIES, f"Too many sessions in use: at most {MOST_SESSIONS}")
        self._drop(min(idle, key=lambda name: self._entries[name].used_at))

    def _drop(self, name: str) -> None:
        self._entries.pop(name).handle.close()
