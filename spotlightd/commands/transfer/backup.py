"""`backup`: writes what a state folder holds to a folder or to the bucket, beside a running daemon too."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spotlightd import __version__
from spotlightd.clients.age import load_encryption
from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.clients.sqlite import copy_database
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import Session, open_session, require_ledger
from spotlightd.datasets.system import SYSTEM_DATASETS, archives, loads
from spotlightd.errors import InUseError, SettingsError
from spotlightd.files import open_lock
from spotlightd.flows.backup.context import BackupContext
from spotlightd.flows.backup.prune import Pruned, prune
from spotlightd.flows.backup.record import FOLDER, RECORDS, note_backup
from spotlightd.flows.backup.writer import WrittenBackup, write_backup
from spotlightd.model.dataset import Dataset
from spotlightd.model.stream import frames_of
from spotlightd.model.text import count
from spotlightd.ports.storage import Bucket
from spotlightd.runtime.catalog import Catalog
from spotlightd.runtime.instance import LEDGER_FILE, bucket_folder, make_bucket
from spotlightd.runtime.restoring import SETTINGS_FILE
from spotlightd.settings.settings import Settings

PREFIX = "backup/"
"""The prefix of a backup in the configured bucket. A folder of its own needs none."""


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Write a backup, then remove those that are too many."""
    require_ledger(settings)
    _check_keep(arguments)
    _check_target(arguments.to, settings)
    with hold_backups(settings.state_dir) as scratch:
        async with (
            open_session(settings) as session,
            open_target(arguments.to, settings) as (target, prefix),
            make_bucket(settings)[0] as bucket,
        ):
            context = make_context(arguments.config, settings, session, bucket, target, prefix, scratch)
            if arguments.key:
                context = replace(context, encrypt=load_encryption(arguments.key))
            with out.progress("backup") as progress:
                written = await write_backup(context, progress)
        note_backup(settings.state_dir, "written", written.manifest.started)
        pruned = await _prune(arguments.to, arguments.keep)
    _print_result(out, written, pruned, str(arguments.to or "the bucket"))
    return 0


async def _prune(folder: Path | None, keep: int | None) -> Pruned:
    if folder is None or keep is None:
        return Pruned(0, 0)
    async with FolderBucket(folder) as target:
        return await prune(target, "", keep)


@asynccontextmanager
async def open_target(folder: Path | None, settings: Settings) -> AsyncIterator[tuple[Bucket, str]]:
    """Where backups are, and the prefix of their objects: a folder, or the configured bucket."""
    if folder is None:
        async with make_bucket(settings)[0] as bucket:
            yield bucket, PREFIX
        return
    async with FolderBucket(folder) as bucket:
        yield bucket, ""


def _is_inside(folder: Path, state: Path) -> bool:
    return folder.resolve().is_relative_to(state.resolve())


def _check_target(folder: Path | None, settings: Settings) -> None:
    """SettingsError for a backup on the disk that it is a backup of."""
    if folder is not None and _is_inside(folder, settings.state_dir):
        raise SettingsError(f"--to {folder} is in the state folder: name a folder on another disk")
    if folder is None and _copies_bucket(settings):
        raise SettingsError("the bucket is a folder in the state folder: name a folder on another disk with --to")


def _check_keep(arguments: argparse.Namespace) -> None:
    """SettingsError for a number that cannot be kept, or a target where nothing may be removed."""
    if arguments.keep is not None and arguments.to is None:
        raise SettingsError("--keep belongs to --to: the key of the bucket may remove nothing")
    if arguments.keep is not None and arguments.keep < 1:
        raise SettingsError(f"--keep {arguments.keep}: keep at least 1 backup")


def _copies_bucket(settings: Settings) -> bool:
    state = settings.state_dir.absolute()
    return settings.bucket.kind == "folder" and _is_inside(bucket_folder(settings.bucket, state), state)


@contextmanager
def hold_backups(state: Path) -> Iterator[Path]:
    """The folder of the files in hand. One backup, trial or rehearsal at a time: InUseError."""
    folder = state / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    file = open_lock(folder / "lock")
    try:
        _lock(file, state)
        _remove_leftovers(folder)  # of a process that was killed
        try:
            yield folder
        finally:
            _remove_leftovers(folder)
    finally:
        os.close(file)


def _lock(file: int, state: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUseError(f"a backup, a trial or a rehearsal of {state} is running: wait until it ends") from None


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover.name not in {"lock", *RECORDS}:
            leftover.unlink()


def make_context(
    config: Path | None,
    settings: Settings,
    session: Session,
    bucket: Bucket,
    target: Bucket,
    prefix: str,
    scratch: Path,
) -> BackupContext:
    state = settings.state_dir.absolute()
    sources = state / "sources"
    files = {("source", path.relative_to(sources).as_posix()): path for path in sorted(sources.rglob("*.py"))}
    if config is not None:
        files["settings", SETTINGS_FILE] = config
    documents = FolderDocuments(state / "documents")  # only read: it may belong to a daemon
    streamed = tuple(stream.dataset.name for stream in session.catalog.streams)
    return BackupContext(
        warehouse=session.warehouse, documents=documents, bucket=bucket, copies_bucket=_copies_bucket(settings),
        target=target, prefix=prefix, datasets=_order(session.catalog), streamed=streamed,
        copy_ledger=partial(copy_database, state / LEDGER_FILE), files=files, scratch=scratch, release=__version__,
    )  # fmt: skip


def _order(catalog: Catalog) -> tuple[Dataset, ...]:
    """Indexes, then what is computed before what it is computed from, frames last."""
    computed = [dataset for made in reversed(catalog.computed) for dataset in made.datasets]
    streamed = [stream.dataset for stream in catalog.streams]
    frames = [frames_of(stream) for stream in catalog.streams]
    others = [dataset for dataset in (*catalog.datasets, *SYSTEM_DATASETS) if dataset not in frames]
    return tuple(dict.fromkeys((loads, archives, *computed, *streamed, *others, *frames)))


def _print_result(out: Out, written: WrittenBackup, pruned: Pruned, target: str) -> None:
    manifest = written.manifest
    size = sum(item.size for item in manifest.objects)
    facts: dict[str, Any] = {
        "manifest": written.key, "started": manifest.started, "objects": len(manifest.objects), "bytes": size,
        "rows": sum(item.rows for item in manifest.objects), "new_objects": written.new_objects,
        "new_bytes": written.new_bytes, "passes": written.passes, "removed_backups": pruned.backups,
        "removed_objects": pruned.objects,
    }  # fmt: skip
    removed = (
        f"\nremoved: {count(pruned.backups, 'older backup')}, {count(pruned.objects, 'object')}"
        if pruned.objects
        else ""
    )
    out.result(
        f"{len(manifest.objects):,} objects with {size:,} bytes are in {target}; {written.new_objects:,} of them, with"
        f" {written.new_bytes:,} bytes, are new\n{written.key}{removed}",
        facts,
    )


COMMAND = Command(
    "backup",
    "write ledger, tables, documents and own sources to a folder or to the bucket; the daemon may run",
    "spotlightd backup --to /mnt/backup/spotlightd",
    (
        argument(
            "--to",
            type=Path,
            metavar="DIR",
            help="a folder on another disk (default: the bucket of the settings, under backup/)",
        ),
        argument(
            "--key",
            type=Path,
            metavar="FILE",
            help="encrypt the objects for the key in this file: a public key of age (default: they are plain)",
        ),
        argument(
            "--keep",
            type=int,
            metavar="NUMBER",
            help="with --to: remove older backups, until there are so many (default: none is removed)",
        ),
    ),
    run,
)
