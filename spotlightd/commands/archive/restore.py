"""`restore`: the rows of an archived partition come back into the warehouse, or into a table of their own. Or a whole
backup becomes a new state folder.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from spotlightd.clients.age import Transform, load_decryption
from spotlightd.commands.archive.jobs import make_partition_job, run_job
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import parse_as_of, require_ledger
from spotlightd.commands.transfer.backup import hold_backups, open_target
from spotlightd.errors import SettingsError
from spotlightd.flows.backup.record import note_backup
from spotlightd.model.dataset import NAME
from spotlightd.ports.progress import Progress
from spotlightd.ports.storage import Bucket
from spotlightd.runtime.restoring import Restored, restore_on_trial, restore_state
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Restore one partition, or a backup."""
    _check_arguments(arguments)
    if arguments.backup:
        return await _restore_backup(arguments, settings, out)
    require_ledger(settings)
    if arguments.into and not NAME.match(arguments.into):
        raise SettingsError(f"--into {arguments.into!r}: use lower case letters, digits and _")
    return await run_job(make_partition_job("restore", arguments, arguments.into), settings, out)


def _check_arguments(arguments: argparse.Namespace) -> None:
    """SettingsError unless the arguments are those of one of the two kinds of restore."""
    is_partition = bool(arguments.dataset and arguments.partition)
    if arguments.backup and (arguments.dataset or arguments.partition or arguments.into):
        raise SettingsError("--backup restores everything: it takes no dataset, no --partition and no --into")
    if not arguments.backup and (not is_partition or arguments.at or arguments.trial or arguments.key):
        raise SettingsError(
            "name a dataset and --partition, or a backup with --backup; --at, --key and --trial belong to --backup"
        )


async def _restore_backup(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    at = parse_as_of(arguments.at, "--at")
    folder = None if arguments.backup == "bucket" else Path(arguments.backup)
    decrypt = load_decryption(arguments.key) if arguments.key else None
    async with open_target(folder, settings) as (source, prefix):
        with out.progress("restore") as progress:
            if arguments.trial:
                restored = await _try_backup(settings, source, prefix, at, progress, decrypt)
            else:
                restored = await restore_state(settings, source, prefix, at, progress, decrypt)
    what_next = (
        "this was a trial: everything was there, and the copy is removed"
        if arguments.trial
        else "start the daemon, then check the rows with `spotlightd audit`"
    )
    where = "a folder of its own" if arguments.trial else settings.state_dir
    rows = sum(restored.rows.values())
    facts = {
        "started": restored.manifest.started, "release": restored.manifest.release, "rows": rows,
        "documents": restored.documents, "objects": restored.objects, "tables": dict(restored.rows),
    }  # fmt: skip
    out.result(
        f"the backup of {restored.manifest.started:%Y-%m-%d %H:%M:%S} is in {where}: {rows:,} rows,"
        f" {restored.documents:,} documents, {restored.objects:,} objects of the bucket\n"
        f"{what_next}",
        facts,
    )
    return 0


async def _try_backup(
    settings: Settings,
    source: Bucket,
    prefix: str,
    at: datetime | None,
    progress: Progress,
    decrypt: Transform | None,
) -> Restored:
    """Restore beside the state, and note that it went well."""
    require_ledger(settings)
    with hold_backups(settings.state_dir) as scratch:
        restored = await restore_on_trial(settings, source, prefix, at, scratch / "trial", progress, decrypt)
        note_backup(settings.state_dir, "tried", restored.manifest.started)
    return restored


COMMAND = Command(
    "restore",
    "copy the rows of an archived partition back into the warehouse, or a backup into a new state folder",
    "spotlightd restore trades --partition 20260131-0 --into january",
    (
        argument("dataset", nargs="?", metavar="DATASET", help="the dataset of the partition"),
        argument("--partition", metavar="NAME", help="the name in `archive status`: 20260131-0"),
        argument(
            "--into", default="", metavar="TABLE", help="a new table with this name, instead of the dataset's own"
        ),
        argument(
            "--backup",
            metavar="DIR|bucket",
            help="restore a whole backup: from this folder, or from the bucket of the settings",
        ),
        argument(
            "--at",
            default="",
            metavar="TIME",
            help="with --backup: the newest backup that began by then, 2026-01-31T04:00",
        ),
        argument(
            "--key",
            type=Path,
            metavar="FILE",
            help="with --backup: the file with the secret key of age, for a backup that is encrypted",
        ),
        argument(
            "--trial",
            action="store_true",
            help="with --backup: restore beside the state, compare, and remove the copy; the daemon may run",
        ),
    ),
    run,
)
