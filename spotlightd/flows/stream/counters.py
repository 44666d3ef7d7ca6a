"""The counts of a stream that belong together."""

from __future__ import annotations

from spotlightd.ports.bus import Spool
from spotlightd.ports.metrics import Metrics


def count_received(metrics: Metrics, source: str, *, frames: int, size: int, shed: int) -> None:
    """Frames received from the socket, their bytes, and the frames that found no room in the spool."""
    metrics.count("frames_received_total", frames, source=source)
    metrics.count("received_bytes_total", size, source=source)
    metrics.count("frames_shed_total", shed, source=source)


def measure_spool(metrics: Metrics, source: str, spool: Spool) -> int:
    """Report how much is in the spool. Returns the number of its frames."""
    frames, size = spool.depth(source)
    metrics.gauge("spool_frames", frames, source=source)
    metrics.gauge("spool_bytes", size, source=source)
    return frames


def count_batch(metrics: Metrics, source: str, *, frames: int, rows: int, size: int, seconds: float) -> None:
    """A batch that is in the warehouse: its frames, rows and bytes, and how long its statements took."""
    metrics.count("frames_drained_total", frames, source=source)
    metrics.count("rows_decoded_total", rows, source=source)
    metrics.count("drained_bytes_total", size, source=source)
    metrics.observe("batch_frames", frames, source=source)
    metrics.observe("batch_rows", rows, source=source)
    metrics.observe("batch_bytes", size, source=source)
    metrics.observe("batch_seconds", seconds, source=source)
