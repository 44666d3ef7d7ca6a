"""The address of a running daemon: the file `daemon.json`, which the daemon writes and commands read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from spotlightd.errors import SettingsError, StoreError
from spotlightd.files import write_file
from spotlightd.log import add_secret
from spotlightd.settings.settings import Settings

ENDPOINT = "daemon.json"


@dataclass(frozen=True, slots=True)
class WarehouseAddress:
    """Where the warehouse answers, and the secret for it."""

    url: str
    user: str
    password: str
    database: str


@dataclass(frozen=True, slots=True)
class Endpoint(WarehouseAddress):
    """What a command needs to join a running daemon.

    Besides the warehouse: the explorer's address, the sources that the daemon collects, and its process. A process number
    is used again by the system, so it counts only together with the start time of the process, in the system's ticks.
    """

    web: str
    collects: tuple[str, ...]
    pid: int
    start_ticks: int


def process_start_ticks(pid: int) -> int:
    """When a process started, in ticks since the machine's start; 0 when no process has that number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.rpartition(")")[2].split()[19])


def publish_endpoint(settings: Settings, warehouse: WarehouseAddress, web: str, collects: tuple[str, ...]) -> None:
    """Write the address and secret of this process where commands of this user find them (0600)."""
    path, pid = settings.state_dir / ENDPOINT, os.getpid()
    endpoint = Endpoint(**asdict(warehouse), web=web, collects=collects, pid=pid, start_ticks=process_start_ticks(pid))
    try:
        write_file(path, json.dumps(asdict(endpoint)).encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None


def find_daemon(settings: Settings) -> Endpoint | None:
    """The running daemon of this state folder; None when there is none."""
    path = settings.state_dir / ENDPOINT
    try:
        endpoint = Endpoint(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise SettingsError(f"{path} belongs to another user: run this command as the daemon's user") from None
    except (ValueError, TypeError):
        raise SettingsError(
            f"{path} was not written by this release: stop the daemon, or use the commands of its release; if no daemon"
            " runs, remove the file"
        ) from None
    add_secret(endpoint.password)
    return endpoint if endpoint.start_ticks and endpoint.start_ticks == process_start_ticks(endpoint.pid) else None
