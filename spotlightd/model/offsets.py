"""The ledger's records for streams: epochs, positions, intents, gaps, and the states of listeners and drains.

No offset is assigned here: the bus assigns them (`clients/locallog/file.py`, or the Kafka broker).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Epoch:
    """The log that a source's offsets belong to. `number` grows by one whenever the log is replaced."""

    source: str
    number: int
    log_id: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far one partition is drained: all offsets below `offset` are durable in the warehouse, decoded or rejected.

    `key` is the key of the last record before it (empty when there is none). The log is unchanged only if the record
    at that place still has this key.
    """

    epoch: int
    partition: int
    offset: int
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Intent:
    """Offsets [lo, hi) of one partition that are being moved, all received on one day. Written before anything moves.

    `frames` is the number of records (offsets may have holes), `decode` identifies the decode of the rows, `part` is the
    part of the day, and `load_id` is the load of the rows.
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
        """Names the statements of the intent, so that repetitions are recognized and running statements are found.

        The nonce belongs to the intent: the same offsets in another intent are other statements.
        """
        return f"{self.source}-{self.epoch}-{self.partition}-{self.lo}-{self.hi}-{self.nonce}"


Cause = Literal[
    "closed by the venue", "connection lost", "connection refused", "stale", "asleep", "sequence hole",
    "sequence restart", "spool full", "crash", "stopped", "log lost", "refused by the venue",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """A span in which frames may be missing: no frame sent in it is guaranteed. `symbol` empty = all symbols.

    `until` may be before `since` for a hole in a log, whose frames are known only by offset; `detail` explains it.
    """

    source: str
    since: datetime
    until: datetime
    cause: Cause
    symbol: str = ""
    detail: str = ""
    repaired_by: str = ""


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A gap that is not over, so that it has no row yet. Its row will begin at `since`. `symbol` empty = all symbols."""

    since: datetime
    cause: Cause
    symbol: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LostFrame:
    """A frame that could not be decoded: its place, its first bytes, and the reason."""

    epoch: int
    partition: int
    offset: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Completion:
    """An intent whose frames and rows are durable: the key of its last record, and its rejected frames."""

    intent: Intent
    key: bytes
    lost: Sequence[LostFrame] = ()


@dataclass(frozen=True, slots=True)
class FeedState:
    """The state of a listener. `frames`, `size` (bytes), `connects` and `shed` count since the daemon's start.

    `open_gaps` are those that it is in. `clock_offset_seconds` is by how much the venue's clock is ahead of ours, as its
    trades show it (below 0: behind, or they come late); None until it is known. `is_clock_off`: by more than tolerated.
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
    open_gaps: tuple[OpenGap, ...] = ()
    detail: str = ""
    clock_offset_seconds: float | None = None
    is_clock_off: bool = False


@dataclass(frozen=True, slots=True)
class DrainState:
    """The state of the drain of one partition. `end` is the end of the log, `lag_seconds` the age of the oldest frame
    that is not drained, `newest` the time of receipt of the newest drained frame.
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
    detail: str = ""
    newest: datetime | None = None

    def is_past(self, moment: datetime) -> bool:
        """Whether no frame received before that moment waits on the bus. Frames are on the bus in order of receipt."""
        return self.offset >= self.end or (self.newest is not None and self.newest >= moment)
