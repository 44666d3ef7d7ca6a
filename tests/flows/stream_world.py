"""What tests of streams need: a constructed stream, a bus in memory that can be lost, and stores that can fail."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.errors import OffsetError, StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.loads.recovery import recover
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.decode import Decoder, make_decoder
from spotlightd.flows.stream.drain import Drain
from spotlightd.flows.stream.parts import Parts
from spotlightd.flows.stream.replay import Replay
from spotlightd.flows.supervise import Board
from spotlightd.model.bus import Ends, Frame, Records, Topic
from spotlightd.model.dataset import Dataset
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.parser import Parser
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.sources import StreamsSettings
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.sql.visibility import visible_condition
from spotlightd.testing import SilentMetrics
from tests.polling import until

from .constructed_ticks import constructed_ticks, records, ticks
from .world import Fuse, Fused, InlineParser


@dataclass
class Log:
    """One partition: pairs of key and value; the first one has offset `start`."""

    start: int = 0
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.pairs)


class MemoryBus:
    """A bus in memory whose logs can be lost, trimmed or created again."""

    def __init__(self) -> None:
        self.logs: dict[str, dict[int, Log]] = {}
        self.ids: dict[str, str] = {}
        self.committed: dict[tuple[str, int], int] = {}
        self.commits: list[int] = []
        self.error: StoreError | None = None

    async def ping(self) -> None:
        self._fail()

    async def ensure(self, topic: Topic) -> None:
        self._fail()
        partitions = self.logs.setdefault(topic.name, {})
        for at in range(topic.partitions):
            partitions.setdefault(at, Log())
        self.ids.setdefault(topic.name, secrets.token_hex(4))

    async def log_id(self, topic: str) -> str:
        self._fail()
        return self.ids.get(topic, "")

    async def ends(self, topic: str) -> Mapping[int, Ends]:
        self._fail()
        return {at: Ends(log.start, log.end) for at, log in self.logs[topic].items()}

    async def append(self, topic: str, partition: int, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        self._fail()
        self.logs[topic][partition].pairs += zip(keys, values, strict=True)

    @asynccontextmanager
    async def open_reader(self, topic: str, partition: int, offset: int) -> AsyncIterator[MemoryReader]:
        yield MemoryReader(self, topic, partition, offset)

    async def peek(self, topic: str, partition: int, offset: int, *, most: int) -> Records:
        self._fail()
        return self.take(topic, partition, offset, most)

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        self.committed[topic, partition] = offset
        self.commits.append(offset)

    def take(self, topic: str, partition: int, offset: int, most: int) -> Records:
        log = self.logs[topic][partition]
        if not log.start <= offset <= log.end:
            raise OffsetError(f"offset {offset} is not between {log.start} and {log.end}")
        pairs = log.pairs[offset - log.start :][:most]
        return Records(
            range(offset, offset + len(pairs)), b"".join(key for key, _ in pairs), [value for _, value in pairs]
        )

    def lose(self, topic: str) -> None:
        """Create the topic again, empty."""
        self.logs[topic] = {at: Log() for at in self.logs[topic]}
        self.ids[topic] = secrets.token_hex(4)

    def _fail(self) -> None:
        if self.error:
            raise self.error


@dataclass
class MemoryReader:
    bus: MemoryBus
    topic: str
    partition: int
    offset: int

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        del size, seconds, idle_seconds
        records = await self.bus.peek(self.topic, self.partition, self.offset, most=frames)
        if not len(records):
            await asyncio.sleep(0.005)
        self.offset += len(records)
        return records


class FakeSpool:
    """A spool that remembers what was marked durable."""

    def __init__(self) -> None:
        self.durable: dict[int, int] = {}
        self.error = ""

    def put(self, topic: str, frame: Frame) -> bool:
        raise NotImplementedError(topic, frame)

    async def flush(self) -> None: ...

    def depth(self, topic: str) -> tuple[int, int]:
        del topic
        return 0, 0

    def count_durable(self, topic: str) -> int:
        del topic
        return 0

    async def mark_durable(self, topic: str, durable: Mapping[int, int]) -> None:
        del topic
        self.durable |= durable


class DelayedWarehouse:
    """The warehouse, which receives one block of frames only after `release`: as if it were in the engine's queue."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self.waiting = False
        self.release = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    async def insert_stream(self, dataset: Dataset, blocks: AsyncIterator[bytes], *, token: str = "") -> int:
        if not self.waiting:
            self.waiting = True
            await self.release.wait()
        return await self._warehouse.insert_stream(dataset, blocks, token=token)


