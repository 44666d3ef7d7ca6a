"""The counts of a stream that belong together."""

from __future__ import annotations

from collections.abc import Sequence

from spotlightd.log import logger
from spotlightd.model.offsets import LostFrame
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


def count_rejects(metrics: Metrics, source: str, lost: Sequence[LostFrame]) -> None:
    """Frames that cannot be decoded; the ledger has each of them."""
    if lost:
        metrics.count("frames_rejected_total", len(lost), source=source)
        logger(source=source).warning("frames rejected", frames=len(lost), reason=lost[0].reason)
