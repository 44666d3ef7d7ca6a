"""The small world with a stream in it: constructed frames and trades in real tables, a bus and positions in memory.

Constructed: frames in the shape that Finnhub documents, from one connection, one of them three times, one that is no
text, one that is no JSON; trades of two symbols, which a load of today keeps taking; a gap. Nothing here was received
from anybody.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from spotlightd.datasets import system
from spotlightd.datasets.trades import trades
from spotlightd.errors import StoreError
from spotlightd.model.bus import KEY, Ends, Frame, Records, Topic, pack_key, source_mark
from spotlightd.model.offsets import DrainState, Epoch, FeedState, Gap, Intent, LostFrame, Position
from spotlightd.model.stream import Stream, covers, frames_of, load_digest
from spotlightd.ports.bus import PartitionReader
from tests.web.world import FAILS, World, open_world, state

CONNECTION = 7_000_000_000_000_000_001
LOAD = 9_001
FEED = Stream(
    name="finnhub",
    title="Finnhub <trades>",
    home="https://finnhub.io",
    datasets=(trades,),
    address=lambda _: "wss://ws.finnhub.io",
    hello=lambda _: iter(()),
    hosts=("ws.finnhub.io",),
    decode="SELECT 1 FROM {frames}",
)
FRAMES = frames_of(FEED)


@dataclass
class MemoryBus:
    """One topic's records by offset; `refuses` is raised by every call."""

    records: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    start: int = 0
    refuses: StoreError | None = None

    async def ping(self) -> None:
        self._open(FEED.name)

    def _open(self, topic: str, partition: int = 0) -> None:
        if self.refuses:
            raise self.refuses
        if topic != FEED.name or partition:
            raise StoreError(f"there is no partition {partition} of topic {topic!r}")

    async def ensure(self, topic: Topic) -> None:
        raise NotImplementedError

    async def log_id(self, topic: str) -> str:
        self._open(topic)
        return "log-of-" + topic

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        self._open(topic)
        return {0: Ends(self.start, max(self.records, default=-1) + 1)}

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        raise NotImplementedError

    def open_reader(self, topic: str, partition: int, offset: int) -> AbstractAsyncContextManager[PartitionReader]:
        raise NotImplementedError

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        self._open(topic, partition)
        offsets = [known for known in sorted(self.records) if known >= max(offset, self.start)][:most]
        keys = b"".join(self.records[known][0] for known in offsets)
        return Records(offsets, keys, [self.records[known][1] for known in offsets])

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        raise NotImplementedError


@dataclass
class MemoryPositions:
    """How far one drain is."""

    offset: int = 0

    async def epoch(self, source: str) -> Epoch | None:
        return Epoch(source, 1, "log-of-" + source)

    async def begin_epoch(self, epoch: Epoch, positions: Sequence[Position]) -> None:
        raise NotImplementedError

    async def positions(self, source: str) -> Mapping[int, Position]:
        return {0: Position(1, 0, self.offset)} if source == FEED.name else {}

    async def intents(self, source: str) -> tuple[Intent, ...]:
        raise NotImplementedError

    async def intend(self, intent: Intent) -> None:
        raise NotImplementedError

    async def complete(self, intent: Intent, key: bytes, lost: Sequence[LostFrame] = ()) -> None:
        raise NotImplementedError

    async def add_gap(self, gap: Gap) -> None:
        raise NotImplementedError

    async def get_feed_state(self, source: str) -> tuple[str, datetime] | None:
        raise NotImplementedError

    async def save_feed_state(self, source: str, state: str, at: datetime) -> None:
        raise NotImplementedError

    async def get_refused_symbols(self, source: str) -> Mapping[str, datetime]:
        raise NotImplementedError

    async def save_refused_symbol(self, source: str, symbol: str, since: datetime | None) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Trade:
    symbol: str
    price: float
    volume: float
    at: datetime


