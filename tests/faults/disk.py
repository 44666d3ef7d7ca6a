"""A small disk of its own for a state folder, which a test can fill and free."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Disk:
    """A tmpfs. `ballast` is a file that only takes space."""

    root: Path

    @property
    def ballast(self) -> Path:
        return self.root / "ballast"

    @property
    def free(self) -> int:
        stats = os.statvfs(self.root)
        return stats.f_bavail * stats.f_frsize

    def fill(self, *, leaving: int = 0) -> None:
        """Take all space except that many bytes. Concurrent writes may take the rest, or free some."""
        with self.ballast.open("ab", buffering=0) as file, suppress(OSError):
            while (room := self.free - leaving) > 0:
                file.write(bytes(min(room, MIB)))

    def clear(self) -> None:
        self.ballast.unlink()


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[Disk]:
    """Mount it; a loud skip where that is not allowed."""
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(
            f"no small disk can be mounted: FULL DISKS ARE NOT TESTED HERE; run as root ({mount.stderr.strip()})"
        )
    try:
        yield Disk(at)
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)
