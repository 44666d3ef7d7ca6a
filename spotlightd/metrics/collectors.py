"""Metrics that are read at each scrape: flows, disks, the archive and raw documents. They are true even when nothing moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spotlightd.metrics.table import COLLECTED, PREFIX, index
from spotlightd.model.document_tiers import DocumentTiers
from spotlightd.model.partition import STAGES, ArchiveState
from spotlightd.ports.metrics import DiskReading, FlowReading

STATES = ("starting", "running", "waiting", "holding", "failed", "stopped")
Readings = Callable[[], Iterable[FlowReading]]
DiskReadings = Callable[[], Iterable[DiskReading]]
Values = Iterable[tuple[tuple[str, ...], float]]
_ROWS = index(COLLECTED)


class Flows(Collector):
    """The flows as the board has them at the scrape. Their names are declared, so they are few."""

    def __init__(self, read: Readings) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        flows = tuple(self._read())
        states = [((flow.flow, state), float(flow.state == state)) for flow in flows for state in STATES]
        yield _create_family("flow_state", states)
        yield _create_family("flow_beats_total", [((flow.flow,), flow.beats) for flow in flows])
        yield _create_family("flow_restarts_total", [((flow.flow,), flow.restarts) for flow in flows])
        yield _create_family("flow_silent_seconds", [((flow.flow,), flow.silent_seconds) for flow in flows])
        yield _create_family("flow_pause_seconds", [((flow.flow,), flow.pause_seconds) for flow in flows])
        yield _create_family("flow_lag_seconds", [((flow.flow,), flow.lag_seconds) for flow in flows])
        yield _create_family("flow_waiting_items", [((flow.flow,), flow.queue) for flow in flows])


class Disks(Collector):
    """The watched file systems, as of the last measurement. Their folders are settings, so they are few."""

    def __init__(self, read: DiskReadings) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        disks = tuple({disk.filesystem: disk for disk in self._read()}.values())
        yield _create_family("disk_size_bytes", [((disk.filesystem,), disk.size) for disk in disks])
        yield _create_family("disk_free_bytes", [((disk.filesystem,), disk.free) for disk in disks])
        yield _create_family("disk_level", [((disk.filesystem,), disk.level) for disk in disks])
        yield _create_family("disk_ballast_bytes", [((disk.filesystem,), disk.ballast) for disk in disks])
        forecasts = [(disk.filesystem, disk.full_in_seconds) for disk in disks]
        known = [((filesystem,), seconds) for filesystem, seconds in forecasts if seconds is not None]
        yield _create_family("disk_full_in_seconds", known)
        yield _create_family("disk_answers", [((disk.filesystem,), float(disk.answers)) for disk in disks])


class Archive(Collector):
    """The archiver as of its last round."""

    def __init__(self, read: Callable[[], ArchiveState]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        state = self._read()
        archived, now = state.in_stages("switched", "dropped"), datetime.now(UTC)
        yield _create_family("archive_partitions", [((stage,), len(state.in_stages(stage))) for stage in STAGES])
        yield _create_family("archive_rows", [((), sum(partition.fingerprint.rows for partition in archived))])
        yield _create_family("archive_bytes", [((), sum(partition.size for partition in archived))])
        checks = state.checks.items()
        yield _create_family("archive_check_well", [((kind,), float(check.passed)) for kind, check in checks])
        ages = [((kind,), (now - check.at).total_seconds()) for kind, check in checks]
        yield _create_family("archive_check_age_seconds", ages)
        yield _create_family("archive_retention_shortened", [((), len(state.shortened))])


class Backups(Collector):
    """The newest backups, from the records that the commands leave. One that never happened has no series."""

    def __init__(self, read: Callable[[], Mapping[str, datetime]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        ages = [((kind,), (now - at).total_seconds()) for kind, at in self._read().items()]
        yield _create_family("backup_age_seconds", ages)


class Tables(Collector):
    """The tables as of the last look."""

    def __init__(self, count_incomplete: Callable[[], int]) -> None:
        self._count_incomplete = count_incomplete

    def collect(self) -> Iterator[Metric]:
        yield _create_family("tables_incomplete", [((), self._count_incomplete())])


class Documents(Collector):
    """Where raw documents are stored, as of the last look. A document in bucket and folder is counted in both."""

    def __init__(self, read: Callable[[], DocumentTiers]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        state = self._read()
        places = {"folder": state.local, "bucket": state.copied, "bucket alone": state.bucket_only}
        yield _create_family("documents_kept", [((where,), tier.documents) for where, tier in places.items()])
        yield _create_family("documents_kept_bytes", [((where,), tier.bytes) for where, tier in places.items()])
        yield _create_family("documents_amiss", [((), len(state.problems))])
        yield _create_family("documents_retention_shortened", [((), len(state.shortened))])


def _create_family(name: str, values: Values) -> Metric:
    """The family of a row of the table, with a sample for each set of label values."""
    row = _ROWS[name]
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = kind(PREFIX + name.removesuffix("_total"), row.help, labels=row.label_names)
    for labels, value in values:
        family.add_metric(labels, value)
    return family
