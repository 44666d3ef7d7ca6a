"""`rebuild`: makes a table again that lost its rows, or all copies of the ledger's records."""

from __future__ import annotations

import argparse

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.flows.loads.mirror import rebuild_mirror
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import open_instance
from spotlightd.runtime.tables import make_table_again
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Copy all records from the ledger again, or make one table again. The daemon must be stopped."""
    if find_daemon(settings) is not None:
        raise SettingsError("the daemon is running: stop it first, so that nothing changes meanwhile")
    async with open_instance(settings, rebuild=arguments.table) as instance:
        if arguments.table:
            detail = await make_table_again(instance, arguments.table)
            out.result(detail, {"table": arguments.table, "detail": detail})
            return 0
        partitions = await instance.partitions.partitions()
        rows = await rebuild_mirror(instance.ledger, instance.warehouse, instance.archives, partitions)
    out.result(f"{rows:,} records copied from the ledger", {"rows": rows})
    return 0


COMMAND = Command(
    "rebuild",
    "copy the ledger's records into the warehouse again, except those in the archive; or make one table again",
    "spotlightd rebuild trades",
    (
        argument(
            "table",
            metavar="TABLE",
            nargs="?",
            default="",
            help="a table that was renamed, dropped or emptied: it is made again, from documents or frames if possible",
        ),
    ),
    run,
)
