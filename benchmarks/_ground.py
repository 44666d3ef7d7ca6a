"""The environment of the stream benchmarks: a filled bus, and the stores that a daemon would have open.

The bus is a real Kafka on loopback, or the embedded log in a file. Frames are put there through our own clients, with our
keys. Everything else is new for each measurement: state folder, engine, ledger, positions.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from _frames import ROOT, Shape, keys, rename_source, values

from spotlightd import log
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.clients.locallog.spool import LogSpool
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.drain import Drain
from spotlightd.flows.stream.parts import Parts
from spotlightd.flows.supervise import Board
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.bus import Bus
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.runtime.streams import make_replay
from spotlightd.settings.settings import Settings
from spotlightd.settings.sources import BusSettings, StreamsSettings
from spotlightd.testing import SilentMetrics

sys.path.insert(0, str(ROOT))  # for the Kafka of the tests, which is not part of an installed package

KAFKA_GROUP = 10_000  # frames in one append; the client makes batches of 1 MiB of them
LOG_GROUP_BYTES = StreamsSettings().fsync_bytes  # the size of the spool's appends under load
WARM = Shape(2_000, 1)
WARM_SOURCE = rename_source("finnhub_warm")
DRAINED_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where frames are stored: the broker's address, or the file of the embedded log. `folder` is for new state folders."""

    folder: Path
    servers: str = ""
    log: str = ""

    @property
    def kafka(self) -> BusSettings:
        return BusSettings(kind="kafka", servers=[self.servers])


def print_progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


@asynccontextmanager
async def run_broker(folder: Path) -> AsyncIterator[str]:
    """Run a real Kafka with its data in that folder. Yields its address."""
    from tests.real.kafka import Kafka as Broker  # noqa: PLC0415  (the path is known only now)

    async with Broker(folder) as broker:
        yield broker.address


async def fill(bus: Bus, source: Stream, frames: Sequence[bytes], first: int = 0) -> None:
    """Put frames into the source's topic, in groups as large as those of a listener under load. `first` is the number of
    the connection's frames that the topic already has.
    """
    frame_keys, start = keys(source, len(frames), first), 0
    await bus.ensure(source.topic)
    while start < len(frames):
        end = start + KAFKA_GROUP if isinstance(bus, Kafka) else _end_of_group(frames, start)
        await bus.append(source.name, 0, frame_keys[start:end], frames[start:end])
        start = end


def _end_of_group(frames: Sequence[bytes], start: int) -> int:
    size, end = 0, start
    while end < len(frames) and size < LOG_GROUP_BYTES:
        size += len(frames[end])
        end += 1
    return end


async def fill_topics(place: Place, shapes: Sequence[Shape]) -> None:
    """Fill the topics of these shapes, and that of the warm-up, on both buses."""
    topics = [(WARM_SOURCE, list(values(WARM, seed=2))), *((shape.source, list(values(shape))) for shape in shapes)]
    async with Kafka(place.kafka) as kafka, LocalLog(Path(place.log)) as file:
        for source, frames in topics:
            for bus in (kafka, file):
                await fill(bus, source, frames)


