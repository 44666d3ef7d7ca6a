"""What code can do that somebody managed to run inside a child: nothing of a long list, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PARENT = Path(__file__).with_name("parent.py")
USERS = ("same", "ordinary") if os.geteuid() == 0 else ("same",)
CHILDREN = ("parser", "preview", "excerpt", "verifier", "engine")
# The engine dates its parts, and has a thread for each part of a query.
THREADS = {"start threads", "start a thread by number", "have another filter of system calls"}
NEEDED = {"engine": {"set times", *THREADS}}
WHOLE_ABI = 6  # below it Landlock says nothing about ports or signals; those attempts are then refused by seccomp


def attack(kind: str, user: str, folder: Path) -> dict[str, Any]:
    place = folder / "place"
    place.mkdir()
    for path in (place, folder, *folder.parents[:3]):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o777 if path == place else 0o755)
    done = subprocess.run(
        [sys.executable, str(PARENT), kind, str(place), user],
        capture_output=True, text=True, timeout=120, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("kind", CHILDREN)
def test_code_inside_a_child_is_refused_everything(kind: str, user: str, tmp_path: Path) -> None:
    answer = attack(kind, user, tmp_path)
    outcomes = answer["outcomes"]
    allowed = {} if kind == "engine" else {"read the document": outcomes.pop("read the document")}
    if "no " in answer["confinement"]:
        pytest.skip(f"the kernel here cannot confine: {answer['confinement']}")
    assert answer["confinement"].startswith("Landlock ABI ")
    assert answer["confinement"].endswith(", seccomp")
    succeeded = {name for name, outcome in outcomes.items() if outcome.startswith("not refused")}
    assert succeeded == NEEDED.get(kind, set())
    assert len(outcomes) >= 90
    assert all(outcome == "not refused: b'canary'" for outcome in allowed.values())


def test_the_same_code_succeeds_where_nothing_confines_it(tmp_path: Path) -> None:
    """So the test above can fail: most of what is tried is possible for an ordinary process of the same user."""
    outcomes = attack("unconfined", "same", tmp_path)["outcomes"]
    refused = {name for name, outcome in outcomes.items() if not outcome.startswith("not refused")}
    assert len(refused) <= (15 if os.geteuid() == 0 else 40), refused
