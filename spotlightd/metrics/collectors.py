"""What Prometheus is told of the flows, the disks, the archive and raw documents: read when it asks, so true even when nothing moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spotlightd.model.document_tiers import DocumentTiers
from spotlightd.model.partition import STAGES, ArchiveState
from spotlightd.ports.metrics import DiskReading, FlowReading

STATES = ("starting", "running", "waiting", "holding", "failed", "stopped")
Readings = Callable[[], Iterable[FlowReading]]
DiskReadings = Callable[[], Iterable[DiskReading]]


class Flows(Collector):
    """The flows as the board has them when Prometheus asks. Their names are declared, so they are few."""

    def __init__(self, read: Readings) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        flows = tuple(self._read())
        yield _state(flows)
        yield _counted("beats", "How often the flow's loop came round.", {one.flow: one.beats for one in flows})
        yield _counted(
            "restarts", "How often the flow failed and was begun again.", {one.flow: one.restarts for one in flows}
        )
        says = "Time since the flow's last beat, or since it was begun."
        yield _gauged("silent_seconds", says, {one.flow: one.silent_seconds for one in flows})
        says = "The pause between two beats that the flow promises, 0 when it promises none; silent for 3 of them, it hangs."
        yield _gauged("pause_seconds", says, {one.flow: one.pause_seconds for one in flows})
        yield _gauged("lag_seconds", "How far behind the flow is.", {one.flow: one.lag_seconds for one in flows})
        yield _gauged("waiting_items", "What waits for the flow.", {one.flow: one.queue for one in flows})


def _state(flows: Iterable[FlowReading]) -> Metric:
    made = GaugeMetricFamily(
        "spotlightd_flow_state", "1 for the state that the flow is in, else 0.", labels=["flow", "state"]
    )
    for one in flows:
        for state in STATES:
            made.add_metric([one.flow, state], one.state == state)
    return made


def _counted(name: str, says: str, values: Mapping[str, float]) -> Metric:
    made = CounterMetricFamily(f"spotlightd_flow_{name}", says, labels=["flow"])
    for flow, value in values.items():
        made.add_metric([flow], value)
    return made


def _gauged(name: str, says: str, values: Mapping[str, float]) -> Metric:
    made = GaugeMetricFamily(f"spotlightd_flow_{name}", says, labels=["flow"])
    for flow, value in values.items():
        made.add_metric([flow], value)
    return made


class Disks(Collector):
    """The file systems that are watched, as of the last look. Their folders are settings, so they are few."""

    def __init__(self, read: DiskReadings) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        found = {one.filesystem: one for one in self._read()}
        says: dict[str, tuple[str, Callable[[DiskReading], float | None]]] = {
            "size_bytes": ("What may be used of the file system.", lambda one: one.size),
            "free_bytes": ("What is free of the file system.", lambda one: one.free),
            "level": ("0 fine, 1 filling up, 2 batch loads held, 3 the sink too, 4 ballast released.", lambda one: one.level),
            "ballast_bytes": ("What our ballast takes, 0 while there is none.", lambda one: one.ballast),
            "full_in_seconds": ("When it will be full at its rate, +Inf when it does not grow.", lambda one: one.full_in_seconds),
            "answers": ("1 while the file system says how full it is, 0 while it hangs.", lambda one: one.answers),
        }  # fmt: skip
        for name, (text, of) in says.items():
            made = GaugeMetricFamily(f"spotlightd_disk_{name}", text, labels=["filesystem"])
            for label, one in found.items():
                if (value := of(one)) is not None:
                    made.add_metric([label], value)
            yield made


class Archive(Collector):
    """The archiver as of its last round."""

    def __init__(self, read: Callable[[], ArchiveState]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        state = self._read()
        made = GaugeMetricFamily("spotlightd_archive_partitions", "Partitions by how far they are.", labels=["stage"])
        for stage in STAGES:
            made.add_metric([stage], len(state.of(stage)))
        yield made
        archived = state.of("switched", "dropped")
        says = "Rows that are read from the bucket."
        yield GaugeMetricFamily("spotlightd_archive_rows", says, sum(one.fingerprint.rows for one in archived))
        says = "Length of the files that they are in."
        yield GaugeMetricFamily("spotlightd_archive_bytes", says, sum(one.size for one in archived))
        well = GaugeMetricFamily(
            "spotlightd_archive_check_well", "1 when the last of its kind found all well.", labels=["kind"]
        )
        age = GaugeMetricFamily(
            "spotlightd_archive_check_age_seconds", "Time since the last of its kind.", labels=["kind"]
        )
        for kind, one in state.checks.items():
            well.add_metric([kind], one.well)
            age.add_metric([kind], (datetime.now(UTC) - one.at).total_seconds())
        yield from (well, age)


class Documents(Collector):
    """Where raw documents lie, as of the last look; in the bucket and in the folder too are counted in both."""

    def __init__(self, read: Callable[[], DocumentTiers]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        state = self._read()
        number = GaugeMetricFamily("spotlightd_documents_kept", "Raw documents by where they lie.", labels=["where"])
        size = GaugeMetricFamily("spotlightd_documents_kept_bytes", "Their length together.", labels=["where"])
        for where, some in (("folder", state.local), ("bucket", state.copied), ("bucket alone", state.alone)):
            number.add_metric([where], some.documents)
            size.add_metric([where], some.bytes)
        yield from (number, size)
        yield GaugeMetricFamily(
            "spotlightd_documents_amiss", "Raw documents that are missing, or whose copy is damaged.", len(state.amiss)
        )
