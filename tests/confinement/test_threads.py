"""How many threads a child can take from the others of its user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spotlightd.confinement.process import THREADS_LEFT, leave_threads

LIMIT, SPARE = 100, 10
SCRIPT = """
import os, resource, sys, threading
from spotlightd.confinement.process import leave_threads, set_limits
resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))
os.setresuid(*[54329] * 3)
can_end = threading.Event()
def start_threads(count):
    for number in range(count):
        try:
            threading.Thread(target=can_end.wait, daemon=True).start()
        except RuntimeError:
            return number
    return count
reading, writing = os.pipe()
child = os.fork()
if not child:
    set_limits({{"NPROC": leave_threads()}})
    os.write(writing, str(start_threads(1_000)).encode())
    can_end.wait()
print(os.read(reading, 10).decode(), start_threads({spare}), flush=True)
os.kill(child, 9)
os._exit(0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who has no other process")
def test_a_child_without_end_leaves_threads_to_its_parent() -> None:
    """As an ordinary user, and where nothing else refuses threads: the engine needs many."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(limit=LIMIT, spare=SPARE)], capture_output=True, text=True, timeout=120,
        check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    of_child, of_parent = map(int, done.stdout.split())
    assert 0 < of_child < LIMIT - SPARE
    assert of_parent == SPARE


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((64, 64), (56, 56)), ((4_096, 9_000), (4_096 - THREADS_LEFT,) * 2), ((-1, -1), (-1, -1)), ((0, 0), (0, 0))],
)
def test_the_limit_of_a_child_is_below_that_of_its_parent(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    monkeypatch.setattr("spotlightd.confinement.process.resource.getrlimit", lambda _: limits)
    assert leave_threads() == expected
