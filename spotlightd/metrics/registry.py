"""What the flows count, told to Prometheus: the only door to prometheus_client.

All series are made at the start, from declared names only, and a name that nobody declared counts as `other`: their
number cannot grow with the data, and a rate is right from the first event on. How the flows stand is read from the
board when somebody asks, so it is true even when nothing moves any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar, get_args

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
from prometheus_client.core import Metric

from spotlightd.metrics.collectors import Archive, DiskReadings, Disks, Documents, Flows, Readings
from spotlightd.model.document_tiers import DocumentTiers
from spotlightd.model.offsets import Cause
from spotlightd.model.partition import ArchiveState
from spotlightd.model.provenance import Outcome
from spotlightd.ports.metrics import Stage

OTHER = "other"
LAGS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LOOP_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0)
NUMBERS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000)
SIZES = (1 << 10, 16 << 10, 128 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20)

Series = TypeVar("Series", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class Listed:
    """One metric as the documentation lists it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str


class PrometheusMeters:
    """The port `Meters`, on a registry of its own. `streams` and `batches` are the names of the declared sources."""

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
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series each for when it was made: nobody asks
        self._registry = CollectorRegistry()
        self._streams = _Streams(self._registry, tuple(streams))
        self._batches = _Batches(self._registry, tuple(batches))
        self._loop_lag = Histogram(
            "spotlightd_loop_lag_seconds",
            "How much later than asked the event loop came round.",
            registry=self._registry,
            buckets=LOOP_LAGS,
        )
        self._log = _Log(self._registry)
        Info("spotlightd_build", "The version that runs.", registry=self._registry).info({"version": version})
        ProcessCollector(registry=self._registry)
        self._registry.register(Flows(flows))
        self._registry.register(Disks(disks))
        self._registry.register(Archive(archive))
        self._registry.register(Documents(documents))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)

    def listed(self) -> tuple[Listed, ...]:
        """Every metric there is, by name."""
        return tuple(sorted((_listed(one) for one in self._registry.collect()), key=lambda one: one.name))

    def received(self, source: str, *, frames: int, size: int) -> None:
        _of(self._streams.received, source).inc(frames)
        _of(self._streams.received_bytes, source).inc(size)

    def shed(self, source: str, *, frames: int) -> None:
        _of(self._streams.shed, source).inc(frames)

    def spooled(self, source: str, *, frames: int, size: int) -> None:
        _of(self._streams.spool_frames, source).set(frames)
        _of(self._streams.spool_bytes, source).set(size)

    def drained(self, source: str, *, frames: int, rows: int, size: int, seconds: float) -> None:
        _of(self._streams.drained, source).inc(frames)
        _of(self._streams.rows, source).inc(rows)
        _of(self._streams.drained_bytes, source).inc(size)
        _of(self._streams.batch_frames, source).observe(frames)
        _of(self._streams.batch_rows, source).observe(rows)
        _of(self._streams.batch_bytes, source).observe(size)
        _of(self._streams.batch_seconds, source).observe(seconds)

    def lagged(self, source: str, stage: Stage, seconds: float) -> None:
        _of(_of(self._streams.lag, source), stage).observe(max(0.0, seconds))

    def behind(self, source: str, *, frames: int) -> None:
        _of(self._streams.behind, source).set(frames)

    def retried(self, source: str) -> None:
        _of(self._streams.retries, source).inc()

    def gap(self, source: str, cause: str) -> None:
        _of(_of(self._streams.gaps, source), cause).inc()

    def rejected(self, source: str, *, frames: int) -> None:
        _of(self._streams.rejected, source).inc(frames)

    def connected(self, source: str, *, now: bool) -> None:
        _of(self._streams.connected, source).set(now)

    def document(self, source: str, outcome: Outcome, *, rows: int = 0) -> None:
        _of(_of(self._batches.documents, source), outcome).inc()
        _of(self._batches.rows, source).inc(rows)

    def log_written(self, *, events: int) -> None:
        self._log.written.inc(events)

    def log_left_out(self, *, events: int) -> None:
        self._log.left_out.inc(events)

    def loop_lagged(self, seconds: float) -> None:
        self._loop_lag.observe(max(0.0, seconds))


