"""The engine's process, in two steps: confine and become; then serve.

`python -m spotlightd.engine` reads its configuration from standard input, which stays open as long as the daemon
lives; confines itself; and executes itself anew as `python -m spotlightd.engine N`, N being an inherited file with the
configuration. So no secret stands in an argument or in the environment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from spotlightd.engine import configuration, lock, sandbox
from spotlightd.model.bucket import Reach

_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    if len(sys.argv) > 1:
        from spotlightd.engine import child  # noqa: PLC0415  the launcher must not load the engine

        file = int(sys.argv[1])
        with os.fdopen(file, encoding="utf-8") as text:
            child.serve(configuration.read(text.read()))
    else:
        launch(configuration.read(sys.stdin.readline()))


def launch(told: configuration.Configuration) -> None:
    """Tie this process to the daemon's life, confine it, and become the engine."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != told.parent:
        sys.exit("the daemon has gone")
    for folder in (told.data, told.temporary):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(told.temporary)
    os.set_inheritable(lock.wait_for(told.lock, told.start_seconds), True)
    configuration.write(told)
    readable, ports = _reached(told.bucket)
    how = sandbox.confine([told.data, told.temporary], [told.file, *readable, *sandbox.program_paths()], ports)
    file = os.memfd_create("configuration", 0)
    os.write(file, replace(told, sandbox=how).text().encode())
    os.lseek(file, 0, os.SEEK_SET)
    os.execve(sys.executable, [sys.executable, "-P", "-m", "spotlightd.engine", str(file)], dict(os.environ))  # noqa: S606


def _reached(bucket: Reach) -> tuple[list[Path], list[int]]:
    """What lies outside of the engine's own folders and belongs to the bucket: paths to read, ports to connect to."""
    if bucket.port:
        return [Path(one) for one in sandbox.NAMES_AND_CERTIFICATES], [bucket.port]
    return [Path(bucket.folder)] if bucket.folder else [], []


if __name__ == "__main__":
    main()
