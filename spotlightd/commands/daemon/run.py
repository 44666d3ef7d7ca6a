"""`run`: the daemon."""

from __future__ import annotations

import argparse

from spotlightd.commands.command import Command, read_settings
from spotlightd.commands.output import Out
from spotlightd.runtime import daemon
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Run the daemon until SIGTERM; SIGHUP reads the settings again."""
    del out
    await daemon.run(settings, lambda: read_settings(arguments))
    return 0


COMMAND = Command(
    "run", "run the daemon until SIGTERM", "spotlightd run --config /etc/spotlightd.toml", (), run, is_daemon=True
)
