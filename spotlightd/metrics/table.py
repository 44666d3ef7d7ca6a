"""The one table of metrics. The registry, the page docs/metrics.md and the silent twin of the tests come from it.

A counter is one row here and the call: `metrics.count("frames_shed_total", shed, source=name)`. Prometheus sees each
name with `spotlightd_` in front of it. A label has declared values only, so the number of series never grows with data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from spotlightd.model.offsets import Cause
from spotlightd.model.provenance import Outcome
from spotlightd.ports.metrics import DropReason, Server, Stage

Kind = Literal["counter", "gauge", "histogram"]
PREFIX = "spotlightd_"


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its values: a closed list, or the names of the declared streams or batch sources."""

    name: str
    values: tuple[str, ...] = ()
    declared: Literal["", "streams", "batches"] = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row. `buckets` are a histogram's upper bounds. `help` is a sentence that Prometheus and the docs show."""

    name: str
    kind: Kind
    labels: tuple[Label, ...]
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)


LAGS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LOOP_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0)
NUMBERS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000)
SIZES = (1 << 10, 16 << 10, 128 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20)

STREAM = Label("source", declared="streams")
BATCH = Label("source", declared="batches")
STAGE = Label("stage", get_args(Stage))
CAUSE = Label("cause", get_args(Cause))
OUTCOME = Label("outcome", get_args(Outcome))
SERVER, REASON = Label("server", get_args(Server)), Label("reason", get_args(DropReason))
FLOW, STATE, FILESYSTEM = Label("flow"), Label("state"), Label("filesystem")
PARTITION_STAGE, CHECK, WHERE = Label("stage"), Label("kind"), Label("where")

# What the flows report, through the port `Metrics`.
REPORTED = (
    # A stream: listening, the spool, the bus.
    Metric("frames_received_total", "counter", (STREAM,), "Frames received from the socket."),
    Metric("received_bytes_total", "counter", (STREAM,), "Bytes of the frames received from the socket."),
    Metric("frames_shed_total", "counter", (STREAM,), "Frames that found no room in the spool. Each is in a gap."),
    Metric("spool_frames", "gauge", (STREAM,), "Frames in the spool that are not confirmed to be in the warehouse yet."),
    Metric("spool_bytes", "gauge", (STREAM,), "Bytes of the frames in the spool."),
    Metric("connected", "gauge", (STREAM,), "1 while the socket is open, else 0."),
    Metric("retries_total", "counter", (STREAM,), "Batches, connections or appends that were tried again."),
    Metric("gaps_total", "counter", (STREAM, CAUSE), "Gaps recorded, by cause."),
    Metric(
        "venue_clock_offset_seconds", "gauge", (STREAM,),
        "By how much the venue's clock is ahead of this machine's, as its trades show it. Below 0: behind, or late trades.",
    ),
    # A stream: the drain into the warehouse.
    Metric("frames_drained_total", "counter", (STREAM,), "Frames moved into the warehouse."),
    Metric("rows_decoded_total", "counter", (STREAM,), "Rows, such as trades, decoded from the frames moved."),
    Metric("drained_bytes_total", "counter", (STREAM,), "Bytes of the frames moved into the warehouse."),
    Metric("frames_rejected_total", "counter", (STREAM,), "Frames that could not be decoded. They are kept and listed."),
    Metric("batch_frames", "histogram", (STREAM,), "Frames per batch moved into the warehouse.", NUMBERS),
    Metric("batch_rows", "histogram", (STREAM,), "Rows decoded per batch.", NUMBERS),
    Metric("batch_bytes", "histogram", (STREAM,), "Bytes of the frames of a batch.", SIZES),
    Metric("batch_seconds", "histogram", (STREAM,), "How long the statements of one batch took.", LAGS),
    Metric("bus_waiting_frames", "gauge", (STREAM,), "Frames on the bus that are not in the warehouse yet."),
    Metric(
        "lag_seconds", "histogram", (STREAM, STAGE),
        "Time from receiving a frame until it is: on the bus, in the frames table, queryable as rows.", LAGS,
    ),
    # A source that publishes documents.
    Metric(
        "looks_total", "counter", (BATCH, OUTCOME),
        "Looks for documents, by outcome: `discovered` when they were listed, anything else is a failed look.",
    ),
    Metric("documents_total", "counter", (BATCH, OUTCOME), "Documents requested, by outcome."),
    Metric(
        "documents_repeating_keys_total", "counter", (BATCH,),
        "Documents refused because another visible document has some of their keys.",
    ),
    Metric("rows_published_total", "counter", (BATCH,), "Rows of documents that became visible to readers."),
    Metric(
        "source_late_since_timestamp_seconds", "gauge", (BATCH,),
        "When the newest slice that is missing was due, in Unix time, as of the source's last check. 0 when none is missing.",
    ),
    Metric(
        "slices_missing", "gauge", (BATCH,), "Slices that were due in the last 90 days and are not here.",
    ),
    Metric(
        "quiet_changes", "gauge", (BATCH,),
        "Changes of the last 14 days in a source's documents that the publisher did not announce: see the table quiet_changes.",
    ),
    # The daemon itself.
    Metric(
        "connections_dropped_total", "counter", (SERVER, REASON),
        "Connections that a server closed or refused: its client was late, or they were too many.",
    ),
    Metric("loop_lag_seconds", "histogram", (), "Delay of the event loop beyond what was requested.", LOOP_LAGS),
    Metric(
        "log_events_written_total", "counter", (),
        "Rows written to the table logs, including those that count events left out.",
    ),
    Metric(
        "log_events_left_out_total", "counter", (),
        "Log events that are not in the table logs. A row there holds their number.",
    ),
)  # fmt: skip

