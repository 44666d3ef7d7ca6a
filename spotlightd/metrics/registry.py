"""The metrics for Prometheus, from the table: the only module that creates prometheus_client's objects.

All series are created at the start, from declared names only. A label value that was not declared counts as `other`.
So the number of series cannot grow with the data, and a rate is right from the first event on. The state of the flows,
disks, archive and raw documents is read at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from spotlightd.metrics.collectors import Archive, Backups, DiskReadings, Disks, Documents, Flows, Readings, Tables
from spotlightd.metrics.table import COLLECTED, PREFIX, REPORTED, Kind, Metric, find_metric, index
from spotlightd.model.document_tiers import DocumentTiers
from spotlightd.model.partition import ArchiveState

OTHER = "other"


@dataclass(frozen=True, slots=True)
class ListedMetric:
    """One metric as the documentation lists it, under the name that Prometheus sees."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


class PrometheusMetrics:
    """The port `Metrics`, on a registry of its own. `streams` and `batches` are the names of the declared sources."""

    def __init__(
        self,
        streams: Iterable[str] = (),
        batches: Iterable[str] = (),
        *,
        version: str = "",
        flows: Readings = tuple,
        disks: DiskReadings = tuple,
        archive: Callable[[], ArchiveState] = ArchiveState,
        documents: Callable[[], DocumentTiers] = DocumentTiers,
        incomplete_tables: Callable[[], int] = int,
        backups: Callable[[], Mapping[str, datetime]] = dict,
        table: Iterable[Metric] = REPORTED,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and nothing reads them
        self._registry = CollectorRegistry()
        declared = {"streams": tuple(streams), "batches": tuple(batches)}
        self._table = index(table)
        self._families = {name: _create_family(row, declared, self._registry) for name, row in self._table.items()}
        Info("spotlightd_build", "The version that runs.", registry=self._registry).info({"version": version})
        ProcessCollector(registry=self._registry)
        for collector in (
            Flows(flows),
            Disks(disks),
            Archive(archive),
            Documents(documents),
            Tables(incomplete_tables),
            Backups(backups),
        ):
            self._registry.register(collector)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)

    def list_metrics(self) -> tuple[ListedMetric, ...]:
        """Every metric, by name."""
        table = (*self._table.values(), *COLLECTED)
        listed = [ListedMetric(PREFIX + row.name, row.kind, row.label_names, row.help) for row in table]
        listed.append(ListedMetric("spotlightd_build_info", "info", ("version",), "The version that runs."))
        for metric in ProcessCollector(registry=None).collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            listed.append(ListedMetric(name, metric.type, (), metric.documentation))
        return tuple(sorted(listed, key=lambda metric: metric.name))

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        self._series(name, "counter", labels).inc(value)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self._series(name, "gauge", labels).set(value)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        self._series(name, "histogram", labels).observe(max(0.0, value))

    def _series(self, name: str, kind: Kind, labels: Mapping[str, str]) -> Any:
        metric, family = find_metric(self._table, name, kind, labels), self._families[name]
        values = ((labels[label], family.values[label]) for label in metric.label_names)
        return family.series[tuple(value if value in known else OTHER for value, known in values)]


@dataclass(frozen=True, slots=True)
class _Family:
    """All series of a metric, by the values of its labels. `values` are the known values of each label."""

    values: Mapping[str, frozenset[str]]
    series: Mapping[tuple[str, ...], Counter | Gauge | Histogram]


def _create_family(metric: Metric, declared: Mapping[str, tuple[str, ...]], registry: CollectorRegistry) -> _Family:
    values = {label.name: (*declared.get(label.declared, label.values), OTHER) for label in metric.labels}
    name, names = PREFIX + metric.name, metric.label_names
    family: Counter | Gauge | Histogram
    match metric.kind:
        case "counter":
            family = Counter(name, metric.help, names, registry=registry)
        case "gauge":
            family = Gauge(name, metric.help, names, registry=registry)
        case "histogram":
            family = Histogram(name, metric.help, names, registry=registry, buckets=metric.buckets)
    series = {key: family.labels(*key) if key else family for key in product(*values.values())}
    return _Family({label: frozenset(known) for label, known in values.items()}, series)
