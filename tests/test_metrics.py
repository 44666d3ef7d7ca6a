"""What Prometheus reads: right numbers under conventional names, and no more series than were declared.

Every call in the code is checked against the table, and every row of the table against the calls.
"""

from __future__ import annotations

import ast
import random
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import Metric as ParsedMetric
from prometheus_client.parser import text_string_to_metric_families

import spotlightd
from spotlightd.commands.docs import QUESTIONS
from spotlightd.flows.stream.counters import count_batch, count_received
from spotlightd.flows.supervise import Board, State
from spotlightd.flows.upkeep.heartbeats import read_flows
from spotlightd.metrics.collectors import STATES
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.metrics.table import COLLECTED, REPORTED, find_metric, index
from spotlightd.model.offsets import Cause
from spotlightd.ports.metrics import DiskReading, FlowReading, Metrics
from spotlightd.testing import SilentMetrics

LABELS = {
    "server",
    "reason",
    "filesystem",
    "where",
    "source",
    "stage",
    "cause",
    "flow",
    "outcome",
    "state",
    "le",
    "version",
}
UNITS = ("_seconds", "_bytes", "_frames", "_rows", "_items", "_info", "_ratio")
KINDS = {"count": "counter", "gauge": "gauge", "observe": "histogram"}


def create_metrics(**options: Any) -> PrometheusMetrics:
    return PrometheusMetrics(("finnhub", "demo"), ("sec_ftd",), version="1.2.3", **options)


def families(metrics: PrometheusMetrics) -> dict[str, ParsedMetric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}


def value(metrics: PrometheusMetrics, name: str, **labels: str) -> float:
    values = [
        sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == f"spotlightd_{name}" and sample.labels == labels
    ]
    assert len(values) == 1, (name, labels, values)
    return float(values[0])


def series(metrics: PrometheusMetrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families(metrics).values()
        for sample in family.samples
    }


