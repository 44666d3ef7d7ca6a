"""Writes the generated pages of docs/: `make docs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spotlightd.cli import parser
from spotlightd.commands import docs
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.metrics.registry import PrometheusMeters
from spotlightd.ports.metrics import DiskReading, FlowReading
from spotlightd.runtime.catalog import catalog

HERE = Path(__file__).parent


def pages() -> Mapping[str, str]:
    """File name to text."""
    found = catalog()
    meters = PrometheusMeters(
        flows=lambda: [FlowReading("any", "running")],
        disks=lambda: [DiskReading("any", 1, 1, 0, full_in_seconds=1.0)],
    )
    return {
        "datasets.md": docs.datasets_page((*found.datasets, *SYSTEM_DATASETS), found.sources),
        "settings.md": docs.settings_page(),
        "commands.md": docs.commands_page(parser()),
        "metrics.md": docs.metrics_page(meters.listed()),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
