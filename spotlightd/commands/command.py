"""What one command is, and how the commands are found: each module of the package has its `COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import ModuleType
from typing import Any

from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.settings.load import load_settings
from spotlightd.settings.settings import Settings

Run = Callable[[argparse.Namespace, Settings, Out], Coroutine[Any, Any, int]]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command, as `add_argument` of argparse takes it."""

    names: tuple[str, ...]
    options: Mapping[str, Any]


def argument(*names: str, **options: Any) -> Argument:
    """An argument: `argument("--rows", type=int, default=10, help="…")`."""
    return Argument(names, options)


@dataclass(frozen=True, slots=True)
class Command:
    """`spotlightd NAME`. `help` is one line that begins in lower case and has no full stop; `run` returns the exit status.

    `is_daemon`: the process logs at the level of the settings. All other commands log warnings and errors only.
    """

    name: str
    help: str
    example: str
    arguments: tuple[Argument, ...]
    run: Run
    is_daemon: bool = False


def find_commands(package: ModuleType) -> tuple[Command, ...]:
    """The `COMMAND` of every module in the package and in its folders, sorted by name."""
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    commands = [getattr(importlib.import_module(name), "COMMAND", None) for name in names]
    return tuple(sorted(filter(None, commands), key=lambda command: command.name))


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of `--config` and `--state`."""
    settings = load_settings(arguments.config)
    return settings if arguments.state is None else replace(settings, state_dir=arguments.state)


def parse_day(text: str) -> date:
    """The day of an argument such as 2021-01-31."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2021-01-31") from None


def day_range(first: str, last: str) -> tuple[Argument, Argument]:
    """`--from` and `--to` with these descriptions, as `arguments.first` and `arguments.last`."""
    return (
        argument("--from", dest="first", type=parse_day, default=date.min, metavar="DAY", help=first),
        argument("--to", dest="last", type=parse_day, default=date.max, metavar="DAY", help=last),
    )


def check_day_range(first: date, last: date) -> None:
    if first > last:
        raise SettingsError(f"--from {first} is after --to {last}")
