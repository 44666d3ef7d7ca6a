"""What Prometheus reads: right numbers under names of its conventions, and no more series than were declared."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from typing import Any, cast, get_args

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from spotlightd.commands.docs import QUESTIONS
from spotlightd.flows.supervise import Board, State
from spotlightd.flows.upkeep.heartbeats import readings
from spotlightd.metrics.collectors import STATES
from spotlightd.metrics.registry import PrometheusMeters
from spotlightd.model.offsets import Cause
from spotlightd.ports.metrics import DiskReading, FlowReading, Meters
from spotlightd.testing import SilentMeters

LABELS = {"filesystem", "where", "source", "stage", "cause", "flow", "outcome", "state", "le", "version"}
UNITS = ("_seconds", "_bytes", "_frames", "_rows", "_items", "_info", "_ratio")


def made(**options: Any) -> PrometheusMeters:
    return PrometheusMeters(("finnhub", "demo"), ("sec_ftd",), version="1.2.3", **options)


def families(meters: PrometheusMeters) -> dict[str, Metric]:
    return {one.name: one for one in text_string_to_metric_families(meters.text().decode())}


def value(meters: PrometheusMeters, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families(meters).values()
        for sample in family.samples
        if sample.name == f"spotlightd_{name}" and sample.labels == labels
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0])


def series(meters: PrometheusMeters) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families(meters).values()
        for sample in family.samples
    }


def everything(meters: Meters, source: str, word: str) -> None:
    """Call all of the port."""
    meters.received(source, frames=3, size=300)
    meters.shed(source, frames=2)
    meters.spooled(source, frames=5, size=500)
    meters.drained(source, frames=10, rows=20, size=2000, seconds=0.2)
    meters.lagged(source, cast("Any", word), 0.12)
    meters.behind(source, frames=7)
    meters.retried(source)
    meters.gap(source, word)
    meters.rejected(source, frames=4)
    meters.connected(source, now=True)
    meters.document(source, cast("Any", word), rows=30)
    meters.loop_lagged(0.003)
    meters.log_written(events=6)
    meters.log_left_out(events=2)


def test_what_was_counted_is_what_is_read() -> None:
    meters = made()
    everything(meters, "finnhub", "queryable")
    meters.gap("finnhub", "stale")
    meters.document("sec_ftd", "published", rows=1000)
    meters.document("sec_ftd", "absent")
    expected = {
        "frames_received_total": 3, "received_bytes_total": 300, "frames_shed_total": 2, "spool_frames": 5,
        "spool_bytes": 500, "frames_drained_total": 10, "rows_decoded_total": 20, "drained_bytes_total": 2000,
        "bus_waiting_frames": 7, "retries_total": 1, "frames_rejected_total": 4, "connected": 1,
        "batch_frames_count": 1, "batch_rows_sum": 20, "batch_bytes_sum": 2000, "batch_seconds_sum": 0.2,
    }  # fmt: skip
    assert {name: value(meters, name, source="finnhub") for name in expected} == expected
    assert value(meters, "lag_seconds_count", source="finnhub", stage="queryable") == 1
    assert value(meters, "lag_seconds_bucket", source="finnhub", stage="queryable", le="0.1") == 0
    assert value(meters, "lag_seconds_bucket", source="finnhub", stage="queryable", le="0.15") == 1
    assert value(meters, "gaps_total", source="finnhub", cause="stale") == 1
    assert value(meters, "documents_total", source="sec_ftd", outcome="published") == 1
    assert value(meters, "documents_total", source="sec_ftd", outcome="absent") == 1
    assert value(meters, "rows_published_total", source="sec_ftd") == 1000
    assert value(meters, "loop_lag_seconds_sum") == pytest.approx(0.003)
    assert (value(meters, "log_events_written_total"), value(meters, "log_events_left_out_total")) == (6, 2)
    assert value(meters, "build_info", version="1.2.3") == 1
    meters.connected("finnhub", now=False)
    meters.behind("finnhub", frames=0)
    assert value(meters, "connected", source="finnhub") == value(meters, "bus_waiting_frames", source="finnhub") == 0


def test_every_series_is_there_before_anything_happens() -> None:
    """A counter that begins with its first event hides that event from rate()."""
    meters = made()
    before = series(meters)
    everything(meters, "finnhub", "queryable")
    meters.gap("demo", "crash")
    meters.document("sec_ftd", "refused")
    assert series(meters) == before
    assert value(meters, "gaps_total", source="demo", cause="spool full") == 0


def test_no_name_that_comes_with_the_data_makes_a_series() -> None:
    meters, rng = made(), random.Random(20210320)
    before = series(meters)
    for _ in range(2_000):
        name, word = ("".join(rng.choices(string.printable, k=12)) for _ in range(2))
        everything(meters, name, word)
    assert series(meters) == before
    assert value(meters, "frames_received_total", source="other") == 6_000
    assert value(meters, "gaps_total", source="other", cause="other") == 2_000


def test_series_grow_with_declared_names_only_and_stay_few() -> None:
    count = {n: len(series(PrometheusMeters([f"s{at}" for at in range(n)], ["b"]))) for n in (1, 2, 10)}
    a_stream = count[2] - count[1]
    assert count[10] == count[1] + 9 * a_stream
    assert a_stream < 150
    assert {
        label for _, labels in series(made(flows=lambda: [FlowReading("x", "running")])) for label, _ in labels
    } <= LABELS
    assert get_args(Cause)[0] in {dict(labels).get("cause") for _, labels in series(made())}


def test_names_follow_the_conventions() -> None:
    meters = made(flows=lambda: [FlowReading("drain", "running")])
    for one in meters.listed():
        assert re.fullmatch(r"(spotlightd|process)(_[a-z]+)+", one.name), one.name
        assert one.says.endswith("."), one
        assert (one.kind == "counter") == one.name.endswith("_total"), one
        if one.kind == "histogram":
            assert one.name.endswith(UNITS), one
        assert not re.search(r"_(ms|millis|milliseconds|kb|mb|minutes|hours)(_|$)", one.name), one
    names = [one.name for one in meters.listed()]
    assert len(names) == len(set(names))
    assert {family.name for family in families(meters).values()} == {
        one.name.removesuffix("_total") if one.kind == "counter" else one.name for one in meters.listed()
    }
    assert not [sample for sample, _ in series(meters) if sample.endswith("_created")]


def test_the_process_itself_is_told() -> None:
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= {
        one.name for one in made().listed()
    }


def test_two_of_them_share_nothing() -> None:
    one, other = made(), made()
    one.retried("finnhub")
    assert value(other, "retries_total", source="finnhub") == 0


def test_flows_are_told_as_they_are_when_asked() -> None:
    board = Board()
    meters = made(flows=lambda: readings(board))
    assert not [name for name, labels in series(meters) if dict(labels).get("flow")]
    report = board.reporter("drain finnhub")
    report.expects(120)
    report.working("moving")
    report.beat(lag_seconds=1.5, queue=9)
    told = {
        name: value(meters, f"flow_{name}", flow="drain finnhub")
        for name in ("beats_total", "restarts_total", "pause_seconds", "lag_seconds", "waiting_items")
    }
    assert told == {"beats_total": 1, "restarts_total": 0, "pause_seconds": 0.5, "lag_seconds": 1.5, "waiting_items": 9}
    assert 0 <= value(meters, "flow_silent_seconds", flow="drain finnhub") < 60
    states = {state: value(meters, "flow_state", flow="drain finnhub", state=state) for state in STATES}
    assert states == dict.fromkeys(STATES, 0.0) | {"running": 1.0}
    assert get_args(State) == STATES


def test_a_flow_that_failed_or_stopped_promises_no_beats() -> None:
    """So that an alert on three pauses of silence leaves it alone: its state is another alert."""
    board = Board()
    meters = made(flows=lambda: readings(board))
    board.reporter("drain").expects(120)
    assert value(meters, "flow_pause_seconds", flow="drain") == 0.5
    board.update("drain", state="failed", error="the disk is full")
    assert value(meters, "flow_pause_seconds", flow="drain") == 0


def test_disks_are_told_by_file_system_as_they_are_when_asked() -> None:
    disks = [DiskReading("/", 10, 5, 0, full_in_seconds=60.0), DiskReading("/srv", 10, 1, 3, 2, answers=False)]
    meters = made(disks=lambda: disks)
    assert [value(meters, f"disk_{name}", filesystem="/srv") for name in ("size_bytes", "free_bytes", "level")] == [
        10,
        1,
        3,
    ]
    assert value(meters, "disk_full_in_seconds", filesystem="/") == 60
    assert value(meters, "disk_ballast_bytes", filesystem="/srv") == 2
    assert value(meters, "disk_answers", filesystem="/srv") == 0
    told = families(meters)["spotlightd_disk_full_in_seconds"].samples
    assert [one.labels["filesystem"] for one in told] == ["/"]  # of the other it is not known


def test_the_expressions_of_the_documentation_ask_for_what_there_is() -> None:
    disks = [DiskReading("/", 10, 5, 0, full_in_seconds=60.0)]
    meters = made(flows=lambda: [FlowReading("drain", "running")], disks=lambda: disks)
    there = {name for name, _ in series(meters)}
    asked = {name for _, expression in QUESTIONS for name in re.findall(r"\bspotlightd_\w+", expression)}
    assert len(asked) >= len(QUESTIONS)
    assert asked <= there


def test_a_lag_below_zero_is_none() -> None:
    """The box's clock was set back between receiving a frame and writing it."""
    meters = made()
    meters.lagged("finnhub", "table", -3600.0)
    assert value(meters, "lag_seconds_sum", source="finnhub", stage="table") == 0


@pytest.mark.parametrize("kind", [made, SilentMeters])
def test_both_are_the_port(kind: Callable[[], Meters]) -> None:
    everything(kind(), "finnhub", "bus")
