"""The engine's process starts in two steps: it confines itself, then it serves.

`python -m spotlightd.engine` reads its configuration from standard input, which stays open as long as the daemon
lives. It confines itself, and then replaces itself by `python -m spotlightd.engine N`. N is the number of an inherited
file that holds the configuration, so that no secret is in an argument or in the environment.
"""

from __future__ import annotations

import mimetypes
import os
import sys
from dataclasses import replace
from pathlib import Path

from spotlightd.confinement.confine import confine_server
from spotlightd.confinement.landlock import Reach, list_program_paths, restrict_process
from spotlightd.confinement.process import tie_to_parent
from spotlightd.engine import configuration, lock
from spotlightd.model.bucket import EngineReach

NAMES_AND_CERTIFICATES = (
    "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/ssl", "/etc/pki",
    "/usr/share/ca-certificates",
)  # fmt: skip
"""Files needed to connect to a host by its name and to verify its certificate."""


def main() -> None:
    if len(sys.argv) > 1:
        with os.fdopen(int(sys.argv[1]), encoding="utf-8") as text:
            settings = configuration.from_json(text.read())
        seccomp = confine_server(settings.socket_number, is_connecting=bool(settings.bucket.port))
        from spotlightd.engine import child  # noqa: PLC0415  the launcher must not load the engine

        child.serve(replace(settings, sandbox=f"{settings.sandbox}, {seccomp}"))
    else:
        launch(configuration.from_json(sys.stdin.readline()))


def launch(settings: configuration.Configuration) -> None:
    """Tie this process to the life of the daemon, confine it, and become the engine."""
    tie_to_parent(settings.parent_pid)
    for folder in (settings.data, settings.temporary):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(settings.temporary)
    os.set_inheritable(lock.wait_for_lock(settings.lock_file, settings.start_seconds), True)
    configuration.write_config_file(settings)
    configuration.declare_system_database(settings)
    bucket_paths, ports = _list_bucket_access(settings.bucket)
    changed = (settings.data, settings.temporary, Path(f"/proc/{os.getpid()}"), Path("/dev/null"))
    program = (*list_program_paths(), *map(Path, mimetypes.knownfiles))
    sandbox_status = restrict_process(Reach(changed, (settings.config_file, *bucket_paths), program, tuple(ports)))
    file = os.memfd_create("configuration", 0)
    os.write(file, replace(settings, sandbox=sandbox_status).to_json().encode())
    os.lseek(file, 0, os.SEEK_SET)
    os.execve(sys.executable, [sys.executable, "-P", "-m", "spotlightd.engine", str(file)], dict(os.environ))  # noqa: S606


def _list_bucket_access(bucket: EngineReach) -> tuple[list[Path], list[int]]:
    """What the engine needs for the bucket, outside of its own folders: paths to read, ports to connect to."""
    if bucket.port:
        return [Path(path) for path in NAMES_AND_CERTIFICATES], [bucket.port]
    return [Path(bucket.folder)] if bucket.folder else [], []


if __name__ == "__main__":
    main()
