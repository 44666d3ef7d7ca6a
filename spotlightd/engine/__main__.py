"""The engine's process starts in two steps: it confines itself, then it serves.

`python -m spotlightd.engine` reads its configuration from standard input, which stays open as long as the daemon
lives. It confines itself, and then replaces itself by `python -m spotlightd.engine N`. N is the number of an inherited
file that holds the configuration, so that no secret is in an argument or in the environment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from spotlightd.engine import configuration, lock, sandbox
from spotlightd.model.bucket import EngineReach

_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    if len(sys.argv) > 1:
        from spotlightd.engine import child  # noqa: PLC0415  the launcher must not load the engine

        file = int(sys.argv[1])
        with os.fdopen(file, encoding="utf-8") as text:
            child.serve(configuration.from_json(text.read()))
    else:
        launch(configuration.from_json(sys.stdin.readline()))


def launch(settings: configuration.Configuration) -> None:
    """Tie this process to the life of the daemon, confine it, and become the engine."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != settings.parent_pid:
        sys.exit("the daemon has ended")
    for folder in (settings.data, settings.temporary):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(settings.temporary)
    os.set_inheritable(lock.wait_for_lock(settings.lock_file, settings.start_seconds), True)
    configuration.write_config_file(settings)
    bucket_paths, ports = _list_bucket_access(settings.bucket)
    readable = [settings.config_file, *bucket_paths, *sandbox.list_program_paths()]
    sandbox_status = sandbox.confine([settings.data, settings.temporary], readable, ports)
    file = os.memfd_create("configuration", 0)
    os.write(file, replace(settings, sandbox=sandbox_status).to_json().encode())
    os.lseek(file, 0, os.SEEK_SET)
    os.execve(sys.executable, [sys.executable, "-P", "-m", "spotlightd.engine", str(file)], dict(os.environ))  # noqa: S606


def _list_bucket_access(bucket: EngineReach) -> tuple[list[Path], list[int]]:
    """What the engine needs for the bucket, outside of its own folders: paths to read, ports to connect to."""
    if bucket.port:
        return [Path(path) for path in sandbox.NAMES_AND_CERTIFICATES], [bucket.port]
    return [Path(bucket.folder)] if bucket.folder else [], []


if __name__ == "__main__":
    main()
