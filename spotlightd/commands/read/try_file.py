"""`try`: parses one file as the daemon would, and stores nothing."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.confinement.answers import read_fields, read_list, read_number, read_object, read_text
from spotlightd.confinement.confine import is_whole
from spotlightd.errors import SettingsError
from spotlightd.model.provenance import Reject
from spotlightd.printable import escape_text
from spotlightd.runtime.catalog import load_catalog, load_source
from spotlightd.settings.settings import Settings
from spotlightd.workers.child_process import read_document


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Parse the file in a confined child and print rows and rejects. FormatError as the daemon would raise it."""
    file: Path = arguments.file
    if not await asyncio.to_thread(file.is_file):
        raise SettingsError(f"there is no file {file}")
    request = _make_request(arguments, settings)
    confinement, preview = await read_document(
        "spotlightd.workers.preview_child", request, settings.parser, _read_preview
    )
    if not is_whole(confinement):
        out.note(f"the child process that parsed it was not confined: {confinement}")
    _print_preview(out, preview)
    return 0


def _make_request(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    file: Path = arguments.file
    place, source = _find_source(arguments.source, settings)
    return {"place": place, "source": source, "path": str(file.absolute()), "name": file.name, "rows": arguments.rows}


def _find_source(name: str, settings: Settings) -> tuple[str, str]:
    """The module or file of the source, and the source's name."""
    if name.endswith(".py"):
        path = Path(name).absolute()
        return str(path), load_source(path).name
    catalog = load_catalog(settings)
    for source in catalog.sources:
        if source.name == name:
            return catalog.places[name], name
    raise SettingsError(f"no source is called {name!r}; name one that `spotlightd sources` lists, or a .py file")


def _read_preview(answer: Any) -> Mapping[str, Any]:
    """The child's answer, whose fields have the types that are printed."""
    rows, samples, count, rejects = read_fields(answer, "rows", "samples", "count", "rejects")
    for number in (count, *read_fields(rows, *read_object(samples))):
        read_number(number)
    for row in chain.from_iterable(map(read_list, samples.values())):
        read_object(row)
    for reject in read_list(rejects):
        _, line, text, reason, _ = read_fields(reject, *(field.name for field in fields(Reject)))
        read_number(line)
        read_text(text)
        read_text(reason)
    return read_object(answer)


def _print_preview(out: Out, preview: Mapping[str, Any]) -> None:
    rows, samples, rejects = preview["rows"], preview["samples"], preview["rejects"]
    if out.as_json:
        out.value({"rows": rows, "shown": samples, "rejects": preview["count"], "rejected": rejects})
        return
    for name, sample in samples.items():
        columns = list(sample[0]) if sample else []
        out.table(columns, [list(row.values()) for row in sample], title=f"{name}: {rows[name]:,} rows")
    for reject in rejects:
        out.result(f"line {reject['line']} rejected: {reject['reason']}: {escape_text(reject['text'][:200])}")
    out.result(f"{sum(rows.values()):,} rows, {preview['count']:,} rejected lines")


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
