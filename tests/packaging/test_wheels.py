"""The wheels of a release: for the Python of each Debian, whatever Python the release is made with."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = """\
always==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
older==2.4 ; python_full_version < '3.12' and sys_platform == 'linux' \\
    --hash=sha256:ba
newer==2.5 ; python_full_version >= '3.12' and sys_platform == 'linux' \\
    --hash=sha256:ca
"""


def select(lock: str, version: str) -> str:
    selected: str = runpy.run_path(str(ROOT / "ansible" / "wheels.py"))["select_entries"](lock, version)
    return selected


@pytest.mark.parametrize(("version", "chosen"), [("3.11", "older==2.4"), ("3.13", "newer==2.5")])
def test_a_version_gets_what_its_markers_say_with_all_digests(version: str, chosen: str) -> None:
    lines = select(LOCK, version).splitlines()
    assert [line.removesuffix(" \\") for line in lines if not line.startswith(" ")] == ["always==1.0", chosen]
    assert lines[1:3] == ["    --hash=sha256:aa \\", "    --hash=sha256:ab"]


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_nothing_of_the_lock_gets_lost(version: str) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert set(select(lock, "3.11").splitlines()) | set(select(lock, "3.13").splitlines()) >= {
        line for line in lock.splitlines() if line.startswith("    --hash")
    }
    assert select(lock, version).count("--hash=") > 100
