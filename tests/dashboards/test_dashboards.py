"""Every panel of every dashboard: its layout, its queries on real programs, and what it shows without data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from grafana.generate import DASHBOARDS, FOLDER, render_files
from grafana.model import CLICKHOUSE, PROMETHEUS, SQL, Dashboard, Panel, PromQL
from spotlightd.metrics.registry import PrometheusMetrics
from tests.dashboards.conftest import Watched
from tests.dashboards.macros import expand_promql, expand_sql

PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
IDS = [f"{dashboard.title}: {panel.title}" for dashboard, panel in PANELS]
OURS = re.compile(r"\bspotlightd_\w+")
EMPTY_ON_THE_DEMO = {
    "Pipeline: Rejected lines": "no line of the demo's documents is rejected",
    "Server: Full in": "the rate of a disk is known after some minutes",
    "Server: Units of spotlightd": "no unit runs in a test",
    "Server: Units that failed": "the node exporter sees no systemd in a test",
    "Archive: Audit and drill": "the first audit is due a day after the first switch",
    "Archive: Age of the checks": "the first audit is due a day after the first switch",
}


def panels_as_json() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, text in render_files().items():
        yield from ((name, panel) for panel in json.loads(text)["panels"])


def test_the_committed_files_are_what_the_declarations_give() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == render_files()


def test_each_file_is_a_dashboard_of_grafanas_classic_model() -> None:
    """dashboard.schema.json is made from Grafana's own types; a panel with an unknown key or a wrong type does not fit."""
    model = Draft7Validator(json.loads(Path(__file__).with_name("dashboard.schema.json").read_text(encoding="utf-8")))
    for name, text in render_files().items():
        assert [error.message for error in model.iter_errors(json.loads(text))] == [], name
    broken = json.loads(render_files()["spotlightd-pipeline.json"])
    broken["panels"][1]["gridPos"]["w"] = "wide"
    assert not model.is_valid(broken)


def test_identifiers_and_titles_are_unique() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len({dashboard.title for dashboard in DASHBOARDS}) == 4
    for dashboard in DASHBOARDS:
        numbers = [panel["id"] for panel in dashboard.to_json()["panels"]]
        assert len(set(numbers)) == len(numbers)
        titles = [panel.title for panel in dashboard.panels]
        assert len(set(titles)) == len(titles)


def test_panels_lie_side_by_side_and_do_not_overlap() -> None:
    for dashboard in DASHBOARDS:
        grids = [panel["gridPos"] for panel in dashboard.to_json()["panels"]]
        assert all(grid["x"] + grid["w"] <= 24 for grid in grids)
        for first, second in combinations(grids, 2):
            beside = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
            below = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
            assert beside or below


def test_every_panel_says_what_it_shows_and_what_no_data_looks_like() -> None:
    for name, panel in panels_as_json():
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), (name, panel["title"])
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["noValue"] == "no data"
        assert defaults["mappings"][-1]["options"] == {
            "match": "null+nan",
            "result": {"text": "no data", "color": "purple"},
        }
        assert panel["datasource"] in (PROMETHEUS, CLICKHOUSE)


@pytest.mark.parametrize(("dashboard", "panel"), PANELS, ids=IDS)
def test_a_field_shows_the_value_of_now_and_never_an_old_one(dashboard: Dashboard, panel: Panel) -> None:
    """A query over the range with `lastNotNull` would show the last value of a daemon that is gone."""
    if panel.kind == "stat":
        assert all(isinstance(query, PromQL) and query.instant for query in panel.queries), dashboard.title


def test_every_metric_of_ours_exists() -> None:
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    known = {
        metric.name + suffix
        for metric in PrometheusMetrics().list_metrics()
        for suffix in suffixes.get(metric.kind, ("",))
    }
    used = {
        name
        for _, panel in PANELS
        for query in panel.queries
        if isinstance(query, PromQL)
        for name in OURS.findall(query.text)
    }
    assert used
    assert used <= known


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_every_query_runs_and_no_panel_is_empty(watched: Watched) -> None:
    """Every statement on the engine with the demo's data, every expression on a Prometheus that scrapes the demo."""
    empty = set()
    for name, (dashboard, panel) in zip(IDS, PANELS, strict=True):
        answers = [await ask(watched, dashboard, query) for query in panel.queries]
        if not any(answers):
            empty.add(name)
    assert empty <= set(EMPTY_ON_THE_DEMO)
    for dashboard in DASHBOARDS:
        for variable in dashboard.variables:
            assert {variable.default} <= {
                value for row in await watched.query_warehouse(variable.sql) for value in row.values()
            }


async def ask(watched: Watched, dashboard: Dashboard, query: PromQL | SQL) -> list[dict[str, Any]]:
    if isinstance(query, SQL):
        now = datetime.now(UTC)
        sql = expand_sql(query.text, now - timedelta(days=3), now + timedelta(minutes=1), 60, dashboard)
        return await watched.query_warehouse(sql)
    return await watched.query_prometheus(expand_promql(query.text, "30s"))
