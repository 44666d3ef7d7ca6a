"""What the flows count, as they see it: the port `Meters`. Who reads it is not their business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from spotlightd.model.provenance import Outcome

Stage = Literal["bus", "table", "queryable"]


@dataclass(frozen=True, slots=True)
class FlowReading:
    """One flow as the metrics read it: how long it has been silent, and the pause between two beats that it promised.

    `pause_seconds` is 0 when it promised none.
    """

    flow: str
    state: str
    restarts: int = 0
    beats: int = 0
    silent_seconds: float = 0.0
    pause_seconds: float = 0.0
    lag_seconds: float = 0.0
    queue: int = 0


@dataclass(frozen=True, slots=True)
class DiskReading:
    """One file system as the metrics read it. `level` counts from 0, fine; `full_in_seconds` is endless when it does not
    grow, None while that is not known.
    """

    filesystem: str
    size: int
    free: int
    level: int
    ballast: int = 0
    full_in_seconds: float | None = None
    answers: bool = True


class Meters(Protocol):
    """Every call is cheap, never waits and never fails. `source` is a declared name: no other labels grow with data."""

    def received(self, source: str, *, frames: int, size: int) -> None:
        """Frames that a listener took from its socket."""

    def shed(self, source: str, *, frames: int) -> None:
        """Frames that found no room in the spool."""

    def spooled(self, source: str, *, frames: int, size: int) -> None:
        """What waits in the spool now."""

    def drained(self, source: str, *, frames: int, rows: int, size: int, seconds: float) -> None:
        """A batch is in the table: its frames, rows and bytes, and how long its statements took."""

    def lagged(self, source: str, stage: Stage, seconds: float) -> None:
        """From receiving a frame to that stage: on the bus, written to the frames table, queryable as rows."""

    def behind(self, source: str, *, frames: int) -> None:
        """What waits on the bus now."""

    def retried(self, source: str) -> None: ...

    def gap(self, source: str, cause: str) -> None: ...

    def rejected(self, source: str, *, frames: int) -> None: ...

    def connected(self, source: str, *, now: bool) -> None: ...

    def document(self, source: str, outcome: Outcome, *, rows: int = 0) -> None:
        """What became of one document of a batch source, and how many rows it brought to readers."""

    def log_written(self, *, events: int) -> None:
        """Events of the log that are in its table now."""

    def log_left_out(self, *, events: int) -> None:
        """Events of the log that will not be in its table: a row there says how many."""

    def loop_lagged(self, seconds: float) -> None:
        """How much later than asked the event loop came round."""
