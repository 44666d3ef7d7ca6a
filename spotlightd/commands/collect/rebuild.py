"""`rebuild`: rewrites the warehouse's copies of the ledger's records."""

from __future__ import annotations

import argparse

from spotlightd.commands.command import Command
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.flows.loads.mirror import rebuild_mirror
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Copy all records from the ledger again. The daemon must be stopped."""
    del arguments
    if find_daemon(settings) is not None:
        raise SettingsError("the daemon is running: stop it first, so that the ledger does not change")
    async with open_instance(settings) as instance:
        partitions = await instance.partitions.partitions()
        rows = await rebuild_mirror(instance.ledger, instance.warehouse, instance.archives, partitions)
    out.result(f"{rows:,} records copied from the ledger", {"rows": rows})
    return 0


COMMAND = Command(
    "rebuild",
    "copy the ledger's records into the warehouse again, except those in the archive",
    "spotlightd rebuild",
    (),
    run,
)
