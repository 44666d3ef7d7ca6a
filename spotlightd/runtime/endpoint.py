"""Where a running daemon answers: the file `daemon.json` that the daemon writes and commands read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from spotlightd.errors import SettingsError, StoreError
from spotlightd.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a warehouse answers and the secret for it: what a command needs to join a running daemon.

    Of a daemon also the explorer's address, the sources that it collects, and its process: a number that is given
    again, so it counts only together with when that process was born, in the system's ticks.
    """

    url: str
    user: str
    password: str
    database: str
    web: str = ""
    collects: tuple[str, ...] = ()
    pid: int = 0
    born: int = 0


def process_start_ticks(pid: int) -> int:
    """When a process began, in ticks since the machine's start; 0 when there is none of that number."""
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
        )
    except (FileNotFoundError, ProcessLookupError):
        return 0


ENDPOINT = "daemon.json"


def publish_endpoint(settings: Settings, endpoint: Endpoint) -> None:
    """Leave the address and secret of the warehouse where commands of this user find them (0600)."""
    path = settings.state_dir / ENDPOINT
    text = json.dumps(asdict(replace(endpoint, pid=os.getpid(), born=process_start_ticks(os.getpid()))))
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
        fresh.rename(path)
    except OSError as problem:
        raise StoreError(f"{path} cannot be written: {problem.strerror}") from None


def find_daemon(settings: Settings) -> Endpoint | None:
    """Where the daemon of this state folder answers; None when none runs."""
    path = settings.state_dir / ENDPOINT
    try:
        endpoint = Endpoint(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise SettingsError(f"{path} belongs to another user: run this command as the daemon's user") from None
    except (ValueError, TypeError):
        raise SettingsError(f"{path} was not written by this release: stop the daemon, or ask with its own") from None
    return endpoint if endpoint.born and endpoint.born == process_start_ticks(endpoint.pid) else None
