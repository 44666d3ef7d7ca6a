"""A stream source: how to reach a venue, what to say to it, and how its frames become rows. It opens no socket.

`decode` is one SELECT that the engine runs over the source's frames. It reads from `{frames}`, which stands for the
frames to be decoded with the columns of `frames_of(source)`, and answers the reader's columns of the dataset (but for
`source`), the pointer (`epoch`, `partition`, `offset`, `frame_index`), and `reject`: empty for a row; for a frame that could
not be understood, one row with the reason (whatever stands in its other columns is ignored). A frame that is understood
and carries nothing (a ping) answers no row. A cut-off frame unfolds into no rows either, so strictness has two levels:
look at the frame before unfolding it, and at the fields after.

A feed that SQL cannot decode gives `parse` instead: pure Python over a Body whose file is an Arrow IPC stream of those
frames, which yields Rows (dataset columns and pointer) and Rejects (`line` is the frame's place in the file, 1 first).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date

from spotlightd.errors import PublisherError, SettingsError
from spotlightd.model.bus import Topic
from spotlightd.model.dataset import NAME, Column, Dataset, Retention, Rhythm
from spotlightd.model.offsets import Cause
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Rows


@dataclass(frozen=True, slots=True)
class Feed:
    """What the operator's settings say about one stream: what to subscribe to, and the key (a secret: never logged)."""

    symbols: tuple[str, ...] = ()
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Stream:
    """A source that sends messages over a websocket.

    address(feed)    where to connect; it may hold the key, so it is never logged
    hello(feed)      what to send once connected, message by message: the subscriptions
    decode           the SELECT of the module's docstring; or `parse`
    first_look       a cheaper SELECT that is tried first: the same rows, and a reject for each frame that it is not sure of
    trouble(value)   a frame by which the venue refuses us: its sentence, for the operator; empty for all other frames
    numbered(value)  the venue's own number of a frame in its channel, where there is one: holes are then noticed
    refill(channel, first, last)  asks the venue for frames that are missing, numbers inclusive; kept like received ones
    hosts            the only hosts that are connected to
    stale_seconds    after so long without any frame, pings included, the connection is dead
    ping_seconds     how often we ping the venue, when it is known to answer; 0 = never
    priority         what is shed first when the spool is full: the lowest
    suspended        why it is not collected; empty when it is
    """

    name: str
    title: str
    home: str
    datasets: tuple[Dataset, ...]
    address: Callable[[Feed], str]
    hello: Callable[[Feed], Iterator[str]]
    hosts: tuple[str, ...]
    decode: str = ""
    first_look: str = ""
    parse: Callable[[Body], Iterator[Rows | Reject]] | None = None
    trouble: Callable[[bytes], str] = lambda _: ""
    numbered: Callable[[bytes], tuple[str, int] | None] | None = None
    refill: Callable[[str, int, int], Awaitable[list[bytes]]] | None = None
    stale_seconds: float = 60.0
    ping_seconds: float = 20.0
    partitions: int = 1
    retention_hours: int = 168
    retention_bytes: int = 8 << 30
    max_frame_bytes: int = 16 << 20
    priority: int = 100
    key_required: bool = False
    version: str = "1"
    suspended: str = ""

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"source name {self.name!r}: use lower case letters, digits and _")
        if len(self.datasets) != 1:
            raise SettingsError(f"stream {self.name}: it must feed one dataset, not {len(self.datasets)}")
        if bool(self.decode) == (self.parse is not None):
            raise SettingsError(f"stream {self.name}: give it either `decode` or `parse`")

    @property
    def dataset(self) -> Dataset:
        return self.datasets[0]

    @property
    def parser(self) -> str:
        """Which decode this is: a digest of its text, or of the version of `parse`; with other words, another load."""
        text = f"{self.decode}{self.first_look}" or f"parse {self.version}"
        columns = ", ".join(f"{one.name} {one.type}" for one in self.dataset.stored)
        return hashlib.sha256(f"{text}\n{columns}".encode()).hexdigest()[:16]

    @property
    def topic(self) -> Topic:
        return Topic(
            self.name, self.partitions, self.retention_hours, self.retention_bytes, self.max_frame_bytes + (1 << 20)
        )


class FeedError(PublisherError):
    """A connection to a venue could not be made, or ended; `cause` is the word for it that gaps know."""

    def __init__(
        self, cause: Cause, message: str, *, status: int = 0, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, status=status, retry_after_seconds=retry_after_seconds)
        self.cause: Cause = cause


FRAME_PLACE = (
    Column("epoch", "UInt16", "which log of the bus: a new one after the topic was lost or made anew", codec="ZSTD(1)"),
    Column("partition", "UInt16", "partition of the topic", codec="ZSTD(1)"),
    Column("offset", "UInt64", "offset in the partition", codec="Delta, ZSTD(1)"),
)
PLACE = (*FRAME_PLACE, Column("frame_index", "UInt16", "which row of the frame, 0 for the first", codec="ZSTD(1)"))
"""The pointer of a row that came in a frame: it leads into the frames table of its source."""


def frames_of(source: Stream) -> Dataset:
    """The table of a source's frames as they were received: what its rows lead back to."""
    return Dataset(
        name=f"{source.name}_frames",
        title=f"{source.title}: frames",
        publisher=source.title,
        about="Every frame as it was received, byte for byte: what the rows decoded from it lead back to.",
        columns=(
            *FRAME_PLACE,
            Column("part", "UInt16", "part of the received day, 1 for the first: what one load decodes", codec="ZSTD(1)"),
            Column("connection", "UInt64", "random number of the connection; 0 for a record that we did not write", codec="ZSTD(1)"),
            Column("sequence", "UInt64", "place in the connection, 0 for the first", codec="Delta, ZSTD(1)"),
            Column("received", "DateTime64(9, 'UTC')", "when it was received", codec="Delta, ZSTD(1)"),
            Column("repeat", "UInt8", "1: this frame of the connection was here before, and is not decoded again", codec="ZSTD(1)"),
            Column("frame", "String", "the frame", codec="ZSTD(1)"),
        ),
        key=("epoch", "partition", "offset"),
        order=("epoch", "partition", "offset"),
        time="received",
        partition="toYYYYMMDD(received)",
        retention=Retention(hot_days=30),
        rhythm=Rhythm("as the venue sends", stale_days=0),
        by_load=False,
    )  # fmt: skip


def covers(day: date, part: int = 0) -> str:
    """The slice of the world that a stream's load covers: a received day, or one part of it."""
    return f"{day:%Y/%m/%d}/{part}" if part else f"{day:%Y/%m/%d}"


def load_digest(source: str, day: date, part: int) -> str:
    """What stands where a batch load names its document: a SHA-256 of the words for these frames, not of any bytes."""
    return hashlib.sha256(f"frames of {source} received on {covers(day, part)}".encode()).hexdigest()
