"""The command line: finds the commands, reads the arguments, runs one command, returns its exit status.

A command without a running daemon opens the state folder itself. Beside a running daemon it uses the warehouse address
and secret that the daemon leaves in its state folder for its own user.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from spotlightd import __version__, commands, log
from spotlightd.commands.command import Command, find_commands, read_settings
from spotlightd.commands.output import Out
from spotlightd.confinement.process import hide_memory
from spotlightd.errors import (
    FormatError,
    InUseError,
    PublisherError,
    SettingsError,
    SpotlightError,
    StoreError,
    find_cause,
)
from spotlightd.runtime.access import read_known_secrets
from spotlightd.settings.describe import find_secrets
from spotlightd.workers.child_setup import block_pandas

EXIT = """exit status:
   0  done; for verify and audit: the data are the same
   1  the data differ, or a part of the work failed
   2  the command line is wrong
  65  a document is not what its source describes
  69  a publisher, or the daemon, did not answer
  74  the warehouse, documents, ledger or disk failed
  75  the state folder is in use by another daemon
  78  a setting must be corrected first
"""
STATUSES: tuple[tuple[type[SpotlightError], int], ...] = (
    (InUseError, 75),
    (FormatError, 65),
    (PublisherError, 69),
    (StoreError, 74),
    (SettingsError, 78),
)


def build_parser(package: ModuleType = commands) -> argparse.ArgumentParser:
    """The parser with every command of that package."""
    parser = argparse.ArgumentParser(
        prog="spotlightd",
        description="Collects what powerful institutions must publish; stores it, shows it and cites it, with receipts.",
        epilog=EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spotlightd {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in find_commands(package):
        _fill_parser(
            subparsers.add_parser(
                command.name,
                help=command.help,
                description=f"{command.help[0].upper()}{command.help[1:]}.",
                epilog=f"example:\n  {command.example}",
                formatter_class=argparse.RawDescriptionHelpFormatter,
            ),
            command,
        )
    return parser


def _fill_parser(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.set_defaults(command=command)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; default: no file, all defaults")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder that holds all data (default: state_dir)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    for argument in command.arguments:
        parser.add_argument(*argument.names, **argument.options)


def _report(out: Out, error: SpotlightError) -> int:
    out.error(error)
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def main(argv: Sequence[str] | None = None, package: ModuleType = commands) -> int:
    """Run one command; returns its exit status."""
    block_pandas()
    hide_memory()
    sys.excepthook = log.print_traceback
    arguments = build_parser(package).parse_args(argv)
    command: Command = arguments.command
    if command.is_daemon:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the daemon reloads on it: it must never end on it
    out = Out(as_json=arguments.json, file_mode=0o666 & ~os.umask(0o077))  # what the daemon writes is its user's alone
    try:
        settings = read_settings(arguments)
        log.configure(settings.log.level if command.is_daemon else "warning", settings.log.format)
        for secret in (*find_secrets(settings), *read_known_secrets(settings)):
            log.add_secret(secret)
        return asyncio.run(command.run(arguments, settings, out))
    except SpotlightError as error:
        return _report(out, error)
    except BaseExceptionGroup as group:
        cause = find_cause(group)
        if cause is None:
            raise
        return _report(out, cause)
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
