"""The port `Metrics`, through which the flows count, and the readings that the metrics take of flows and disks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Stage = Literal["bus", "table", "queryable"]
Server = Literal["explorer", "metrics"]
DropReason = Literal["head", "idle", "body", "send", "room", "address", "descriptors", "network"]
"""What a client was late with, or what there was too little of. `network`: the connection failed while it was accepted."""


@dataclass(frozen=True, slots=True)
class FlowReading:
    """One flow as the metrics read it.

    `silent_seconds` is the time since its last beat. `pause_seconds` is the longest pause between two beats that it
    promised, 0 for no promise.
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
    """One file system as the metrics read it.

    `level` starts at 0, which is fine. `full_in_seconds` is infinite when the file system does not grow, and None while
    the rate is not known.
    """

    filesystem: str
    size: int
    free: int
    level: int
    ballast: int = 0
    full_in_seconds: float | None = None
    answers: bool = True


class Metrics(Protocol):
    """Names, labels and kinds are those of the table, spotlightd/metrics/table.py. Every call is cheap and never waits.

    A label value that was not declared counts as `other`, so no series comes from data. A name that is not in the table,
    or labels other than the table's, are a ValueError: a mistake in the code, which a test finds in every call.
    """

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Add an observation to a histogram. A value below 0 counts as 0: the clock was set back in between."""
