"""What a developer adds most often takes the few files that the README of the house promises."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from spotlightd.cli import main
from spotlightd.commands.docs import metrics_page
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.metrics.table import REPORTED, STREAM, Metric
from spotlightd.ports.metrics import Metrics
from spotlightd.testing import SilentMetrics


def test_a_counter_is_one_row_of_the_table_and_the_call() -> None:
    """The registry, the silent twin and the docs page need nothing else."""
    row = Metric("toys_broken_total", "counter", (STREAM,), "Toys that broke.")
    metrics: tuple[PrometheusMetrics, Metrics] = (
        PrometheusMetrics(["toys"], table=[*REPORTED, row]), SilentMetrics([*REPORTED, row]),
    )  # fmt: skip
    for implementation in metrics:
        implementation.count("toys_broken_total", 2, source="toys")
    assert b'spotlightd_toys_broken_total{source="toys"} 2.0' in metrics[0].text()
    assert "| `spotlightd_toys_broken_total` | counter | `source` | Toys that broke. |" in metrics_page(
        metrics[0].list_metrics()
    )


TOY_COMMAND = """
from spotlightd.commands.command import Command, argument


async def run(arguments, settings, out):
    out.result(f"hello {arguments.name}", {"hello": arguments.name})
    return 3


COMMAND = Command("greet", "greet somebody", "toy greet Ada", (argument("name", metavar="NAME", help="a name"),), run)
"""


def test_a_command_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module with a `COMMAND`, in the package or in a folder of it, runs and is listed in --help."""
    folder = tmp_path / "toy_commands" / "social"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "greet.py").write_text(TOY_COMMAND, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module("toy_commands")
    assert main(["greet", "Ada", "--json"], package) == 3
    assert capsys.readouterr().out == '{"hello": "Ada"}\n'
    with pytest.raises(SystemExit):
        main(["--help"], package)
    assert "greet somebody" in capsys.readouterr().out
