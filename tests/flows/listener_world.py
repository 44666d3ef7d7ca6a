"""What tests of a listener need: a constructed stream, fakes of the spool and the ledger, and a socket without a network."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from spotlightd.backoff import Clock
from spotlightd.clients.http.websocket import open_websocket
from spotlightd.errors import StoreError
from spotlightd.flows.stream.feed.timing import ListenerTiming
from spotlightd.flows.stream.listen import Listener
from spotlightd.flows.supervise import Board, run_isolated
from spotlightd.model.bus import Frame
from spotlightd.model.offsets import FeedState, Gap
from spotlightd.model.stream import Feed, Stream
from spotlightd.ports.bus import Spool
from spotlightd.ports.ledger import Positions
from spotlightd.ports.publisher import Connect, Socket
from spotlightd.settings import sources
from spotlightd.testing import SilentMetrics
from tests.flows.world import constructed_counts
from tests.manual_clock import ManualClock

KEY = "a-key-that-nobody-may-see"
NAME = "constructed_feed"
FAST_TIMING = ListenerTiming(
    check=0.05,
    beat=0.1,
    steady=3600,
    after_frames=0.05,
    connects=1000,
    window=1,
    shed=0.1,
    grace=0.2,
    refill=2,
    ledger_wait=2,
    ask=0.1,
    ask_most=0.2,
    answer=0.5,
)


def hello(feed: Feed) -> Iterator[str]:
    for symbol in feed.symbols:
        yield json.dumps({"type": "subscribe", "symbol": symbol})


def venue_error(value: bytes) -> str:
    return str(json.loads(value)["msg"]) if b'"error"' in value[:100] else ""


def stream(**changes: Any) -> Stream:
    fields: dict[str, Any] = {
        "name": NAME, "title": "Constructed feed", "home": "https://example.org", "datasets": (constructed_counts,),
        "address": lambda feed: f"wss://ws.example.org?token={feed.key}", "hello": hello, "hosts": ("ws.example.org",),
        "decode": "SELECT 1", "venue_error": venue_error, "stale_seconds": 60.0, "ping_seconds": 20.0,
    }  # fmt: skip
    return Stream(**fields | changes)


@dataclass(slots=True)
class RecordingSpool:
    """The port `Spool`: keeps the frames in order; has no room while `full`."""

    frames: list[Frame] = field(default_factory=list)
    full: bool = False

    def put(self, topic: str, frame: Frame) -> bool:
        assert topic == NAME
        if not self.full:
            self.frames.append(frame)
        return not self.full

    @property
    def error(self) -> str:
        return "the disk is full" if self.full else ""

    @property
    def values(self) -> list[bytes]:
        return [frame.value for frame in self.frames]

    async def flush(self) -> None: ...

    def depth(self, topic: str) -> tuple[int, int]:
        return len(self.frames), sum(len(frame.value) for frame in self.frames) if topic else 0

    def count_durable(self, topic: str) -> int:
        return 0 if topic else -1

    async def mark_durable(self, topic: str, durable: Mapping[int, int]) -> None: ...


@dataclass(slots=True)
class MemoryFeeds:
    """The part of the port `Positions` that a listener needs. Writes wait while `broken`."""

    gaps: list[Gap] = field(default_factory=list)
    noted: tuple[str, datetime] | None = None
    notes: list[str] = field(default_factory=list)
    refused: dict[str, datetime] = field(default_factory=dict)
    broken: bool = False

    def check(self) -> None:
        if self.broken:
            raise StoreError("the ledger cannot be written: no space left")

    async def add_gap(self, gap: Gap) -> None:
        self.check()
        self.gaps.append(gap)

    async def get_feed_state(self, source: str) -> tuple[str, datetime] | None:
        assert source == NAME
        return self.noted

    async def save_feed_state(self, source: str, state: str, at: datetime) -> None:
        self.check()
        assert source == NAME
        self.noted = (state, at)
        self.notes.append(state)

    async def get_refused_symbols(self, source: str) -> Mapping[str, datetime]:
        assert source == NAME
        return dict(self.refused)

    async def save_refused_symbol(self, source: str, symbol: str, since: datetime | None) -> None:
        self.check()
        assert source == NAME
        self.refused.pop(symbol, None)
        if since is not None:
            self.refused[symbol] = since

    @property
    def causes(self) -> list[str]:
        return [gap.cause for gap in self.gaps]


@dataclass(slots=True)
class RunningListener:
    """A running listener, and the fakes around it."""

    listener: Listener
    spool: RecordingSpool
    feeds: MemoryFeeds
    board: Board
    task: asyncio.Task[None]

    @property
    def state(self) -> FeedState:
        return self.listener.state()

    async def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until the condition holds. The test fails when it does not, or when the flow failed."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert not self.task.done(), "the flow ended"
            assert time.monotonic() < deadline, f"not so after {seconds:g} s: {self.state}, {self.feeds}"
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@asynccontextmanager
async def run_listener(
    address: str = "",
    source: Stream | None = None,
    *,
    spool: Spool | None = None,
    feeds: MemoryFeeds | Positions | None = None,
    connect: Connect = open_websocket,
    timing: ListenerTiming = FAST_TIMING,
    clock: Clock | None = None,
    symbols: tuple[str, ...] = ("AAPL", "TSLA", "BINANCE:BTCUSDT"),
    backoff: tuple[float, float] = (0.02, 0.1),
    last_received: datetime | None = None,
) -> AsyncIterator[RunningListener]:
    """Run a listener while the block runs, supervised as in the daemon."""
    own_spool, own_feeds, board = RecordingSpool(), MemoryFeeds(), Board()
    spool = spool or own_spool
    feeds = feeds or own_feeds
    limits = sources.StreamsSettings(
        addresses={NAME: address} if address else {},
        backoff_seconds=backoff[0],
        backoff_most_seconds=backoff[1],
        connect_seconds=5,
    )
    flow = Listener(
        source or stream(),
        Feed(symbols, KEY),
        connect,
        spool,
        feeds,  # type: ignore[arg-type]  # a listener needs no more of the port
        SilentMetrics(),
        limits,
        last_received=last_received,
        timing=timing,
        clock=clock,
    )
    task = asyncio.create_task(run_isolated(board, "listen", flow), name="listen")
    running = RunningListener(
        flow,
        spool if isinstance(spool, RecordingSpool) else own_spool,
        feeds if isinstance(feeds, MemoryFeeds) else own_feeds,
        board,
        task,
    )
    try:
        yield running
    finally:
        await running.stop()


@dataclass(slots=True)
class ScriptedVenue:
    """The port `Connect` without a network: each connection is given to `serve`, which plays the socket."""

    serve: Callable[[int], Socket]
    clock: ManualClock
    connects: list[float] = field(default_factory=list)
    at_once: int = 0

    @asynccontextmanager
    async def __call__(self, url: str, hosts: Collection[str], **limits: Any) -> AsyncIterator[Socket]:
        assert url.startswith("wss://")
        assert hosts
        assert set(limits) == {"connect_seconds", "ping_seconds", "max_frame_bytes", "allow_private"}
        assert self.at_once == 0, "a second connection with the same key"
        self.connects.append(self.clock.seconds)
        self.at_once += 1
        try:
            yield self.serve(len(self.connects))
        finally:
            self.at_once -= 1