# What the collectors read at each scrape, so that it is true even when nothing moves.
COLLECTED = (
    Metric("flow_state", "gauge", (FLOW, STATE), "1 for the current state of the flow, else 0."),
    Metric("flow_beats_total", "counter", (FLOW,), "Iterations of the flow's loop."),
    Metric("flow_restarts_total", "counter", (FLOW,), "How often the flow failed and was started again."),
    Metric("flow_silent_seconds", "gauge", (FLOW,), "Time since the flow's last beat, or since its start."),
    Metric(
        "flow_pause_seconds", "gauge", (FLOW,),
        "The longest pause between two beats that the flow promises, 0 for no promise. Silent for 3 pauses means it hangs.",
    ),
    Metric("flow_lag_seconds", "gauge", (FLOW,), "How far behind the flow is."),
    Metric("flow_waiting_items", "gauge", (FLOW,), "Items that wait for the flow."),
    Metric("disk_size_bytes", "gauge", (FILESYSTEM,), "Usable size of the file system."),
    Metric("disk_free_bytes", "gauge", (FILESYSTEM,), "Free space of the file system."),
    Metric(
        "disk_level", "gauge", (FILESYSTEM,),
        "0 fine, 1 filling up, 2 batch loads paused, 3 the drain paused too, 4 ballast released.",
    ),
    Metric("disk_ballast_bytes", "gauge", (FILESYSTEM,), "Size of spotlightd's ballast file, 0 when there is none."),
    Metric(
        "disk_full_in_seconds", "gauge", (FILESYSTEM,),
        "Time until the file system is full at its current rate, +Inf when it does not grow.",
    ),
    Metric("disk_answers", "gauge", (FILESYSTEM,), "1 while the file system answers, 0 while it hangs."),
    Metric("tables_incomplete", "gauge", (), "Tables that lack rows that are known of them: missing, empty, stale or short."),
    Metric("archive_partitions", "gauge", (PARTITION_STAGE,), "Partitions by stage of archiving."),
    Metric("archive_rows", "gauge", (), "Rows that are read from the bucket."),
    Metric("archive_bytes", "gauge", (), "Length of the files that hold the archived rows."),
    Metric("archive_check_well", "gauge", (CHECK,), "1 when the last check of its kind passed, else 0."),
    Metric("archive_check_age_seconds", "gauge", (CHECK,), "Time since the last check of its kind."),
    Metric(
        "archive_retention_shortened", "gauge", (),
        "Datasets that are to stay hot for fewer days than before, which waits for a day.",
    ),
    Metric(
        "documents_retention_shortened", "gauge", (),
        "Sources whose documents are to stay in the folder for fewer days than before, which waits for a day.",
    ),
    Metric(
        "backup_age_seconds", "gauge", (CHECK,),
        "Time since the start of the newest backup (`written`), and of the newest one that was restored on trial (`tried`).",
    ),
    Metric("documents_kept", "gauge", (WHERE,), "Raw documents by the place where they are stored."),
    Metric("documents_kept_bytes", "gauge", (WHERE,), "Length of the raw documents in that place."),
    Metric("documents_amiss", "gauge", (), "Raw documents that are missing, or whose copy is damaged."),
)  # fmt: skip


def index(metrics: Iterable[Metric]) -> Mapping[str, Metric]:
    """By name."""
    return {metric.name: metric for metric in metrics}


def find_metric(table: Mapping[str, Metric], name: str, kind: Kind, labels: Collection[str]) -> Metric:
    """The metric for a call. ValueError if the table has none of that name, kind and labels."""
    metric = table.get(name)
    if metric is None:
        raise ValueError(f"the table of metrics has no {name}: add a row to spotlightd/metrics/table.py")
    if metric.kind != kind:
        raise ValueError(f"{name} is a {metric.kind}, not a {kind}")
    if set(labels) != set(metric.label_names):
        raise ValueError(f"{name} has the labels {', '.join(metric.label_names) or '(none)'}, not {', '.join(labels)}")
    return metric
