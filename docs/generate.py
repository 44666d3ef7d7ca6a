"""Writes the generated pages of docs/: `make docs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spotlightd.cli import build_parser
from spotlightd.commands import docs
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.runtime.catalog import load_catalog

HERE = Path(__file__).parent


def pages() -> Mapping[str, str]:
    """The text of each page, by file name."""
    catalog = load_catalog()
    return {
        "datasets.md": docs.datasets_page((*catalog.datasets, *SYSTEM_DATASETS), catalog.sources),
        "settings.md": docs.settings_page(),
        "commands.md": docs.commands_page(build_parser()),
        "metrics.md": docs.metrics_page(PrometheusMetrics().list_metrics()),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