class DrainedFrames(SilentMetrics):
    """The metrics of a drain, which tell when so many frames are drained: nobody has to look for it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._drained: dict[str, float] = {}
        self._awaited: tuple[str, int, asyncio.Future[None]] | None = None

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        super().count(name, value, **labels)
        if name == "frames_drained_total":
            self._drained[labels["source"]] = self._drained.get(labels["source"], 0) + value
            self._tell()

    def when_drained(self, source: str, frames: int) -> asyncio.Future[None]:
        """Is done as soon as that many frames of the source are in the tables."""
        self._awaited = source, frames, asyncio.get_running_loop().create_future()
        self._tell()
        return self._awaited[2]

    def _tell(self) -> None:
        if self._awaited:
            source, frames, future = self._awaited
            if self._drained.get(source, 0) >= frames and not future.done():
                future.set_result(None)


@dataclass(frozen=True, slots=True)
class Ground:
    """The open stores and bus of one measurement."""

    instance: Instance
    bus: Bus
    context: DrainContext
    drained: DrainedFrames

    async def query_row(self, sql: str) -> tuple[Any, ...]:
        return tuple((await self.instance.warehouse.rows(sql)).rows[0])

    def processor_seconds(self) -> dict[str, float]:
        """Processor seconds spent so far by this process, and by the engine."""
        engine = psutil.Process(self.instance.engine.pid) if self.instance.engine else None
        times = {"own": psutil.Process().cpu_times(), "engine": engine.cpu_times() if engine else None}
        return {name: spent.user + spent.system if spent else 0.0 for name, spent in times.items()}


@asynccontextmanager
async def open_ground(place: Place, bus: str, sources: Sequence[Stream]) -> AsyncIterator[Ground]:
    """Open new stores, and a filled bus: `kafka`, or `embedded` for a copy of the file."""
    log.configure("warning")
    state = place.folder / f"state-{time.monotonic_ns()}"
    settings = replace(Settings(), state_dir=state)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, state, ignore_errors=True)
        instance = await stack.enter_async_context(open_instance(settings))
        all_sources = (WARM_SOURCE, *sources)
        for source in all_sources:
            await instance.warehouse.ensure(frames_of(source))
        is_embedded = bus == "embedded"
        if is_embedded:
            shutil.copyfile(place.log, state / "bus.sqlite")
        local_log = await stack.enter_async_context(LocalLog(state / "bus.sqlite"))
        for source in all_sources:
            await local_log.ensure(source.topic)
        chosen: Bus = local_log if is_embedded else await stack.enter_async_context(Kafka(place.kafka))
        topics = [source.topic for source in all_sources]
        priorities = {source.name: source.priority for source in all_sources}
        spool = await stack.enter_async_context(
            LogSpool(local_log, settings.streams, topics, priorities, is_bus=is_embedded)
        )
        parts = Parts(instance.ledger, instance.publications, instance.positions)
        warehouse = instance.warehouse

        async def trim(source: Stream, offsets: Mapping[int, int]) -> None:
            await local_log.retain(source.topic, offsets)

        drained = DrainedFrames()
        context = DrainContext(
            chosen,
            spool,
            warehouse,
            instance.positions,
            parts,
            drained,
            settings.streams,
            trim=trim if is_embedded else None,
        )
        yield Ground(instance, chosen, context, drained)


async def drain_all(on: Ground, source: Stream, frames: int) -> float:
    """Run the real flow until its counter shows that so many frames are drained. Returns the seconds."""
    flow, began = Drain(source, on.context, make_replay(source, on.instance, on.context.parts)), time.perf_counter()
    drained = on.drained.when_drained(source.name, frames)
    task = asyncio.create_task(flow(Board().reporter(f"drain {source.name}")), name=f"drain {source.name}")
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            await asyncio.wait([task, drained], return_when=asyncio.FIRST_COMPLETED)
        seconds = time.perf_counter() - began
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return seconds


async def warm_up(on: Ground) -> None:
    """Run the first statements and imports of a process, which take longer."""
    await drain_all(on, WARM_SOURCE, WARM.frames)


async def count_rows(on: Ground, source: Stream) -> dict[str, int]:
    """The contents of the tables: frames, trades, the distinct pointers of both, and intents that are still open."""
    frames = await on.query_row(f"SELECT count(), uniqExact(epoch, partition, offset) FROM {frames_of(source).name}")
    rows = (
        f"SELECT count(), uniqExact(epoch, partition, offset, frame_index) FROM trades WHERE source = '{source.name}'"
    )
    trades = await on.query_row(rows)
    intents = len(await on.instance.positions.intents(source.name))
    names = ("frames", "different_frames", "trades", "different_trades", "open_intents")
    return dict(zip(names, (*map(int, frames), *map(int, trades), intents), strict=True))
