"""`export`: writes rows of a dataset to a file or to standard output."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import Session, open_session, parse_conditions
from spotlightd.errors import SettingsError, StoreError
from spotlightd.files import replace_file
from spotlightd.printable import TerminalFile
from spotlightd.query.outputs import OUTPUTS
from spotlightd.query.question import Question
from spotlightd.query.select import select_download
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Stream the rows. A file gets its name only when it is complete."""
    async with open_session(settings) as session:
        question = _make_question(arguments, session)
        snapshot = await session.take_snapshot(question.as_of)
        query, output = select_download(question, snapshot), OUTPUTS[arguments.format]
        sql = f"{query.sql} SETTINGS {output.settings}"
        async with session.warehouse.stream(sql, output.format, query.params) as blocks:
            if arguments.to is None:
                await _copy(blocks, TerminalFile(sys.stdout) if sys.stdout.isatty() else sys.stdout.buffer)
                return 0
            size = await _write_file(blocks, arguments.to, out.file_mode)
    name = question.dataset.name
    facts = {"bytes": size, "file": str(arguments.to), "dataset": name}
    out.result(f"{size:,} bytes of {name} in {arguments.to}", facts)
    return 0


def _make_question(arguments: argparse.Namespace, session: Session) -> Question:
    dataset = session.find_dataset(arguments.dataset)
    if not all("=" in condition for condition in arguments.where):
        raise SettingsError("--where is COLUMN=VALUE, or COLUMN__gte=VALUE and so on")
    pairs = [(name, value) for name, _, value in (condition.partition("=") for condition in arguments.where)]
    if arguments.as_of:
        pairs.append(("as_of", arguments.as_of))
    if arguments.safe and arguments.format != "csv":
        raise SettingsError(
            f"--safe is for csv: a spreadsheet takes no text of a {arguments.format} file for a formula"
        )
    if arguments.safe:
        pairs.append(("_safe", "1"))
    return parse_conditions(dataset, pairs)


async def _copy(blocks: AsyncIterator[bytes], out: BinaryIO | TerminalFile) -> int:
    size = 0
    async for block in blocks:
        size += await asyncio.to_thread(out.write, block)
    await asyncio.to_thread(out.flush)
    return size


async def _write_file(blocks: AsyncIterator[bytes], path: Path, mode: int) -> int:
    try:
        with replace_file(path, mode) as file:
            return await _copy(blocks, file)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


COMMAND = Command(
    "export",
    "write a dataset, or a part of it, to a file or to standard output",
    "spotlightd export sec_ftd --format parquet --where symbol=GME --to gme.parquet",
    (
        argument("dataset", metavar="DATASET", help="name of a dataset"),
        argument(
            "--format",
            choices=("parquet", "csv", "arrow", "ndjson"),
            default="csv",
            help="format of the file (default: csv)",
        ),
        argument(
            "--where",
            action="append",
            default=[],
            metavar="COLUMN=VALUE",
            help="only rows with this value; also COLUMN__gte=VALUE and so on, as in the explorer's addresses",
        ),
        argument("--as-of", metavar="TIME", default="", help="as known at that time: 2021-03-01 or RFC 3339"),
        argument(
            "--safe",
            action="store_true",
            help="csv for a spreadsheet: a quote before each text that it would take for a formula",
        ),
        argument("--to", type=Path, metavar="FILE", help="the file to write (default: standard output)"),
    ),
    run,
)
