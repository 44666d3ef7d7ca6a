"""The base image of a booted host: Debian with systemd and the packages that the playbook installs, in the user's cache.

`python -m tests.host.image` builds it with mmdebstrap (root, two minutes, 250 MB), or does nothing when there is one of this
week with these packages. Everything in it would also be installed by the playbook; here it only saves the time. With
SPOTLIGHTD_SUITE=trixie it is Debian 13.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.real.minio import cache_folder

SUITE = os.environ.get("SPOTLIGHTD_SUITE", "bookworm")
PROGRAMS = ("systemd-nspawn", "mmdebstrap", "zstd", "ip", "ssh", "ssh-keygen", "curl")
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "python3-venv", "sudo", "ca-certificates", "procps", "iproute2",
    "openssh-server", "kmod", "openssl", "curl", "default-jre-headless", "nginx-light", "prometheus", "prometheus-alertmanager", "prometheus-node-exporter",
)  # fmt: skip
BUILD_SECONDS = 900


class HostMissingError(Exception):
    """No host can be booted here; the text is the reason of a skip."""


def image_path() -> Path:
    """The image of this week and these packages, whether it exists or not."""
    week = datetime.now(UTC).strftime("%G-W%V")
    key = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    return cache_folder() / f"host-{SUITE}-{week}-{key}.tar.zst"


def check_machine() -> None:
    """HostMissingError that names what is missing."""
    if os.geteuid():
        raise HostMissingError("only root can boot one")
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        raise HostMissingError(f"{', '.join(missing)} missing: make host")
    spaces = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--net",
        "--uts",
        "--ipc",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/mnt",
    ]
    tried = subprocess.run(spaces, capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode:
        raise HostMissingError(f"no namespaces may be made here: {tried.stderr.strip()}")


def find_image() -> Path:
    check_machine()
    if not image_path().exists():
        raise HostMissingError("its image is not built yet: make host")
    return image_path()


def fetch() -> Path:
    """The image, built if needed."""
    check_machine()
    image = image_path()
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "host.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            build(image)
    return image


def build(image: Path) -> None:
    partial = image.with_name(f"partial-{image.name}")
    command = [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(partial),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if result.returncode:
        partial.unlink(missing_ok=True)
        raise HostMissingError(f"mmdebstrap failed: {result.stderr.strip()[-500:]}")
    for old in image.parent.glob(f"host-{SUITE}-*.tar.zst"):
        old.unlink()
    partial.rename(image)


if __name__ == "__main__":
    try:
        print(fetch())
    except HostMissingError as problem:
        sys.exit(f"*** THE TESTS OF THE INSTALLED HOST CANNOT RUN: {problem} ***")
