"""The only module that calls chDB, besides `opening`: opens handles, runs statements on them, kills statements. Every call
blocks.

Each request gets its own handle (it opens in 0.3 ms). So settings, the current database and temporary tables cannot
reach another request, and neither can output that a failed statement left in the handle. Only sessions keep a handle;
there the settings and the database of a request's address are taken back before the next request.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from chdb.state.sqlitelike import Connection

from spotlightd.engine.answers import native
from spotlightd.engine.configuration import Configuration, query_settings
from spotlightd.engine.errors import CUT_OFF, ENGINE_ERRORS, SYNTAX, failure, parse_failure
from spotlightd.engine.opening import open_engine
from spotlightd.engine.requests.options import RequestOptions, Session, make_set_clause, quote, quote_name
from spotlightd.engine.sessions import SessionHandle, Sessions
from spotlightd.engine.statements.statement import Statement
from spotlightd.engine.statements.tokens import decode, encode

_OWN_STATE = """SELECT currentDatabase(), groupArray((name, value)) FROM system.settings
WHERE changed AND name != 'log_comment'"""


class Handles:
    """Opens the engine and provides handles until it is closed."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._path = f"{configuration.data}?config-file={configuration.config_file}"
        self._defaults = query_settings(configuration)
        self._sessions = Sessions(self._open_session_handle)
        self._control_lock = threading.Lock()
        # the first handle keeps the engine open, and sends KILL QUERY
        self._control_handle, self.detached = open_engine(self._path, configuration.data, configuration.database)
        self._control_handle.query(f"CREATE DATABASE IF NOT EXISTS {configuration.database} ENGINE = Atomic")

    def close(self) -> None:
        self._sessions.close()
        self._control_handle.close()

    @contextlib.contextmanager
    def open_handle(self, options: RequestOptions) -> Iterator[Connection]:
        """A handle with the request's settings, database and tables. Errors of the engine are raised as StatementError."""
        try:
            if options.session is None:
                with self._new_handle() as handle:
                    _set(handle, options, self._defaults | dict(options.settings))
                    _use(handle, options.database)
                    with _tables(handle, options):
                        yield handle
            else:
                with self._session_handle(options.session, options) as handle:
                    yield handle
        except ENGINE_ERRORS as problem:
            raise parse_failure(problem) from None

    def read(self, options: RequestOptions, sql: str) -> dict[str, str]:
        """Run a statement that writes its answer into a pipe itself; return how much it read and answered."""
        with self.open_handle(options) as handle:
            result = _query(handle, sql, params=options.values)
            return {
                "read_rows": str(result.storage_rows_read()),
                "read_bytes": str(result.storage_bytes_read()),
                "result_rows": str(result.rows_read()),
            }

    def read_native(self, options: RequestOptions, statement: Statement, inlet: int) -> dict[str, str]:
        """Run a statement and write its answer into the pipe, in the Native of the client's version of the protocol."""
        native.check_version(options.protocol_version)
        rows = 0
        with (
            self.open_handle(options) as handle,
            contextlib.closing(_read_blocks(handle, options, statement)) as blocks,
        ):
            for block, counted in blocks:
                _write(inlet, block)
                rows += counted
        return {"result_rows": str(rows)}

    def change(self, options: RequestOptions, statement: Statement) -> tuple[bytes, dict[str, str]]:
        """Run a statement with a small answer, or none."""
        if statement.kind == "session":
            self._change_session(options, statement.sql)
            return b"", {}
        with self.open_handle(options) as handle:
            try:
                result = _query(handle, statement.sql, options.format, options.values)
            except ENGINE_ERRORS:
                if options.session is not None:  # output left in the handle would appear in the next answer
                    with contextlib.suppress(*ENGINE_ERRORS):
                        _query(handle, "SELECT 1")
                raise
            return result.bytes(), {"written_rows": str(result.rows_written())}

    def load(
        self, options: RequestOptions, sql: str, format: str, next_block: Callable[[], bytes | None]
    ) -> dict[str, str]:
        """Run an INSERT whose data `next_block` returns, until it returns None. An exception from it cancels the insert."""
        with self.open_handle(options) as handle:
            _set_parameters(handle, options.values)  # an insert takes no others
            done = _insert(handle, sql, format, next_block)
            return {"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written)}

    def ping(self) -> None:
        """Return when the engine has answered a statement, with whatever: an error shows too that it does not hang."""
        with contextlib.suppress(*ENGINE_ERRORS):
            handle = Connection(self._path)
            try:
                handle.query("SELECT 1")
            finally:
                handle.close()

    def kill(self, query_id: str) -> None:
        """Ask the engine to kill the statement of that request. It finds only statements that have already registered."""
        with self._control_lock, contextlib.suppress(*ENGINE_ERRORS):
            self._control_handle.query(f"KILL QUERY WHERE Settings['log_comment'] = {quote(query_id)} ASYNC")

    @contextlib.contextmanager
    def _new_handle(self) -> Iterator[Connection]:
        handle = Connection(self._path)
        try:
            yield handle
        finally:
            handle.close()

    def _open_session_handle(self) -> Connection:
        handle = Connection(self._path)
        _query(handle, make_set_clause(self._defaults))
        return handle

    @contextlib.contextmanager
    def _session_handle(self, session: Session, options: RequestOptions) -> Iterator[Connection]:
        """The handle of a session, with what the request's address adds to the session for this request only."""
        with self._sessions.use(session) as entry:
            database = options.database or entry.database
            self._move(entry, options, options.settings, database)
            try:
                with _tables(entry.handle, options):
                    yield entry.handle
            finally:
                if "readonly" in options.settings:  # cannot be taken back
                    self._sessions.drop(session)

    def _move(self, entry: SessionHandle, options: RequestOptions, settings: Mapping[str, str], database: str) -> None:
        """Give the session's handle these settings and this database, in place of those of the last request."""
        _set(entry.handle, options, self._take_back(entry, settings))
        entry.applied = settings
        _use(entry.handle, database if database != entry.selected else "")
        entry.selected = database

    def _change_session(self, options: RequestOptions, sql: str) -> None:
        """Run a SET or USE. It is the session that it changes, so nothing of the request's address is applied before."""
        try:
            if options.session is None:
                with self._new_handle() as handle:
                    _query(handle, sql, params=options.values)
                return
            with self._sessions.use(options.session) as entry:
                self._move(entry, options, {}, entry.database)
                _query(entry.handle, sql, params=options.values)
                state = json.loads(decode(_query(entry.handle, _OWN_STATE, "JSONCompactEachRow").bytes()))
                entry.database, entry.own = state[0], dict(state[1])
                entry.selected = entry.database
        except ENGINE_ERRORS as problem:
            raise parse_failure(problem) from None

    def _take_back(self, entry: SessionHandle, wanted: Mapping[str, str]) -> dict[str, str | None]:
        """The settings to set: those that differ from the last request's; None for ClickHouse's default."""
        own = self._defaults | dict(entry.own)
        old: dict[str, str | None] = {name: own.get(name) for name in entry.applied if name not in wanted}
        return old | {name: value for name, value in wanted.items() if entry.applied.get(name) != value}


def _set(handle: Connection, options: RequestOptions, settings: Mapping[str, str | None]) -> None:
    """Set all but `readonly`, behind which nothing can be set or created."""
    values = {name: value for name, value in settings.items() if name != "readonly"}
    _query(handle, make_set_clause(values | {"log_comment": options.query_id}))


def _use(handle: Connection, database: str) -> None:
    if database:
        _query(handle, f"USE {quote_name(database)}")


@contextlib.contextmanager
def _tables(handle: Connection, options: RequestOptions) -> Iterator[None]:
    """The request's external tables exist inside the block; then `readonly` is in force, if the request has it."""
    created: list[str] = []
    try:
        for table in options.external:
            name = quote_name(table.name)
            _query(handle, f"CREATE TEMPORARY TABLE {name} ({table.columns}) ENGINE = Memory")
            created.append(name)
            blocks = iter([table.data] if table.data else [])
            _insert(handle, f"INSERT INTO {name}", table.format, lambda: next(blocks, None))  # noqa: B023  it ends here
        if "readonly" in options.settings:
            _query(handle, make_set_clause({"readonly": options.settings["readonly"]}))
        yield
    finally:
        for name in created:
            with contextlib.suppress(*ENGINE_ERRORS):
                _query(handle, f"DROP TEMPORARY TABLE {name}")


def _insert(handle: Connection, sql: str, format: str, next_block: Callable[[], bytes | None]) -> Any:
    """Insert the blocks until the first None. An exception from `next_block` cancels the insert."""
    send: Any = handle.send_insert  # chDB declares text, and takes bytes too
    inserter = send(encode(sql), format)
    finished = False
    try:
        while (data := next_block()) is not None:
            inserter.append(data)
        finished = True
        return inserter.finish()
    finally:
        if not finished:
            with contextlib.suppress(*ENGINE_ERRORS):
                inserter.cancel()


def _query(handle: Connection, sql: str, format: str = "TabSeparated", params: Mapping[str, str] | None = None) -> Any:
    run: Any = handle.query  # chDB declares text, and takes bytes too
    return run(encode(sql), format, params=_parameters(handle, params or {}))


def _parameters(handle: Connection, values: Mapping[str, str]) -> dict[str, str]:
    """The values as chDB takes them; set on the handle when one is not UTF-8, which chDB's own parameters must be."""
    if all(encode(value) == value.encode(errors="replace") for value in values.values()):
        return dict(values)
    _set_parameters(handle, values)
    return {}


def _set_parameters(handle: Connection, values: Mapping[str, str]) -> None:
    """Give the handle the values of `{name:type}`. StatementError for a name that no statement can hold."""
    for name in values:
        if not name.isidentifier():
            raise failure(SYNTAX, f"The parameter '{name[:100]}' has no name")
    if values:
        _query(handle, make_set_clause({f"param_{name}": value for name, value in values.items()}))


def _read_blocks(handle: Connection, options: RequestOptions, statement: Statement) -> Generator[tuple[bytes, int]]:
    """Blocks in Native, each with its number of rows. Only queries come block by block."""
    sql = f"{statement.sql}\n{statement.after}"
    if not statement.is_query:
        result = _query(handle, sql, "Native", options.values)
        yield native.convert_answer(result.bytes()), result.rows_read()
        return
    types = _describe(handle, statement, options)
    zones = native.find_zones(types, options.protocol_version)
    send: Any = handle.send_query
    stream = send(encode(sql), "Native", params=_parameters(handle, options.values))
    try:
        while (chunk := stream.fetch()) is not None:
            yield native.convert_block(chunk.bytes(), chunk.rows_read(), types, zones), chunk.rows_read()
    finally:
        with contextlib.suppress(*ENGINE_ERRORS):
            stream.cancel()


def _describe(handle: Connection, statement: Statement, options: RequestOptions) -> list[str]:
    """The types of a query's columns; none when the client's version has no use for them."""
    if options.protocol_version < native.WITH_ZONES:
        return []
    settings = f"{statement.after}," if statement.after else "SETTINGS"
    sql = f"DESCRIBE TABLE ({statement.sql}\n) {settings} print_pretty_type_names = 0"  # else over several lines
    answer = _query(handle, sql, "JSONCompactEachRow", options.values).bytes()
    return [json.loads(decode(line))[1] for line in answer.splitlines()]


def _write(inlet: int, data: bytes) -> None:
    """StatementError when nobody reads the pipe."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(inlet, rest) :]
    except BrokenPipeError:
        raise failure(CUT_OFF, "The client disconnected before the answer ended") from None
