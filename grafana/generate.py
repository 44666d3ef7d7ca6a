"""Writes the dashboards as JSON: `python -m grafana.generate`, which `make docs` calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from grafana.archive import archive
from grafana.market import market
from grafana.pipeline import pipeline
from grafana.server import server

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (pipeline, server, market, archive)


def render_files() -> Mapping[str, str]:
    """The text of each file of `dashboards/`, by name."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard.to_json(), indent=2, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    for name, text in render_files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
