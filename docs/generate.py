"""Writes the generated pages of docs/, the man page and the completions of shells: `make docs`."""

from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import shtab
from argparse_manpage.manpage import Manpage

from spotlightd import __version__
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
        path for folder in ("datasets", "sources") for path in sorted((ROOT / "spotlightd" / folder).rglob("*.py"))
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
        "shell/spotlightd.1": make_man_page(build_parser()),
        "shell/spotlightd.bash": complete(build_parser(), "bash"),
        "shell/_spotlightd": complete(build_parser(), "zsh"),
    }


def make_man_page(parser: argparse.ArgumentParser) -> str:
    """The man page of all commands. It has the version in place of a date, so that it changes only with the commands."""
    with patch.dict(os.environ, COLUMNS="100"):  # argparse folds usage at the width of the terminal
        page = Manpage(parser)
        page.date, page.source, page.manual = "", f"spotlightd {__version__}", "spotlightd"
        return f"{page}\n"


def complete(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion for bash or zsh. An argument that is a path completes to files."""
    for _, _, command in docs.find_subcommands(parser):
        for action in command._actions:  # noqa: SLF001  (no public interface)
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell=shell)
    return text


if __name__ == "__main__":
    (HERE / "shell").mkdir(exist_ok=True)
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
