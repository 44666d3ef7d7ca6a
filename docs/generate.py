"""Writes the generated pages of docs/: `make docs`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from spotlightd.cli import build_parser
from spotlightd.commands import docs
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.model.dataset import Dataset
from spotlightd.runtime.catalog import load_catalog

HERE = Path(__file__).parent
ROOT = HERE.parent


def find_declarations() -> Iterator[tuple[str, str]]:
    """(dataset, file) for each dataset that a file of datasets/ or sources/ assigns to a name."""
    for path in (
        path for folder in ("datasets", "sources") for path in sorted((ROOT / "spotlightd" / folder).glob("*.py"))
    ):
        place = path.relative_to(ROOT)
        module = import_module(".".join(place.with_suffix("").parts))
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                value = getattr(module, node.targets[0].id)
                if isinstance(value, Dataset):
                    yield value.name, str(place)


def pages() -> Mapping[str, str]:
    """The text of each page, by file name."""
    catalog = load_catalog()
    return {
        "datasets.md": docs.datasets_page(
            (*catalog.datasets, *SYSTEM_DATASETS), catalog.sources, dict(find_declarations())
        ),
        "settings.md": docs.settings_page(),
        "commands.md": docs.commands_page(build_parser()),
        "metrics.md": docs.metrics_page(PrometheusMetrics().list_metrics()),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
