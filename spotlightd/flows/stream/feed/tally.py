"""What a listener counts since its start, for its status and for the metrics."""

from __future__ import annotations

from spotlightd.flows.stream.counters import count_received, measure_spool
from spotlightd.ports.bus import Spool
from spotlightd.ports.metrics import Metrics


class Tally:
    """The counts of one feed. `last_at` is when its last frame was received, in nanoseconds since 1970; 0 before it."""

    def __init__(self, source: str, spool: Spool, metrics: Metrics) -> None:
        self._source, self._spool, self._metrics = source, spool, metrics
        self._reported = (0, 0, 0)
        self.frames, self.size, self.shed, self.connects, self.last_at = 0, 0, 0, 0, 0

    def add(self, value: bytes) -> None:
        """A frame was received."""
        self.frames += 1
        self.size += len(value)

    def report(self) -> int:
        """Add the counts since the last call to the metrics. Returns the number of frames."""
        counts = (self.frames, self.size, self.shed)
        frames, size, shed = (now - before for now, before in zip(counts, self._reported, strict=True))
        self._reported = counts
        count_received(self._metrics, self._source, frames=frames, size=size, shed=shed)
        measure_spool(self._metrics, self._source, self._spool)  # here, because the listener goes on without a bus
        return frames