def report_everything(metrics: Metrics, value: str) -> None:
    """Report to every metric of the table, with each label set to that value."""
    for metric in REPORTED:
        labels = dict.fromkeys(metric.label_names, value)
        match metric.kind:
            case "counter":
                metrics.count(metric.name, 3, **labels)
            case "gauge":
                metrics.gauge(metric.name, 3, **labels)
            case "histogram":
                metrics.observe(metric.name, 3, **labels)


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every `metrics.count(...)`, `.gauge(...)` and `.observe(...)` in the code: file and line, call, name of the metric."""
    for file in sorted(Path(spotlightd.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS):
                continue
            receiver = node.func.value
            receiver_name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", "")
            if receiver_name.lstrip("_") == "metrics":
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{file}:{node.lineno}: the name of a metric is a literal"
                yield f"{file}:{node.lineno}", node, str(name.value)


def test_every_call_in_the_code_fits_the_table_and_every_row_is_called() -> None:
    table, used = index(REPORTED), set()
    for place, call, name in calls():
        assert isinstance(call.func, ast.Attribute)
        labels = {keyword.arg or "**": keyword.value for keyword in call.keywords}
        metric = find_metric(table, name, KINDS[call.func.attr], labels)  # type: ignore[arg-type]
        for label in metric.labels:
            literal = labels[label.name]
            if isinstance(literal, ast.Constant):
                assert literal.value in label.values, f"{place}: {label.name}={literal.value!r}"
        used.add(name)
    assert used == table.keys()


def test_every_collected_row_is_read() -> None:
    text = (Path(spotlightd.__file__).parent / "metrics" / "collectors.py").read_text(encoding="utf-8")
    assert set(re.findall(r'_create_family\("(\w+)"', text)) == index(COLLECTED).keys()


def test_no_two_rows_have_the_same_name() -> None:
    assert len(index((*REPORTED, *COLLECTED))) == len(REPORTED) + len(COLLECTED)


def test_counts_are_read_as_they_were_reported() -> None:
    metrics = create_metrics()
    count_received(metrics, "finnhub", frames=3, size=300, shed=2)
    count_batch(metrics, "finnhub", frames=10, rows=20, size=2000, seconds=0.2)
    metrics.gauge("spool_frames", 5, source="finnhub")
    metrics.gauge("spool_bytes", 500, source="finnhub")
    metrics.observe("lag_seconds", 0.12, source="finnhub", stage="queryable")
    metrics.gauge("bus_waiting_frames", 7, source="finnhub")
    metrics.count("retries_total", source="finnhub")
    metrics.count("gaps_total", source="finnhub", cause="stale")
    metrics.count("frames_rejected_total", 4, source="finnhub")
    metrics.gauge("connected", 1, source="finnhub")
    metrics.count("documents_total", source="sec_ftd", outcome="published")
    metrics.count("documents_total", source="sec_ftd", outcome="absent")
    metrics.count("rows_published_total", 1000, source="sec_ftd")
    metrics.observe("loop_lag_seconds", 0.003)
    metrics.count("log_events_written_total", 6)
    metrics.count("log_events_left_out_total", 2)
    expected = {
        "frames_received_total": 3, "received_bytes_total": 300, "frames_shed_total": 2, "spool_frames": 5,
        "spool_bytes": 500, "frames_drained_total": 10, "rows_decoded_total": 20, "drained_bytes_total": 2000,
        "bus_waiting_frames": 7, "retries_total": 1, "frames_rejected_total": 4, "connected": 1,
        "batch_frames_count": 1, "batch_rows_sum": 20, "batch_bytes_sum": 2000, "batch_seconds_sum": 0.2,
    }  # fmt: skip
    assert {name: value(metrics, name, source="finnhub") for name in expected} == expected
    assert value(metrics, "lag_seconds_count", source="finnhub", stage="queryable") == 1
    assert value(metrics, "lag_seconds_bucket", source="finnhub", stage="queryable", le="0.1") == 0
    assert value(metrics, "lag_seconds_bucket", source="finnhub", stage="queryable", le="0.15") == 1
    assert value(metrics, "gaps_total", source="finnhub", cause="stale") == 1
    assert value(metrics, "documents_total", source="sec_ftd", outcome="published") == 1
    assert value(metrics, "documents_total", source="sec_ftd", outcome="absent") == 1
    assert value(metrics, "rows_published_total", source="sec_ftd") == 1000
    assert value(metrics, "loop_lag_seconds_sum") == pytest.approx(0.003)
    assert (value(metrics, "log_events_written_total"), value(metrics, "log_events_left_out_total")) == (6, 2)
    assert value(metrics, "build_info", version="1.2.3") == 1
    metrics.gauge("connected", 0, source="finnhub")
    metrics.gauge("bus_waiting_frames", 0, source="finnhub")
    assert value(metrics, "connected", source="finnhub") == value(metrics, "bus_waiting_frames", source="finnhub") == 0


def test_every_series_exists_before_anything_happens() -> None:
    """A counter that begins with its first event hides that event from rate()."""
    metrics = create_metrics()
    before = series(metrics)
    report_everything(metrics, "finnhub")
    metrics.count("gaps_total", source="demo", cause="crash")
    metrics.count("documents_total", source="sec_ftd", outcome="refused")
    assert series(metrics) == before
    assert value(metrics, "gaps_total", source="demo", cause="spool full") == 0


def test_no_label_value_from_data_makes_a_series() -> None:
    metrics, rng = create_metrics(), random.Random(20210320)
    before = series(metrics)
    for _ in range(2_000):
        report_everything(metrics, "".join(rng.choices(string.printable, k=12)))
    assert series(metrics) == before
    assert value(metrics, "frames_received_total", source="other") == 6_000
    assert value(metrics, "gaps_total", source="other", cause="other") == 6_000


def test_series_grow_with_declared_names_only_and_stay_few() -> None:
    count = {n: len(series(PrometheusMetrics([f"s{number}" for number in range(n)], ["b"]))) for n in (1, 2, 10)}
    a_stream = count[2] - count[1]
    assert count[10] == count[1] + 9 * a_stream
    assert a_stream < 150
    flows = [FlowReading("x", "running")]
    assert {label for _, labels in series(create_metrics(flows=lambda: flows)) for label, _ in labels} <= LABELS
    assert get_args(Cause)[0] in {dict(labels).get("cause") for _, labels in series(create_metrics())}


def test_names_follow_the_conventions() -> None:
    metrics = create_metrics(flows=lambda: [FlowReading("drain", "running")])
    listed = metrics.list_metrics()
    for metric in listed:
        assert re.fullmatch(r"(spotlightd|process)(_[a-z]+)+", metric.name), metric.name
        assert metric.help.endswith("."), metric
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric
        if metric.kind == "histogram":
            assert metric.name.endswith(UNITS), metric
        assert not re.search(r"_(ms|millis|milliseconds|kb|mb|minutes|hours)(_|$)", metric.name), metric
    names = [metric.name for metric in listed]
    assert len(names) == len(set(names))
    assert {family.name for family in families(metrics).values()} == {
        metric.name.removesuffix("_total" if metric.kind == "counter" else "") for metric in listed
    }
    assert not [sample for sample, _ in series(metrics) if sample.endswith("_created")]


def test_the_list_has_the_kinds_and_labels_that_prometheus_sees() -> None:
    disks = [DiskReading("/", 10, 5, 0, full_in_seconds=60.0)]
    metrics = create_metrics(flows=lambda: [FlowReading("drain", "running")], disks=lambda: disks)
    parsed = families(metrics)
    for metric in metrics.list_metrics():
        family = parsed[metric.name.removesuffix("_total" if metric.kind == "counter" else "")]
        assert metric.help == family.documentation
        assert family.type == ("gauge" if metric.kind == "info" else metric.kind)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), metric.name


def test_the_process_itself_is_measured() -> None:
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= {
        metric.name for metric in create_metrics().list_metrics()
    }


def test_two_registries_share_nothing() -> None:
    first, second = create_metrics(), create_metrics()
    first.count("retries_total", source="finnhub")
    assert value(second, "retries_total", source="finnhub") == 0


def test_flows_are_read_at_each_scrape() -> None:
    board = Board()
    metrics = create_metrics(flows=lambda: read_flows(board))
    assert not [name for name, labels in series(metrics) if dict(labels).get("flow")]
    report = board.reporter("drain finnhub")
    report.expect_beats(120)
    report.set_working("moving")
    report.beat(lag_seconds=1.5, queue=9)
    values = {
        name: value(metrics, f"flow_{name}", flow="drain finnhub")
        for name in ("beats_total", "restarts_total", "pause_seconds", "lag_seconds", "waiting_items")
    }
    assert values == {
        "beats_total": 1,
        "restarts_total": 0,
        "pause_seconds": 0.5,
        "lag_seconds": 1.5,
        "waiting_items": 9,
    }
    assert 0 <= value(metrics, "flow_silent_seconds", flow="drain finnhub") < 60
    states = {state: value(metrics, "flow_state", flow="drain finnhub", state=state) for state in STATES}
    assert states == dict.fromkeys(STATES, 0.0) | {"running": 1.0}
    assert get_args(State) == STATES


def test_a_flow_that_failed_or_stopped_promises_no_beats() -> None:
    """So that an alert on three pauses of silence leaves it alone: its state is another alert."""
    board = Board()
    metrics = create_metrics(flows=lambda: read_flows(board))
    board.reporter("drain").expect_beats(120)
    assert value(metrics, "flow_pause_seconds", flow="drain") == 0.5
    board.update("drain", state="failed", error="the disk is full")
    assert value(metrics, "flow_pause_seconds", flow="drain") == 0


def test_disks_are_read_at_each_scrape() -> None:
    disks = [DiskReading("/", 10, 5, 0, full_in_seconds=60.0), DiskReading("/srv", 10, 1, 3, 2, answers=False)]
    metrics = create_metrics(disks=lambda: disks)
    expected = {"size_bytes": 10, "free_bytes": 1, "level": 3, "ballast_bytes": 2, "answers": 0}
    assert {name: value(metrics, f"disk_{name}", filesystem="/srv") for name in expected} == expected
    assert value(metrics, "disk_full_in_seconds", filesystem="/") == 60
    samples = families(metrics)["spotlightd_disk_full_in_seconds"].samples
    assert [sample.labels["filesystem"] for sample in samples] == ["/"]  # for /srv it is not known


def test_the_expressions_of_the_documentation_name_existing_series() -> None:
    disks = [DiskReading("/", 10, 5, 0, full_in_seconds=60.0)]
    metrics = create_metrics(flows=lambda: [FlowReading("drain", "running")], disks=lambda: disks)
    names = {name for _, expression in QUESTIONS for name in re.findall(r"\bspotlightd_\w+", expression)}
    assert len(names) >= len(QUESTIONS)
    assert names <= {name for name, _ in series(metrics)}


def test_a_lag_below_zero_counts_as_zero() -> None:
    """The machine's clock was set back between receiving a frame and writing it."""
    metrics = create_metrics()
    metrics.observe("lag_seconds", -3600.0, source="finnhub", stage="table")
    assert value(metrics, "lag_seconds_sum", source="finnhub", stage="table") == 0


@pytest.mark.parametrize("create", [create_metrics, SilentMetrics])
def test_both_implementations_take_every_metric(create: Callable[[], Metrics]) -> None:
    report_everything(create(), "finnhub")


@pytest.mark.parametrize("create", [create_metrics, SilentMetrics])
@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda metrics: metrics.count("toys_total"), "no toys_total: add a row"),
        (lambda metrics: metrics.gauge("retries_total", 1, source="finnhub"), "is a counter, not a gauge"),
        (lambda metrics: metrics.observe("connected", 1, source="finnhub"), "is a gauge, not a histogram"),
        (lambda metrics: metrics.count("retries_total"), "has the labels source, not "),
        (lambda metrics: metrics.count("gaps_total", source="finnhub"), "has the labels source, cause, not source"),
        (lambda metrics: metrics.count("log_events_written_total", source="x"), r"has the labels \(none\), not source"),
    ],
)
def test_a_call_that_does_not_fit_the_table_is_an_error(
    create: Callable[[], Metrics], call: Callable[[Metrics], None], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        call(create())
