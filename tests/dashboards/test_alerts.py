"""The alert rules: their form, and what fires on constructed series. promtool is Prometheus' own program."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotlightd.metrics.registry import PrometheusMetrics
from tests.real.prometheus import PrometheusMissingError, find_program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "ansible" / "roles" / "monitoring" / "files" / "spotlightd.rules.yml"
CASES = Path(__file__).with_name("alerts.yml")
PROMTOOL_SECONDS = 60
# Paths of the explorer that alerts link to, as web/pages declare them.
PAGES = {
    "/status",
    "/scorecard",
    "/logs",
    "/topics",
    "/disk",
    "/archive",
    "/data/runs",
    "/data/gaps",
    "/data/lost_frames",
}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", CASES)], ids=["check", "test"])
def test_promtool_accepts_the_rules_and_each_fires_when_it_should(arguments: tuple[str, str, Path]) -> None:
    try:
        promtool = find_program("promtool")
    except PrometheusMissingError as error:
        pytest.skip(f"no promtool: {error}")
    result = subprocess.run(
        [promtool, *arguments], capture_output=True, text=True, timeout=PROMTOOL_SECONDS, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_tested_to_fire() -> None:
    cases = CASES.read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if rule["alert"] not in cases] == []


def test_every_alert_says_what_happened_what_it_means_what_to_do_and_where_to_look() -> None:
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "meaning", "action", "page"}, rule["alert"]
        assert rule["labels"]["severity"] in {"mail", "page"}
        assert rule["annotations"]["page"] in PAGES


def test_every_metric_of_ours_in_a_rule_exists() -> None:
    known = {metric.name.removesuffix("_bucket") for metric in PrometheusMetrics().list_metrics()}
    used = {name.removesuffix("_bucket") for rule in rules() for name in re.findall(r"\bspotlightd_\w+", rule["expr"])}
    assert used
    assert used <= known
