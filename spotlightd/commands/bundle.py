"""Commands about bundles: bundle, import. One file with rows and the bytes they lead back to, for another instance."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd import __version__
from spotlightd.clients.bundle import BundleWriter, WrittenBundle, open_bundle
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.commands.output import Out
from spotlightd.commands.session import Reading, ledger_beside, names, pinned, reading
from spotlightd.errors import SettingsError
from spotlightd.flows.bundle import importer as bringing
from spotlightd.flows.bundle.outcome import ImportOutcome
from spotlightd.flows.bundle.select import DayRange, ExportContext, Selection, select_loads
from spotlightd.flows.bundle.writer import write_bundle
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.flows.stream.parts import Parts
from spotlightd.log import logger
from spotlightd.model.bundle import Manifest
from spotlightd.model.dataset import Dataset
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.runtime.streams import replay_of
from spotlightd.settings.settings import Settings
from spotlightd.workers.verifier import ChildVerifier

FAULTS = ("differs", "refused", "older")


async def bundle(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Visible rows of some days and what they lead back to, into one file. Beside a running daemon too."""
    days = DayRange(arguments.first, arguments.last)
    if days.first > days.last:
        raise SettingsError(f"--from {days.first} is after --to {days.last}")
    path: Path = arguments.out or Path(_name(arguments.dataset, days))
    async with reading(settings) as here, ledger_beside(settings) as ledger:
        dataset = _dataset(arguments.dataset, here)
        with _scratch(path) as scratch:
            verifier = ChildVerifier(settings.verifier, logger(flow="bundle").info)
            feeds = here.catalog.feeds
            means = ExportContext(
                here.warehouse, here.documents, ledger, SqlitePositions(ledger), here.archives, verifier, feeds, scratch
            )
            choice = await select_loads(means, dataset, days, await pinned(here.warehouse, here.archives, None))
            manifest, kept = await _written(means, choice, path, out)
    _told(out, path, manifest, kept, choice)
    return 0


def _name(dataset: str, days: DayRange) -> str:
    first = "" if days.first == date.min else f"-{days.first}"
    last = "" if days.last == date.max else f"-{days.last}"
    return f"{dataset}{first}{last}.bundle.tar"


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder for rows on their way, beside the file: there must be room for it in any case."""
    folder = path.absolute().parent
    try:
        made = tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder)
    except OSError as problem:
        raise SettingsError(f"--out {path}: {folder} cannot be written to: {problem.strerror}") from None
    with made as name:
        yield Path(name)


def _dataset(name: str, here: Reading) -> Dataset:
    for one in here.datasets:
        if one.name == name:
            return one
    raise SettingsError(f"no dataset is called {name!r}; there are: {names(here.datasets)}")


async def _written(means: ExportContext, choice: Selection, path: Path, out: Out) -> tuple[Manifest, WrittenBundle]:
    async with BundleWriter(path) as pen:
        with out.progress(f"bundle {choice.dataset.name}") as moves:
            manifest = await write_bundle(means, choice, __version__, pen, moves)
        return manifest, await pen.keep(manifest)


def _told(out: Out, path: Path, manifest: Manifest, kept: WrittenBundle, choice: Selection) -> None:
    rows = sum(mark.rows for one in manifest.loads for mark in one.rows.values())
    left = [one.covers for one in choice.open]
    for covers in left:
        out.note(f"{covers} is still being received and is left out: bundle it when its day is over")
    said = f"{rows:,} rows from {len(manifest.loads):,} {_origin(manifest)}, {kept.size:,} bytes in {path}"
    facts: dict[str, Any] = {
        "file": str(path), "bytes": kept.size, "sha256": kept.sha256, "rows": rows, "loads": len(manifest.loads),
        "left_out": left,
    }  # fmt: skip
    out.say(f"{said}\nSHA-256 {kept.sha256}", facts)


def _origin(manifest: Manifest) -> str:
    return "documents" if all(one.document for one in manifest.loads) else "documents and parts of received days"


async def bring(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Import a bundle; 1 when a part of it is not shown here as it was there. The daemon must not be at work."""
    if find_daemon(settings) is not None:
        raise SettingsError(
            "the daemon is running, and only one may load documents: stop it (`systemctl stop spotlightd`), import, and"
            " start it again"
        )
    with out.progress("import") as moves:
        async with open_bundle(arguments.file, moves) as found, open_instance(settings) as house:
            brought = await bringing.import_bundle(_means(house), found, moves)
            await mirror_records(house.stores.ledger, house.stores.warehouse, house.archives)
    _tell(out, found.manifest, brought)
    return 1 if any(one.status in FAULTS for one in brought) else 0


def _means(house: Instance) -> bringing.ImportContext:
    parts = Parts(house.stores.ledger, house.stores.publications, house.positions)
    return bringing.ImportContext(
        house.catalog.feeds,
        house.stores,
        house.archives,
        house.positions,
        lambda source: replay_of(source, house, parts),
    )


def _tell(out: Out, manifest: Manifest, brought: list[ImportOutcome]) -> None:
    for one in brought:
        if one.status in FAULTS:
            out.note(f"{one.source} {one.covers}: {one.status}: {one.detail}")
    rows, status = sum(one.rows for one in brought if one.status != "here"), Counter(one.status for one in brought)
    said = ", ".join(f"{number} {word}" for word, number in sorted(status.items()))
    loads = [
        {"source": one.source, "covers": one.covers, "came": one.status, "rows": one.rows, "says": one.detail}
        for one in brought
    ]
    out.say(
        f"{manifest.dataset}: {rows:,} rows imported; {said}",
        {"dataset": manifest.dataset, "rows": rows, "loads": loads},
    )
