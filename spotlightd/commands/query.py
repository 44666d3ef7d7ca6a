"""Commands that look at data: try a file, query in SQL, export a dataset."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from spotlightd.commands.output import Out
from spotlightd.commands.session import Reading, moment_of, names, pinned, reading, understood
from spotlightd.errors import SettingsError, StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, Rows
from spotlightd.ports.warehouse import Limits
from spotlightd.query import filters, select
from spotlightd.runtime.catalog import catalog, load_source
from spotlightd.settings.settings import Settings
from spotlightd.sql.visibility import Snapshot, qualify_tables, visible_condition
from spotlightd.sql.visibility import table_expression as read_from
from spotlightd.web.pages.export import OUTPUTS
from spotlightd.workers.inline import parse_inline

MOST_ROWS = 100_000
LEAD = r"^(?:\s|--[^\n]*\n|/\*.*?\*/)*"
READS = re.compile(LEAD + r"(SELECT|WITH|SHOW|DESCRIBE|DESC|EXPLAIN|EXISTS)\b", re.IGNORECASE | re.DOTALL)
SELECTS = re.compile(LEAD + r"(SELECT|WITH(?:\s+RECURSIVE)?)\b", re.IGNORECASE | re.DOTALL)


async def attempt(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Parse one file and show what came of it; nothing is stored. FormatError as the daemon would raise it."""
    file: Path = arguments.file
    if not await asyncio.to_thread(file.is_file):
        raise SettingsError(f"there is no file {file}")
    source = _source(arguments.source, settings)
    rows: dict[str, int] = {}
    shown: dict[str, list[dict[str, Any]]] = {}
    rejects: list[Reject] = []
    for found in await asyncio.to_thread(lambda: list(parse_inline(source, file, file.name, settings.parser))):
        if isinstance(found, Rows):
            name = found.dataset.name
            rows[name] = rows.get(name, 0) + found.columns.num_rows
            wanted = arguments.rows - len(shown.setdefault(name, []))
            shown[name] += found.columns.slice(0, max(wanted, 0)).to_pylist()
        else:
            rejects.append(found)
    _show(out, rows, shown, rejects[: arguments.rows], len(rejects))
    return 0


def _source(name: str, settings: Settings) -> Batch:
    if name.endswith(".py"):
        return load_source(Path(name))
    for source in catalog(settings).sources:
        if source.name == name:
            return source
    raise SettingsError(f"no source is called {name!r}; name one that `spotlightd sources` lists, or a .py file")


def _show(
    out: Out, rows: dict[str, int], shown: dict[str, list[dict[str, Any]]], rejects: Sequence[Reject], all_rejects: int
) -> None:
    if out.as_json:
        told = [{"member": one.member, "line": one.line, "reason": one.reason, "text": one.text} for one in rejects]
        out.value({"rows": rows, "shown": shown, "rejects": all_rejects, "rejected": told})
        return
    for name, some in shown.items():
        names = list(some[0]) if some else []
        out.table(names, [list(row.values()) for row in some], title=f"{name}: {rows[name]:,} rows")
    for one in rejects:
        out.say(f"line {one.line} rejected: {one.reason}: {one.text[:200]}")
    out.say(f"{sum(rows.values()):,} rows, {all_rejects:,} rejected lines")


async def query(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Run the operator's own SQL. A dataset's bare name means its rows as visible at one publication."""
    sql = arguments.sql.strip().rstrip(";")
    if not READS.match(sql):
        raise SettingsError("query only reads: begin with SELECT, WITH, SHOW, DESCRIBE, EXPLAIN or EXISTS")
    async with reading(settings) as here:
        pin = await pinned(here.warehouse, here.archives, moment_of(arguments.as_of))
        text, params = with_visible(sql, here.datasets, settings.warehouse.database, pin)
        answer = await here.warehouse.rows(text, params, limits=Limits(result_rows=MOST_ROWS))
    out.table(answer.names, answer.rows)
    return 0


def with_visible(sql: str, datasets: Sequence[Dataset], database: str, pin: Snapshot) -> tuple[str, dict[str, Any]]:
    """The same SQL with each dataset that it names narrowed to what is visible at `seq`, by a WITH of that name.

    `database.dataset` still means the whole table, rows of superseded loads included.
    """
    left = pin.cold.partitions
    named = [
        one
        for one in datasets
        if (one.by_load or one.name in left) and re.search(rf"(?<![.\w`\"])[`\"]?{one.name}\b", sql)
    ]
    selects = SELECTS.match(sql)
    if not named or not selects:
        return sql, {}
    views = ", ".join(f"{one.name} AS ({_seen(one, database, pin)})" for one in named)
    if selects[1].upper() == "SELECT":
        return f"WITH {views} {sql}", {"seq": pin.seq}
    return f"{selects[1]} {views}, {sql[selects.end() :]}", {"seq": pin.seq}


def _seen(dataset: Dataset, database: str, pin: Snapshot) -> str:
    names = ", ".join(column.name for column in dataset.readable)
    return qualify_tables(f"SELECT {names} FROM {read_from(dataset, pin)} WHERE {visible_condition(dataset)}", database)


async def export(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Stream a dataset to a file, or to standard output. A file appears under its name only when it is whole."""
    async with reading(settings) as here:
        asked = _asked(arguments, here)
        pin = await pinned(here.warehouse, here.archives, asked.as_of)
        made = select.select_download(asked, pin)
        output = OUTPUTS[arguments.format]
        sql = f"{made.sql} SETTINGS {output.settings}"
        async with here.warehouse.stream(sql, output.format, made.params) as blocks:
            if arguments.to is None:
                await _pour(blocks, sys.stdout.buffer)
                return 0
            written = await _write(blocks, arguments.to)
    said = f"{written:,} bytes of {asked.dataset.name} in {arguments.to}"
    out.say(said, {"bytes": written, "file": str(arguments.to), "dataset": asked.dataset.name})
    return 0


def _asked(arguments: argparse.Namespace, here: Reading) -> filters.Question:
    dataset = next((one for one in here.datasets if one.name == arguments.dataset), None)
    if dataset is None:
        raise SettingsError(f"no dataset is called {arguments.dataset!r}; there are: {names(here.datasets)}")
    pairs = [tuple(one.split("=", 1)) for one in arguments.where if "=" in one]
    if len(pairs) != len(arguments.where):
        raise SettingsError("--where is COLUMN=VALUE, or COLUMN__gte=VALUE and so on")
    if arguments.as_of:
        pairs.append(("as_of", arguments.as_of))
    return understood(dataset, pairs)


async def _pour(blocks: AsyncIterator[bytes], out: BinaryIO) -> int:
    written = 0
    async for block in blocks:
        written += await asyncio.to_thread(out.write, block)
    await asyncio.to_thread(out.flush)
    return written


async def _write(blocks: AsyncIterator[bytes], path: Path) -> int:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            written = await _pour(blocks, file)
        part.replace(path)
    except OSError as problem:
        raise StoreError(f"{path} cannot be written: {problem.strerror}") from problem
    finally:
        part.unlink(missing_ok=True)
    return written
