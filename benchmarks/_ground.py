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

sys.path.insert(0, str(ROOT))  # for the tests' own Kafka, which nothing that is installed holds

KAFKA_GROUP = 10_000  # frames in one append; the client makes batches of 1 MiB of them
LOG_GROUP_BYTES = StreamsSettings().fsync_bytes  # as the spool would have appended them under load
WARM = Shape(2_000, 1)
WARM_SOURCE = rename_source("finnhub_warm")
DRAINED_SECONDS = 900.0
POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Place:
    """Where frames wait: the broker's address, or the file of the embedded log. `folder` is for new state folders."""

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
    """A real Kafka with its data in that folder; its address."""
    from tests.real.kafka import Kafka as Broker  # noqa: PLC0415  (the path is known only now)

    async with Broker(folder) as one:
        yield one.address


async def fill(bus: Bus, source: Stream, frames: Sequence[bytes], first: int = 0) -> None:
    """Put frames into the source's topic, in groups as large as a listener under load would make them. `first` is how
    many of the connection are there already.
    """
    named_by, at = keys(source, len(frames), first), 0
    await bus.ensure(source.topic)
    while at < len(frames):
        end = at + KAFKA_GROUP if isinstance(bus, Kafka) else _end_of_group(frames, at)
        await bus.append(source.name, 0, named_by[at:end], frames[at:end])
        at = end


def _end_of_group(frames: Sequence[bytes], at: int) -> int:
    size = 0
    while at < len(frames) and size < LOG_GROUP_BYTES:
        size += len(frames[at])
        at += 1
    return at


async def fill_topics(place: Place, shapes: Sequence[Shape]) -> None:
    """Fill the topics of these shapes, and that of the warm-up, on both buses."""
    told = [(WARM_SOURCE, list(values(WARM, seed=2))), *((one.source, list(values(one))) for one in shapes)]
    async with Kafka(place.kafka) as kafka, LocalLog(Path(place.log)) as file:
        for source, frames in told:
            for bus in (kafka, file):
                await fill(bus, source, frames)


@dataclass(frozen=True, slots=True)
class Ground:
    """The open stores and bus of one measurement."""

    instance: Instance
    bus: Bus
    context: DrainContext

    async def one(self, sql: str) -> tuple[Any, ...]:
        return tuple((await self.instance.warehouse.rows(sql)).rows[0])

    def processor_seconds(self) -> dict[str, float]:
        """Spent until now by this process, and by the engine."""
        engine = psutil.Process(self.instance.engine.pid) if self.instance.engine else None
        times = {"own": psutil.Process().cpu_times(), "engine": engine.cpu_times() if engine else None}
        return {name: one.user + one.system if one else 0.0 for name, one in times.items()}


@asynccontextmanager
async def open_ground(place: Place, bus: str, sources: Sequence[Stream]) -> AsyncIterator[Ground]:
    """Fresh stores, and a bus that was filled before (`kafka` or `embedded`: a copy of the file)."""
    log.configure("warning")
    state = place.folder / f"state-{time.monotonic_ns()}"
    told = replace(Settings(), state_dir=state)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, state, ignore_errors=True)
        instance = await stack.enter_async_context(open_instance(told))
        every = (WARM_SOURCE, *sources)
        for source in every:
            await instance.warehouse.ensure(frames_of(source))
        if bus == "embedded":
            shutil.copyfile(place.log, state / "bus.sqlite")
        file = await stack.enter_async_context(LocalLog(state / "bus.sqlite"))
        for source in every:
            await file.ensure(source.topic)
        chosen: Bus = file if bus == "embedded" else await stack.enter_async_context(Kafka(place.kafka))
        own = bus == "embedded"
        topics, priorities = [one.topic for one in every], {one.name: one.priority for one in every}
        spool = await stack.enter_async_context(LogSpool(file, told.streams, topics, priorities, is_bus=own))
        parts = Parts(instance.ledger, instance.publications, instance.positions)
        warehouse = instance.warehouse

        async def trim(source: Stream, drain_all: Mapping[int, int]) -> None:
            await file.retain(source.topic, drain_all)

        context = DrainContext(
            chosen,
            spool,
            warehouse,
            instance.positions,
            parts,
            SilentMetrics(),
            told.streams,
            trim=trim if own else None,
        )
        yield Ground(instance, chosen, context)


async def drain_all(on: Ground, source: Stream, frames: int) -> float:
    """Seconds from the start of the real flow until its state says that so many frames are drained."""
    flow, began = Drain(source, on.context, make_replay(source, on.instance, on.context.parts)), time.perf_counter()
    task = asyncio.create_task(flow(Board().reporter(f"drain {source.name}")), name=f"drain {source.name}")
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            while sum(one.offset for one in flow.states()) < frames and not task.done():  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
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
    """What is in the tables: frames, trades, different pointers of trades, and intents that are still open."""
    frames = await on.one(f"SELECT count(), uniqExact(epoch, partition, offset) FROM {frames_of(source).name}")
    rows = (
        f"SELECT count(), uniqExact(epoch, partition, offset, frame_index) FROM trades WHERE source = '{source.name}'"
    )
    trades = await on.one(rows)
    intents = len(await on.instance.positions.intents(source.name))
    told = ("frames", "different_frames", "trades", "different_trades", "open_intents")
    return dict(zip(told, (*map(int, frames), *map(int, trades), intents), strict=True))
