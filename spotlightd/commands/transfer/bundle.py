"""`bundle`: writes one file with rows and the documents or frames they come from, for another instance."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd import __version__
from spotlightd.clients.bundle import BundleWriter, WrittenBundle
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.commands.command import Command, argument, check_day_range, day_range
from spotlightd.commands.output import Out
from spotlightd.commands.session import open_ledger, open_session
from spotlightd.errors import SettingsError
from spotlightd.flows.bundle.select import DayRange, ExportContext, Selection, select_loads
from spotlightd.flows.bundle.writer import write_bundle
from spotlightd.log import logger
from spotlightd.model.bundle import Manifest
from spotlightd.settings.settings import Settings
from spotlightd.workers.verifier import ChildVerifier


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Write the visible rows of these days and their documents or frames. Works beside a running daemon too."""
    days = DayRange(arguments.first, arguments.last)
    check_day_range(days.first, days.last)
    path: Path = arguments.out or Path(_default_name(arguments.dataset, days))
    async with open_session(settings) as session, open_ledger(settings) as ledger:
        dataset = session.find_dataset(arguments.dataset)
        with _scratch_folder(path) as scratch:
            verifier = ChildVerifier(settings.verifier, logger(flow="bundle").info)
            context = ExportContext(
                session.warehouse, session.documents, ledger, SqlitePositions(ledger), session.archives, verifier,
                session.catalog.feeds, scratch,
            )  # fmt: skip
            selection = await select_loads(context, dataset, days, await session.take_snapshot())
            async with BundleWriter(path, out.file_mode) as writer:
                with out.progress(f"bundle {dataset.name}") as progress:
                    manifest = await write_bundle(context, selection, __version__, writer, progress)
                bundle = await writer.finish(manifest)
    _print_result(out, path, manifest, bundle, selection)
    return 0


def _default_name(dataset: str, days: DayRange) -> str:
    first = "" if days.first == date.min else f"-{days.first}"
    last = "" if days.last == date.max else f"-{days.last}"
    return f"{dataset}{first}{last}.bundle.tar"


@contextmanager
def _scratch_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside the bundle: that disk must have room for the bundle in any case."""
    folder = path.absolute().parent
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder)
    except OSError as error:
        raise SettingsError(f"--out {path}: {folder} cannot be written to: {error.strerror}") from None
    with scratch as name:
        yield Path(name)


def _print_result(out: Out, path: Path, manifest: Manifest, bundle: WrittenBundle, selection: Selection) -> None:
    rows = sum(fingerprint.rows for load in manifest.loads for fingerprint in load.rows.values())
    left_out = [load.covers for load in selection.open]
    for covers in left_out:
        out.note(f"{covers} is still being received and is left out: bundle it when its day is over")
    are_documents = all(load.document for load in manifest.loads)
    origin = "documents" if are_documents else "documents and parts of received days"
    facts: dict[str, Any] = {
        "file": str(path), "bytes": bundle.size, "sha256": bundle.sha256, "rows": rows, "loads": len(manifest.loads),
        "left_out": left_out,
    }  # fmt: skip
    summary = f"{rows:,} rows from {len(manifest.loads):,} {origin}, {bundle.size:,} bytes in {path}"
    out.result(f"{summary}\nSHA-256 {bundle.sha256}", facts)


COMMAND = Command(
    "bundle",
    "write rows and the documents or frames they come from into one file, for another instance to import",
    "spotlightd bundle sec_ftd --from 2021-01-01 --to 2021-01-31 --out january.bundle.tar",
    (
        argument("dataset", metavar="DATASET", help="name of a dataset"),
        *day_range(
            "first day of rows, 2021-01-31; a document with rows of these days is included as a whole",
            "last day of rows, included",
        ),
        argument(
            "--out", type=Path, metavar="FILE", help="the file to write (default: DATASET-FROM-TO.bundle.tar here)"
        ),
    ),
    run,
)
