"""What the drain intends and has done, and the holes that a feed has: the words that the ledger keeps for streams."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Epoch:
    """Which log a source's offsets belong to. `number` grows by one whenever the log is another."""

    source: str
    number: int
    log_id: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far one partition is drained: all offsets below `offset` are durable in the warehouse, decoded or rejected.

    `key` is the key of the last record before it (empty when there is none): the log is the same log only if the
    record there still carries it.
    """

    epoch: int
    partition: int
    offset: int
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Intent:
    """Offsets [lo, hi) of one partition that are being moved, all received on one day: written before anything moves.

    `frames` is how many records are there (offsets may have holes), `decode` which decode the rows are to be of,
    `part` which part of the day, `load_id` the load that the rows carry.
    """

    source: str
    epoch: int
    partition: int
    lo: int
    hi: int
    frames: int
    day: date
    part: int
    load_id: int
    decode: str
    nonce: str

    @property
    def token(self) -> str:
        """Names its statements, so that a repeat is known as one and a statement that still runs is found.

        The nonce is the intent's own: the same offsets under another intent are other statements.
        """
        return f"{self.source}-{self.epoch}-{self.partition}-{self.lo}-{self.hi}-{self.nonce}"


Cause = Literal[
    "closed by the venue", "connection lost", "connection refused", "stale", "sequence hole", "spool full", "crash",
    "stopped", "log lost", "refused by the venue",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """A span in which frames may be missing: nothing that was sent in it is promised. `symbol` empty = all of them.

    `until` may be before `since` for a hole in a log, whose frames are known by offset only; `says` tells more.
    """

    source: str
    since: datetime
    until: datetime
    cause: Cause
    symbol: str = ""
    says: str = ""
    repaired_by: str = ""


@dataclass(frozen=True, slots=True)
class LostFrame:
    """A frame that could not be decoded: where it stands, how it begins, and why."""

    epoch: int
    partition: int
    offset: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class FeedState:
    """What a listener is doing now. `frames`, `size` (bytes), `connects` and `shed` count since the daemon's start.

    `shed_since`: since when frames have been shed, while they are.
    """

    source: str
    state: Literal["connecting", "connected", "waiting", "refused", "stopped"]
    since: datetime
    symbols: tuple[str, ...] = ()
    frames: int = 0
    size: int = 0
    connects: int = 0
    shed: int = 0
    last_frame_at: datetime | None = None
    shed_since: datetime | None = None
    says: str = ""


@dataclass(frozen=True, slots=True)
class DrainState:
    """Where the drain of one partition stands. `end` is the log's, `lag_seconds` the age of the oldest frame not drained,
    `newest` when the newest drained one was received.
    """

    source: str
    partition: int
    epoch: int
    offset: int
    end: int
    lag_seconds: float = 0.0
    batches: int = 0
    frames: int = 0
    rows: int = 0
    last_batch_at: datetime | None = None
    says: str = ""
    newest: datetime | None = None

    def is_past(self, moment: datetime) -> bool:
        """Whether nothing that was received before that moment waits on the bus, where frames lie as they came."""
        return self.offset >= self.end or (self.newest is not None and self.newest >= moment)
