"""Open the engine's folder, whatever tables are in it.

chDB does not start when a single table cannot be loaded: one with an engine that it does not know, a damaged definition, a
server that does not answer. Such a table is detached, as `DETACH TABLE … PERMANENTLY` does it, and all others are served.
Its data stay where they are, and its name stays taken. Each start attaches it again, if that is possible by then.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from chdb.state.sqlitelike import Connection

from spotlightd.engine.errors import ENGINE_ERRORS, parse_failure
from spotlightd.engine.host.ready import DetachedTable
from spotlightd.engine.requests.options import quote_name
from spotlightd.engine.statements.tokens import encode
from spotlightd.files import create_file

_METADATA_FILE = re.compile(r"(?:metadata file |\(in file )(?P<path>[^\s:()]+\.sql)\b")
_DAMAGED_FILES = (
    re.compile(r"Syntax error \(in file (?P<path>[^\s:()]+\.sql)\)"),
    re.compile(r"Cannot parse definition from metadata file (?P<path>[^\s:()]+\.sql)\b"),
)
"""The first comes before the text that it complains of; the second behind words that quote nothing."""
_DETACHED = """SELECT database, table, metadata_path FROM system.detached_tables WHERE is_permanently
ORDER BY database, table LIMIT 1000"""
_FLAG, _ASIDE = ".sql.detached", ".sql.bak"
_OUR_FLAG = b"spotlightd\n"  # the engine's own flags are empty
_LAST_NAME = re.compile(r"\((?P<name>[A-Z0-9_]+)\),?\. \(ASYNC_LOAD_WAIT_FAILED\)\s*$")
_NOT_ITS_FAULT = frozenset({
    "S3_ERROR", "NETWORK_ERROR", "SOCKET_TIMEOUT", "DNS_ERROR", "TIMEOUT_EXCEEDED", "MEMORY_LIMIT_EXCEEDED", "NOT_ENOUGH_SPACE",
    "CANNOT_ALLOCATE_MEMORY", "CANNOT_OPEN_FILE", "PATH_ACCESS_DENIED",
})  # fmt: skip
"""Causes outside of a table. With one of them no table of the daemon's own is detached: it will load when the cause is gone."""
MAX_REASON = 500


def open_engine(path: str, data: Path, database: str) -> tuple[Connection, tuple[DetachedTable, ...]]:
    """Open the engine; returns its first handle, and the tables that are not loaded.

    RuntimeError, with the engine's own words, when no table is the cause, or a table of this database whose definition is
    damaged, because it would be made anew without its rows, or which would load but for something outside.
    """
    causes: dict[Path, str] = {}
    while True:
        try:
            handle = _connect(path)
        except RuntimeError as problem:
            file = _set_aside(str(problem), data, (data / "metadata" / database).resolve())
            if file is None:
                raise
            causes[file] = str(problem)
        else:
            return handle, (*_attach_again(handle, data), *_list_set_aside(data, causes))


def _connect(path: str) -> Connection:
    """Open the engine. RuntimeError with what it wrote on standard error, because its exception names no cause."""
    with _captured_errors() as read_errors:
        try:
            return Connection(path)
        except RuntimeError as problem:
            raise RuntimeError(read_errors() or str(problem)) from None


@contextlib.contextmanager
def _captured_errors() -> Iterator[Callable[[], str]]:
    """Standard error goes into memory inside the block."""
    saved, memory = os.dup(2), os.memfd_create("errors")
    os.dup2(memory, 2)
    try:
        yield lambda: os.pread(memory, 1 << 16, 0).decode("utf-8", errors="replace").strip()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(memory)


def _set_aside(problem: str, data: Path, own: Path) -> Path | None:
    """Set the definition aside that the engine could not load: mark its table as detached; if it is and its text is read
    all the same, rename the file. None when neither is possible. `own` is the folder of the daemon's own definitions.

    The problem may quote text of the table, which may name other definitions. So a mark is taken back if the table can be
    attached, and a file is renamed only when words that quote nothing name it.
    """
    last = _LAST_NAME.search(problem)
    spared = {data.resolve() / "metadata"} | ({own} if last and last["name"] in _NOT_ITS_FAULT else set())
    for match in _METADATA_FILE.finditer(problem):
        file = data / match["path"]
        folder = file.resolve().parent
        flag = file.with_suffix(_FLAG)
        if _is_definition(file, data) and folder not in spared and not flag.exists():
            _mark(flag)
            return file
    damaged = next(filter(None, (pattern.search(problem) for pattern in _DAMAGED_FILES)), None)
    file = _locate(damaged["path"], data) if damaged else data
    if not _is_definition(file, data) or file.resolve().parent == own:
        return None
    file.rename(file.with_suffix(_ASIDE))
    file.with_suffix(_FLAG).unlink(missing_ok=True)
    return file


def _mark(flag: Path) -> None:
    with os.fdopen(create_file(flag), "wb") as file:
        file.write(_OUR_FLAG)


def _locate(path: str, data: Path) -> Path:
    """The file of that path in the engine's folder; a named collection's has no folder in the engine's words."""
    return data / path if "/" in path else data / "named_collections" / path


def _is_definition(file: Path, data: Path) -> bool:
    return file.is_file() and not file.is_symlink() and file.resolve().is_relative_to(data.resolve())


def _attach_again(handle: Connection, data: Path) -> Iterator[DetachedTable]:
    """Attach what was detached at this start or an earlier one; the tables that still cannot be."""
    for database, table, path in _read(handle, _DETACHED):
        flag = (data / path).with_suffix(_FLAG)
        if not flag.is_file() or flag.read_bytes() != _OUR_FLAG:
            continue
        try:
            _read(handle, f"ATTACH TABLE {quote_name(database)}.{quote_name(table)}")
        except ENGINE_ERRORS as problem:
            yield DetachedTable(f"{database}.{table}", parse_failure(problem).text[:MAX_REASON])


def _list_set_aside(data: Path, causes: Mapping[Path, str]) -> Iterator[DetachedTable]:
    """The tables and databases whose definitions were renamed, at this start or an earlier one."""
    folders = {link.resolve(): link.name for link in (data / "metadata").iterdir() if link.is_symlink()}
    for file in sorted([*data.glob(f"store/*/*/*{_ASIDE}"), *data.glob(f"[mn]*/*{_ASIDE}")]):
        words = [folders.get(file.resolve().parent, ""), file.name.removesuffix(_ASIDE)]
        name = ".".join(unquote(word) for word in words if word)
        reason = causes.get(file.with_name(file.name.removesuffix(".bak")), "")
        yield DetachedTable(name, f"{reason[:MAX_REASON]}; its definition is now {file.relative_to(data)}".lstrip("; "))


def _read(handle: Connection, sql: str) -> list[list[str]]:
    run: Any = handle.query  # chDB declares text, and takes bytes too
    return [json.loads(line) for line in run(encode(sql), "JSONCompactEachRow").bytes().splitlines()]
