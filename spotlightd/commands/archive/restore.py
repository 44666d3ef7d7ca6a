"""`restore`: the rows of an archived partition come back into the warehouse, or into a table of their own."""

from __future__ import annotations

import argparse

from spotlightd.commands.archive.jobs import make_partition_job, run_job
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import require_ledger
from spotlightd.errors import SettingsError
from spotlightd.model.dataset import NAME
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Restore one partition."""
    require_ledger(settings)
    if arguments.into and not NAME.match(arguments.into):
        raise SettingsError(f"--into {arguments.into!r}: use lower case letters, digits and _")
    return await run_job(make_partition_job("restore", arguments, arguments.into), settings, out)


COMMAND = Command(
    "restore",
    "copy the rows of an archived partition back into the warehouse",
    "spotlightd restore trades --partition 20260131-0 --into january",
    (
        argument("dataset", metavar="DATASET", help="the dataset of the partition"),
        argument("--partition", required=True, metavar="NAME", help="the name in `archive status`: 20260131-0"),
        argument(
            "--into", default="", metavar="TABLE", help="a new table with this name, instead of the dataset's own"
        ),
    ),
    run,
)
