"""Each benchmark has a size for a run of all of them, and a least one that only shows that it works."""

from __future__ import annotations

import runpy
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem != "run")


def test_each_benchmark_has_a_size_for_when_all_run_and_a_least_one() -> None:
    sizes = runpy.run_path(str(FOLDER / "_sizes.py"))
    assert sorted(sizes["TOGETHER"]) == NAMES
    assert sorted(sizes["LEAST"]) == NAMES
