"""Each benchmark runs at its least size and prints its figures as JSON. The figures say nothing then.

All of them take eight minutes on two cores, so they are part of `make soak`, not of `make test`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.test_sizes import FOLDER, NAMES


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), *arguments],
        stdout=subprocess.PIPE,
        cwd=FOLDER.parent,
        timeout=900,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_runs_at_its_least_size_and_prints_json(name: str) -> None:
    status, report = run("--least", name)
    result = report["benchmarks"][name]
    assert "error" not in result, result
    assert status == 0
    assert result["measured"]


def test_a_benchmark_that_fails_is_an_error_in_the_report_beside_those_that_run(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    status, report = run("--least", "coding", "--out", str(out), "--", "--no-such-option")
    assert status == 1
    assert report["benchmarks"]["coding"]["error"] == "ended with status 2"
    assert json.loads(out.read_text(encoding="utf-8")) == report
