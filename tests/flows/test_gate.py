"""Work is held while a disk is too full, between two pieces, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.flows.batch.schedule import Collector, Wakeups
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.context import IngestContext
from spotlightd.flows.supervise import Board, Status, run_isolated
from tests.polling import until

from .constructed_ticks import numbered, ticks
from .stream_world import DelayedWarehouse, StreamWorld
from .world import World, source

FULL = "disk / is 96.0 % full"


@pytest.fixture
async def streams(tmp_path: Path, warehouse: ClickHouse) -> StreamWorld:
    world = StreamWorld(tmp_path, warehouse)
    await world.prepare()
    return world


def status(board: Board) -> Status:
    return board.read()[0]


async def test_a_held_drain_moves_nothing_reports_what_waits_and_goes_on_by_itself(streams: StreamWorld) -> None:
    await streams.send(numbered(50))
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: streams.is_drained(flow))
        stores.gate.hold({"the sink": FULL})
        await until(lambda: status(stores.board).state == "holding")
        await streams.send(numbered(50, first=50))
        await until(lambda: status(stores.board).queue == 50)  # it goes on looking how much waits
        assert status(stores.board).error == FULL
        assert await streams.numbers() == list(range(100))
        stores.gate.hold({})
        await until(lambda: streams.is_drained(flow))
        await until(lambda: status(stores.board).state == "waiting")
    assert await streams.numbers() == list(range(200))


async def test_a_batch_that_is_under_way_is_finished_before_the_drain_holds(streams: StreamWorld) -> None:
    streams.delayed = DelayedWarehouse(streams.warehouse)
    await streams.send(numbered(100))
    async with streams.stores() as stores, stores.run_drain() as flow:
        await until(lambda: bool(streams.delayed and streams.delayed.waiting))
        stores.gate.hold({"the sink": FULL})
        streams.delayed.release.set()
        await until(lambda: status(stores.board).state == "holding")
        assert not await stores.positions.intents(ticks.name)
        assert len(await streams.numbers()) == 2 * flow.states()[0].offset
        stores.gate.hold({})
        await until(lambda: streams.is_drained(flow))
    assert await streams.numbers() == list(range(200))


async def test_a_gate_that_flaps_while_frames_come_loses_and_doubles_nothing(streams: StreamWorld) -> None:
    two = replace(ticks, partitions=2)
    await streams.prepare(two)
    async with streams.stores() as stores, stores.run_drain(two) as flow:
        for first in range(0, 400, 20):
            await streams.send(numbered(20, first=first), 0)
            await streams.send(numbered(20, connection=8, first=first), 1)
            stores.gate.hold({"the sink": FULL} if first % 40 else {})
            if first % 60:
                await asyncio.sleep(0)
        for _ in range(3):
            stores.gate.hold({"the sink": FULL})
            await until(lambda: status(stores.board).state == "holding")
            stores.gate.hold({})
            await until(lambda: status(stores.board).state == "waiting")
        await until(lambda: streams.is_drained(flow))
    assert await streams.numbers() == sorted([*range(800), *range(800)])


@asynccontextmanager
async def collecting(world: World, gate: Gate) -> AsyncIterator[Board]:
    board, batch, wakeups = Board(), source(), Wakeups()
    async with world.stores() as stores:
        held: IngestContext = replace(stores, gate=gate)
        flow = run_isolated(board, "collect", Collector(batch, world.publishers, held, wakeups))
        task = asyncio.create_task(flow, name="collect")
        wakeups.of(batch.name).set()
        try:
            yield board
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_held_collector_asks_the_publisher_nothing_and_makes_it_up(world: World) -> None:
    world.serve({"2021": "2021-01-04,1\n"})
    gate = Gate()
    gate.hold({"batch loads": FULL})
    async with collecting(world, gate) as board:
        await until(lambda: bool(board.read()) and status(board).state == "holding")
        beats = status(board).beats
        assert status(board).error == FULL
        await until(lambda: status(board).beats > beats)
        assert world.publishers.requests == []
        gate.hold({})
        await until(lambda: status(board).message == "waiting for the next check" and status(board).state == "waiting")
    assert await world.read_counts() == {"2021-01-04": 1}


async def test_what_only_holds_the_sink_lets_a_collector_pass(world: World) -> None:
    world.serve({"2021": "2021-01-04,1\n"})
    gate = Gate()
    gate.hold({"the sink": FULL})
    async with collecting(world, gate) as board:
        await until(lambda: bool(world.publishers.requests) and status(board).state == "waiting")
    assert await world.read_counts() == {"2021-01-04": 1}
