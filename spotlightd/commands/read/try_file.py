"""`try`: parses one file as the daemon would, and stores nothing."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, Rows
from spotlightd.runtime.catalog import load_catalog, load_source
from spotlightd.settings.settings import Settings
from spotlightd.workers.inline import parse_inline


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Parse the file and print rows and rejects. FormatError as the daemon would raise it."""
    file: Path = arguments.file
    if not await asyncio.to_thread(file.is_file):
        raise SettingsError(f"there is no file {file}")
    source = _find_source(arguments.source, settings)
    rows: dict[str, int] = {}
    samples: dict[str, list[dict[str, Any]]] = {}
    rejects: list[Reject] = []
    for block in await asyncio.to_thread(lambda: list(parse_inline(source, file, file.name, settings.parser))):
        if isinstance(block, Rows):
            name = block.dataset.name
            rows[name] = rows.get(name, 0) + block.columns.num_rows
            wanted = arguments.rows - len(samples.setdefault(name, []))
            samples[name] += block.columns.slice(0, max(wanted, 0)).to_pylist()
        else:
            rejects.append(block)
    _print_result(out, rows, samples, rejects[: arguments.rows], len(rejects))
    return 0


def _find_source(name: str, settings: Settings) -> Batch:
    if name.endswith(".py"):
        return load_source(Path(name))
    for source in load_catalog(settings).sources:
        if source.name == name:
            return source
    raise SettingsError(f"no source is called {name!r}; name one that `spotlightd sources` lists, or a .py file")


def _print_result(
    out: Out,
    rows: dict[str, int],
    samples: dict[str, list[dict[str, Any]]],
    rejects: Sequence[Reject],
    all_rejects: int,
) -> None:
    if out.as_json:
        listed = [
            {"member": reject.member, "line": reject.line, "reason": reject.reason, "text": reject.text}
            for reject in rejects
        ]
        out.value({"rows": rows, "shown": samples, "rejects": all_rejects, "rejected": listed})
        return
    for name, sample in samples.items():
        columns = list(sample[0]) if sample else []
        out.table(columns, [list(row.values()) for row in sample], title=f"{name}: {rows[name]:,} rows")
    for reject in rejects:
        out.result(f"line {reject.line} rejected: {reject.reason}: {reject.text[:200]}")
    out.result(f"{sum(rows.values()):,} rows, {all_rejects:,} rejected lines")


COMMAND = Command(
    "try",
    "parse one file and print its rows; nothing is stored",
    "spotlightd try sec_ftd cnsfails202101a.zip",
    (
        argument("source", metavar="SOURCE", help="name of a source, or a .py file that holds one"),
        argument("file", type=Path, metavar="FILE", help="the file to parse"),
        argument("--rows", type=int, default=10, help="how many rows and rejects to print (default: 10)"),
    ),
    run,
)
