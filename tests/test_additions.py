"""What a developer adds most often takes the few files that the README of the house promises."""

from __future__ import annotations

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
