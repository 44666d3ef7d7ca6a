"""A stream source: how to reach a venue, how to subscribe, and how frames become rows. It opens no socket.

`decode` is one SELECT that the engine runs over the source's frames. It reads from `{frames}`: the frames to be decoded,
with the columns of `frames_of(source)`. It returns the reader's columns of the dataset (except `source`), the pointer
(`epoch`, `partition`, `offset`, `frame_index`), and `reject`. `reject` is empty for a row. For a frame that cannot be
decoded there is one row with the reason in `reject`; its other columns are ignored. A valid frame without content (a
ping) gives no row. A truncated frame unfolds into no rows either, so strictness has two levels: check the frame before
unfolding it, and check the fields afterwards.

A feed that SQL cannot decode has `parse` instead: pure Python over a Body whose file is an Arrow IPC stream of those
frames. It yields Rows (dataset columns and pointer) and Rejects (`line` is the frame's place in the file, 1 first).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import date

from spotlightd.errors import PublisherError, SettingsError
from spotlightd.model.bus import Topic
from spotlightd.model.dataset import LOAD, NAME, Column, Dataset, Retention, Rhythm
from spotlightd.model.offsets import Cause
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Rows


@dataclass(frozen=True, slots=True)
class Feed:
    """The operator's settings for one stream: the symbols to subscribe to, and the key (a secret: never logged)."""

    symbols: tuple[str, ...] = ()
    key: str = field(default="", repr=False)


def find_named_symbols(text: str, symbols: Collection[str]) -> tuple[str, ...]:
    """The symbols that a text names, each as a word of its own and not as a part of a longer one of them."""
    named = []
    for symbol in sorted(symbols, key=len, reverse=True):
        text, times = re.subn(rf"(?<!\w){re.escape(symbol)}(?!\w)", " ", text)
        if times:
            named.append(symbol)
    return tuple(named)


@dataclass(frozen=True, slots=True)
class Stream:
    """A source that sends messages over a websocket.

    address(feed)    where to connect; it may contain the key, so it is never logged
    hello(feed)      the messages to send after connecting: the subscriptions
    decode           the SELECT that the module's docstring describes; or `parse`
    fast_decode      a cheaper SELECT that is tried first: the same rows, and a reject for each frame that is not certain
    venue_error(value)   for a frame by which the venue refuses the client: its text for the operator; else empty
    refused_symbols(text, symbols)  which of the feed's symbols such a text refuses; none when it concerns the connection
    subscribe(feed)  the messages that ask for symbols again on an open connection, where `hello` sends more than that
    venue_number(value)  (channel, number) of a frame, where the venue numbers its frames: missing frames are then noticed
    refill(channel, first, last)  requests missing frames from the venue, numbers inclusive; stored like received ones
    hosts            the only hosts that are connected to
    clock_tolerance_seconds  the venue's clock counts as right while it is no further from ours than that; at least the
                     usual delay of its trades
    stale_seconds    after this time without any frame, pings included, the connection counts as dead
    ping_seconds     how often the venue is pinged, when it is known to answer; 0 = never
    priority         the stream with the lowest priority is shed first when the spool is full
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
    fast_decode: str = ""
    parse: Callable[[Body], Iterator[Rows | Reject]] | None = None
    venue_error: Callable[[bytes], str] = lambda _: ""
    refused_symbols: Callable[[str, Collection[str]], tuple[str, ...]] = find_named_symbols
    subscribe: Callable[[Feed], Iterator[str]] | None = None
    venue_number: Callable[[bytes], tuple[str, int] | None] | None = None
    refill: Callable[[str, int, int], Awaitable[list[bytes]]] | None = None
    clock_tolerance_seconds: float = 5.0
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
        names = {column.name for column in self.dataset.columns}
        if "received" in names and self.dataset.split_by == self.dataset.time != "received":
            raise SettingsError(
                f"stream {self.name}: partition {self.dataset.name} by `received`: the clock of a venue can be wrong"
            )

    @property
    def dataset(self) -> Dataset:
        return self.datasets[0]

    @property
    def parser(self) -> str:
        """Identifies the decode: a digest of its text, or of the version of `parse`. Another decode means another load."""
        text = f"{self.decode}{self.fast_decode}" or f"parse {self.version}"
        columns = ", ".join(f"{column.name} {column.type}" for column in self.dataset.stored)
        return hashlib.sha256(f"{text}\n{columns}".encode()).hexdigest()[:16]

    @property
    def topic(self) -> Topic:
        return Topic(
            self.name, self.partitions, self.retention_hours, self.retention_bytes, self.max_frame_bytes + (1 << 20)
        )


class FeedError(PublisherError):
    """A connection to a venue failed or ended; `cause` is the cause that a gap records."""

    def __init__(
        self, cause: Cause, message: str, *, status: int = 0, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, status=status, retry_after_seconds=retry_after_seconds)
        self.cause: Cause = cause


FRAME_PLACE = (
    Column(
        "epoch", "UInt16", "log of the bus: it grows by 1 when the topic was lost or created again", codec="ZSTD(1)"
    ),
    Column("partition", "UInt16", "partition of the topic", codec="ZSTD(1)"),
    Column("offset", "UInt64", "offset in the partition", codec="Delta, ZSTD(1)"),
)
PLACE = (*FRAME_PLACE, Column("frame_index", "UInt16", "row within the frame, 0 for the first", codec="ZSTD(1)"))
"""The pointer of a row that came in a frame: it leads to the frames table of its source."""


def frames_of(source: Stream) -> Dataset:
    """The table of a source's frames as they were received. Its rows lead back to them."""
    return Dataset(
        name=f"{source.name}_frames",
        title=f"{source.title}: frames",
        publisher=source.title,
        about="Every frame as it was received, byte for byte. The rows that were decoded from it lead back to it.",
        columns=(
            *FRAME_PLACE,
            Column("part", "UInt16", "part of the day of receipt, 1 for the first: one load decodes one part", codec="ZSTD(1)"),
            Column("connection", "UInt64", "random number of the connection; 0 for a record that spotlightd did not write", codec="ZSTD(1)"),
            Column("sequence", "UInt64", "position within the connection, 0 for the first", codec="Delta, ZSTD(1)"),
            Column("received", "DateTime64(9, 'UTC')", "when it was received"),
            Column("repeat", "UInt8", "1 for a frame that was stored before: it is not decoded again", codec="ZSTD(1)"),
            Column("frame", "String", "the frame"),
        ),
        key=("epoch", "partition", "offset"),
        order=("epoch", "partition", "offset"),
        time="received",
        partition="toYYYYMMDD(received)",
        retention=Retention(hot_days=30),
        rhythm=Rhythm("with each message", stale_days=0),
        by_load=False,
    )  # fmt: skip


def unique_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns that no two rows of the table share: the place of a frame; or of a row in its frame, and the load that
    decoded it. Empty for the datasets of documents and the records of this instance: two of their rows may be equal.
    """
    if dataset.by_load:
        return (*(column.name for column in PLACE), LOAD.name) if dataset.pointer == PLACE else ()
    place = tuple(column.name for column in FRAME_PLACE)
    return place if place == dataset.key else ()


def covers(day: date, part: int = 0) -> str:
    """The `covers` path of a stream's load: a day of receipt, or one part of it."""
    return f"{day:%Y/%m/%d}/{part}" if part else f"{day:%Y/%m/%d}"


def load_digest(source: str, day: date, part: int) -> str:
    """Takes the place of a document's digest: a SHA-256 of the text that names these frames, not of their bytes."""
    return hashlib.sha256(f"frames of {source} received on {covers(day, part)}".encode()).hexdigest()