@dataclass
class StreamWorld:
    """Stores that outlive the drain, and ways to read what it stored."""

    folder: Path
    warehouse: Warehouse
    parser: Parser = field(default_factory=InlineParser)
    bus: MemoryBus = field(default_factory=MemoryBus)
    spool: FakeSpool = field(default_factory=FakeSpool)
    delayed: DelayedWarehouse | None = None
    archives: Archives = NoArchives()
    settings: StreamsSettings = field(
        default_factory=lambda: replace(StreamsSettings(), batch_frames=40, batch_seconds=0.01)
    )

    async def prepare(self, source: Stream = ticks) -> None:
        for dataset in (*SYSTEM_DATASETS, source.dataset, frames_of(source)):
            await self.warehouse.ensure(dataset)
        await self.bus.ensure(source.topic)

    async def send(self, frames: Sequence[Frame], partition: int = 0) -> None:
        await self.bus.append(ticks.name, partition, *records(list(frames)))

    @asynccontextmanager
    async def stores(self, fuse: Fuse | None = None) -> AsyncIterator[Stores]:
        """Open the ledger and recover, as a start does."""
        async with SqliteLedger(self.folder / "ledger.sqlite") as ledger:
            positions: Any = SqlitePositions(ledger)
            publications = Publications(ledger, self.warehouse)
            await recover(ledger, self.warehouse, publications, (constructed_ticks,), NoArchives())
            warehouse: Any = self.delayed or self.warehouse
            if fuse:
                positions, warehouse = Fused(positions, fuse), Fused(warehouse, fuse)
            yield Stores(self, ledger, positions, publications, warehouse)

    async def drain(self, source: Stream = ticks, fuse: Fuse | None = None) -> None:
        """What a daemon does: start, drain until the bus is drained, stop."""
        async with self.stores(fuse) as stores, stores.run_drain(source) as flow:
            await until(lambda: self.is_drained(flow))

    def is_drained(self, flow: Drain) -> bool:
        states = {state.partition: state for state in flow.states()}
        logs = self.bus.logs[next(iter(self.bus.logs))]
        return bool(states) and all(at in states and states[at].offset == log.end for at, log in logs.items())

    async def numbers(self, seq: int = 2**63) -> list[int]:
        """All visible rows, by number."""
        sql = f"SELECT number FROM constructed_ticks WHERE {visible_condition(constructed_ticks)} ORDER BY number"
        return [row[0] for row in (await self.warehouse.rows(sql, {"seq": seq})).rows]

    async def query_value(self, sql: str) -> Any:
        return (await self.warehouse.rows(sql)).rows[0][0]


@dataclass
class Stores:
    world: StreamWorld
    ledger: SqliteLedger
    positions: Any
    publications: Publications
    warehouse: Any
    board: Board = field(default_factory=Board)
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        self.parts = Parts(self.ledger, self.publications, self.positions)

    @asynccontextmanager
    async def run_drain(self, source: Stream = ticks) -> AsyncIterator[Drain]:
        """Run a drain while the block runs; what it raises is raised here."""
        parts = self.parts
        context = DrainContext(
            self.world.bus, self.world.spool, self.warehouse, self.positions, parts, SilentMetrics(), self.world.settings,
            gate=self.gate, archives=self.world.archives,
        )  # fmt: skip
        flow = Drain(source, context, self.replay(source))
        task = asyncio.create_task(flow(self.board.reporter("drain")), name="drain")
        waiting = asyncio.current_task()
        task.add_done_callback(lambda done: waiting.cancel() if waiting and not done.cancelled() else None)
        try:
            yield flow
        finally:
            done = task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
            if done or not task.cancelled():
                task.result()

    def decoder(self, source: Stream) -> Decoder:
        return make_decoder(source, self.warehouse, self.world.parser, self.world.folder, self.world.archives)

    def replay(self, source: Stream) -> Replay:
        decoder = self.decoder(source)
        return Replay(
            source, self.ledger, self.warehouse, decoder, self.publications, self.positions, self.parts
        )  # fmt: skip

    async def gaps(self) -> list[tuple[str, str]]:
        rows = await self.ledger.run("SELECT cause, says FROM gaps ORDER BY id")
        return [(row["cause"], row["says"]) for row in rows]