@dataclass
class Venue:
    """Writes what listener and drain would write. `offset` is the next of the topic's only partition."""

    world: World
    bus: MemoryBus = field(default_factory=MemoryBus)
    positions: MemoryPositions = field(default_factory=MemoryPositions)
    offset: int = 0

    async def open_load(self) -> None:
        """Today's load, visible and filled from now on."""
        today = datetime.now(UTC).date()
        at = datetime.now(UTC)
        row: tuple[Any, ...] = (
            50,
            trades.name,
            LOAD,
            FEED.name,
            covers(today),
            load_digest(FEED.name, today, 0),
            FEED.parser,
            0,
            0,
            [],
            at,
            0,
        )
        await self.world.warehouse.insert(system.loads, [row])

    async def frame(self, value: bytes, at: datetime, *, repeat: int = 0) -> int:
        """One frame, on the bus and in its table; its offset."""
        offset, self.offset = self.offset, self.offset + 1
        sent = Frame(CONNECTION, offset, int(at.timestamp() * 1e6) * 1000 + 789, value)
        self.bus.records[offset] = (pack_key(source_mark(FEED.name), sent), value)
        text = f"{at:%Y-%m-%d %H:%M:%S.%f}789"
        names = ", ".join(column.name for column in FRAMES.stored)
        await self.world.warehouse.execute(
            f"INSERT INTO {FRAMES.name} ({names}) SELECT 1, 0, {{offset:UInt64}}, 0, {CONNECTION}, {{offset:UInt64}}, "
            f"toDateTime64('{text}', 9, 'UTC'), {repeat}, unhex({{frame:String}})",
            {"offset": offset, "frame": value.hex()},
        )
        self.positions.offset = self.offset
        return offset

    async def trade(self, sent_trades: Sequence[Trade], *, times: int = 1) -> int:
        """A frame of trades, received when the last of them was made, and its rows. The offset of the last frame."""
        data = [
            {"c": ["1", "12"], "p": t.price, "s": t.symbol, "t": int(t.at.timestamp() * 1000), "v": t.volume}
            for t in sent_trades
        ]
        value = json.dumps({"data": data, "type": "trade"}, separators=(",", ":")).encode()
        received = sent_trades[-1].at
        for _ in range(times):
            offset = await self.frame(value, received)
            rows: list[tuple[Any, ...]] = [
                (t.symbol, t.symbol.partition(":")[0] if ":" in t.symbol else "", t.at, received, received, t.price, t.volume,
                 "", "", ["1", "12"], "trade", False, FEED.name, LOAD, 1, 0, offset, index)
                for index, t in enumerate(sent_trades)
            ]  # fmt: skip
            await self.world.warehouse.insert(trades, rows)
        return offset

    async def gap(self, number: int, since: datetime, until: datetime) -> None:
        row = (number, until, FEED.name, "", since, until, "connection lost", "the <venue> hung up", "")
        await self.world.warehouse.insert(system.gaps, [row])


@asynccontextmanager
async def streaming(folder: Path) -> AsyncIterator[Venue]:
    """The world of fails, with a stream beside it, served."""
    async with open_world(folder) as plain:
        for dataset in (trades, FRAMES):
            await plain.warehouse.ensure(dataset)
        venue = Venue(plain)
        began = datetime.now(UTC) - timedelta(minutes=3)

        def states() -> Any:
            now = datetime.now(UTC)
            feed = FeedState(
                FEED.name, "connected", began, ("AAPL", "BINANCE:BTCUSDT"), frames=venue.offset, size=venue.offset * 120,
                connects=2, last_frame_at=now - timedelta(seconds=2), detail="one <b>sentence</b>",
            )  # fmt: skip
            drain = DrainState(
                FEED.name,
                0,
                1,
                venue.offset,
                venue.offset + 3,
                1.5,
                9,
                venue.offset,
                2 * venue.offset,
                last_batch_at=now,
            )
            return replace(state(), feeds=(feed,), drains=(drain,))

        datasets = (FAILS, trades, FRAMES, *system.SYSTEM_DATASETS)
        async with plain.served(
            datasets=datasets, streams=(FEED,), bus=venue.bus, positions=venue.positions, state=states
        ) as world:
            venue.world = world
            yield venue


def foreign_record(value: bytes) -> tuple[bytes, bytes]:
    """A record that another program wrote."""
    return KEY.pack(0, 0, 0, 0), value