class _Streams:
    """What is counted of streams: every series by source, made at once."""

    def __init__(self, registry: CollectorRegistry, sources: tuple[str, ...]) -> None:
        made = _Maker(registry, (*sources, OTHER))
        self.received = made.counter("frames_received_total", "Frames taken from the socket.")
        self.received_bytes = made.counter("received_bytes_total", "Bytes of the frames taken from the socket.")
        self.shed = made.counter("frames_shed_total", "Frames that found no room in the spool: each is in a gap.")
        self.spool_frames = made.gauge("spool_frames", "Frames in the spool, not yet known to be in the warehouse.")
        self.spool_bytes = made.gauge("spool_bytes", "Bytes of the frames in the spool.")
        self.drained = made.counter("frames_drained_total", "Frames moved into the warehouse.")
        self.rows = made.counter("rows_decoded_total", "Rows, such as trades, decoded from the frames moved.")
        self.drained_bytes = made.counter("drained_bytes_total", "Bytes of the frames moved into the warehouse.")
        self.batch_frames = made.histogram("batch_frames", "Frames moved into the warehouse at once.", NUMBERS)
        self.batch_rows = made.histogram("batch_rows", "Rows decoded from the frames moved at once.", NUMBERS)
        self.batch_bytes = made.histogram("batch_bytes", "Bytes of the frames moved at once.", SIZES)
        self.batch_seconds = made.histogram("batch_seconds", "How long the statements of one batch took.", LAGS)
        says = "From receiving a frame to: on the bus, in the frames table, queryable as rows."
        self.lag = made.histograms("lag_seconds", says, "stage", get_args(Stage), LAGS)
        self.behind = made.gauge("bus_waiting_frames", "Frames on the bus that are not in the warehouse yet.")
        self.retries = made.counter("retries_total", "Batches, connections or appends that were tried again.")
        self.gaps = made.counters("gaps_total", "Gaps written down, by cause.", "cause", get_args(Cause))
        self.rejected = made.counter("frames_rejected_total", "Frames that could not be decoded: kept, and listed.")
        self.connected = made.gauge("connected", "1 while the socket is open, else 0.")


class _Batches:
    """What is counted of sources that publish documents."""

    def __init__(self, registry: CollectorRegistry, sources: tuple[str, ...]) -> None:
        made = _Maker(registry, (*sources, OTHER))
        says = "Documents asked for, by what became of them."
        self.documents = made.counters("documents_total", says, "outcome", get_args(Outcome))
        self.rows = made.counter("rows_published_total", "Rows of documents that became visible to readers.")


class _Log:
    """What is counted of the log's own table."""

    def __init__(self, registry: CollectorRegistry) -> None:
        says = "Rows written to the table logs, those about left out events included."
        self.written = Counter("spotlightd_log_events_written_total", says, registry=registry)
        says = "Events of the log that are not in the table logs; a row there says how many."
        self.left_out = Counter("spotlightd_log_events_left_out_total", says, registry=registry)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes metrics with all their series: one for each source, or for each source and word of a closed list."""

    registry: CollectorRegistry
    sources: tuple[str, ...]

    def counter(self, name: str, says: str) -> Mapping[str, Counter]:
        return self._by_source(Counter(f"spotlightd_{name}", says, ["source"], registry=self.registry))

    def counters(self, name: str, says: str, label: str, words: Iterable[str]) -> Mapping[str, Mapping[str, Counter]]:
        return self._by_both(Counter(f"spotlightd_{name}", says, ["source", label], registry=self.registry), words)

    def gauge(self, name: str, says: str) -> Mapping[str, Gauge]:
        return self._by_source(Gauge(f"spotlightd_{name}", says, ["source"], registry=self.registry))

    def histogram(self, name: str, says: str, buckets: tuple[float, ...]) -> Mapping[str, Histogram]:
        made = Histogram(f"spotlightd_{name}", says, ["source"], registry=self.registry, buckets=buckets)
        return self._by_source(made)

    def histograms(
        self, name: str, says: str, label: str, words: Iterable[str], buckets: tuple[float, ...]
    ) -> Mapping[str, Mapping[str, Histogram]]:
        made = Histogram(f"spotlightd_{name}", says, ["source", label], registry=self.registry, buckets=buckets)
        return self._by_both(made, words)

    def _by_source(self, made: Series) -> Mapping[str, Series]:
        return {source: made.labels(source) for source in self.sources}

    def _by_both(self, made: Series, words: Iterable[str]) -> Mapping[str, Mapping[str, Series]]:
        known = (*words, OTHER)
        return {source: {word: made.labels(source, word) for word in known} for source in self.sources}


T = TypeVar("T")


def _of(series: Mapping[str, T], name: str) -> T:
    found = series.get(name)
    return series[OTHER] if found is None else found


def _listed(metric: Metric) -> Listed:
    """As text() names it: counters end in _total. The labels are those of its samples, but for a histogram's `le`."""
    name = {"counter": f"{metric.name}_total", "info": f"{metric.name}_info"}.get(metric.type, metric.name)
    labels = dict.fromkeys(label for sample in metric.samples for label in sample.labels if label != "le")
    return Listed(name, metric.type, tuple(labels), metric.documentation)
