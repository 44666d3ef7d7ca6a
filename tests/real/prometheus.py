"""Prometheus, Alertmanager and the node exporter of Debian, run on loopback for the tests.

`python -m tests.real.prometheus` unpacks Debian's packages into a cache outside the tree (34 MB to fetch). They are not
installed, so no service starts and nothing else on the machine changes.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.real.minio import cache_folder

PACKAGES = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter")
FETCH_SECONDS = 600


class PrometheusMissingError(Exception):
    """There is no Prometheus here; the text is the reason of a skip."""


def program_folder() -> Path:
    return cache_folder() / "prometheus"


def find_program(name: str) -> Path:
    """An unpacked program: prometheus, promtool, prometheus-alertmanager, amtool or prometheus-node-exporter."""
    program = program_folder() / "usr" / "bin" / name
    if not program.exists():
        raise PrometheusMissingError("it is not unpacked yet: make prometheus")
    return program


def fetch() -> Path:
    """Unpack the packages, if they are not there. PrometheusMissingError when that is impossible here."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program_folder().exists():
            unpack(program_folder())
    return program_folder()


def unpack(target: Path) -> None:
    if not shutil.which("apt-get"):
        raise PrometheusMissingError("it comes from Debian's packages, and there is no apt-get here")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="unpacking-") as name:
        folder = Path(name)
        if not download(folder):
            run_command(["apt-get", "-qq", "update"], folder)  # fails without root
            download(folder)
        packages = sorted(folder.glob("*.deb"))
        if len(packages) < len(PACKAGES):
            raise PrometheusMissingError(f"apt-get download {' '.join(PACKAGES)} failed")
        for package in packages:
            if not run_command(["dpkg-deb", "--extract", str(package), "root"], folder):
                raise PrometheusMissingError(f"{package.name} cannot be unpacked")
        (folder / "root").rename(target)


def download(folder: Path) -> bool:
    return run_command(["apt-get", "-qq", "download", *PACKAGES], folder)


def run_command(command: list[str], folder: Path) -> bool:
    """Whether the command succeeded."""
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, timeout=FETCH_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrometheusMissingError(f"{command[0]} failed: {error}") from error
    return result.returncode == 0


if __name__ == "__main__":
    try:
        print(fetch())
    except PrometheusMissingError as problem:
        print(f"*** no Prometheus: {problem}: THE TESTS OF DASHBOARDS AND ALERTS WILL BE SKIPPED ***", file=sys.stderr)
