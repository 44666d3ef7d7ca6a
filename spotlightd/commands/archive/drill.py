"""`drill`: proves that the archive can be restored."""

from __future__ import annotations

import argparse

from spotlightd.commands.archive.jobs import run_job
from spotlightd.commands.command import Command
from spotlightd.commands.output import Out
from spotlightd.commands.session import require_ledger
from spotlightd.ports.ledger import Job
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Restore a random archived partition to a scratch table and compare. StoreError when the rows differ."""
    del arguments
    require_ledger(settings)
    return await run_job(Job("drill"), settings, out)


COMMAND = Command(
    "drill", "restore a random archived partition to a scratch table, and compare", "spotlightd drill", (), run
)
