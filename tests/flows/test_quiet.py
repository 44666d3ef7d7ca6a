"""A quiet feed is cheap: few batches while nobody watches, few statements a batch, and no question whose answer is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spotlightd.audience import Audience
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.flows.stream.context import DrainContext
from spotlightd.model.bus import Records
from spotlightd.model.provenance import Run
from spotlightd.settings.sources import StreamsSettings
from spotlightd.sql.tiers import NoArchives
from spotlightd.testing import SilentMetrics
from tests.polling import until

from .constructed_ticks import numbered, ticks
from .stream_world import Stores, StreamWorld


class CountingWarehouse:
    """The warehouse; it counts the statements by the port's method."""

    def __init__(self, warehouse: Any) -> None:
        self._warehouse = warehouse
        self.statements: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name in {"rows", "execute", "insert", "insert_stream"}:
            self.statements[name] += 1
        return getattr(self._warehouse, name)


class WaitingReader:
    """A reader that only notes how long it should wait for a batch to fill up."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def next(self, *, frames: int, size: int, seconds: float, idle_seconds: float = 1.0) -> Records:
        del frames, size, idle_seconds
        self.waits.append(seconds)
        return Records(range(0), b"", [])


def make_context(settings: StreamsSettings, audience: Audience) -> DrainContext:
    """A context of which only settings and audience are used."""
    unused: Any = None
    return DrainContext(unused, unused, unused, unused, unused, SilentMetrics(), settings, audience=audience)


async def test_a_batch_fills_up_for_a_second_and_for_a_fifth_of_it_while_somebody_watches() -> None:
    audience, reader = Audience(), WaitingReader()
    context = make_context(StreamsSettings(), audience)
    await context.read_batch(reader)
    with audience.join():
        with audience.join():
            await context.read_batch(reader)
        await context.read_batch(reader)
    await context.read_batch(reader)
    assert reader.waits == [1.0, 0.2, 0.2, 1.0]


async def test_a_watcher_never_makes_batches_later_than_the_settings_ask_for() -> None:
    audience, reader = Audience(), WaitingReader()
    with audience.join():
        await make_context(replace(StreamsSettings(), batch_seconds=0.05), audience).read_batch(reader)
    assert reader.waits == [0.05]


async def test_a_batch_takes_two_statements_and_a_share_in_one_that_counts(
    tmp_path: Path, warehouse: ClickHouse
) -> None:
    """Frames and rows. The first batch of a day also opens the day's load. A stop leaves no intent open."""
    world = StreamWorld(tmp_path, warehouse)
    world.settings = replace(world.settings, batch_seconds=0.25)
    await world.prepare()
    await world.send(numbered(10))
    await world.drain()
    counting = CountingWarehouse(warehouse)
    world.delayed = counting  # type: ignore[assignment]
    async with world.stores() as stores, stores.run_drain(ticks) as flow:
        await world.send(numbered(1, first=10))
        await until_drained(world, flow)
        counting.statements.clear()
        for number in range(11, 14):
            await world.send(numbered(1, first=number))
            await until_drained(world, flow)
        assert len(await stores.positions.intents(ticks.name)) == 4
    assert counting.statements == {"insert_stream": 3, "execute": 3, "rows": 1}
    assert await world.numbers() == list(range(28))


async def test_batches_are_confirmed_while_nothing_follows_them(tmp_path: Path, warehouse: ClickHouse) -> None:
    world = StreamWorld(tmp_path, warehouse)
    await world.prepare()
    async with world.stores() as stores, stores.run_drain(ticks):
        await world.send(numbered(1))
        await until(lambda: is_confirmed(stores, 1))
        await until(lambda: world.spool.durable == {7: 0})


async def test_a_batch_whose_rows_are_gone_when_its_group_is_counted_is_moved_again(
    tmp_path: Path, warehouse: ClickHouse
) -> None:
    world = StreamWorld(tmp_path, warehouse)
    world.settings = replace(world.settings, batch_seconds=0.25)
    await world.prepare()
    async with world.stores() as stores, stores.run_drain(ticks) as flow:
        for number in range(3):
            await world.send(numbered(1, first=number))
            await until_drained(world, flow)
        await warehouse.execute("DELETE FROM constructed_ticks WHERE offset = 1")
        await until(lambda: is_confirmed(stores, 3))
    assert await world.numbers() == list(range(6))


async def is_confirmed(stores: Stores, offset: int) -> bool:
    """Whether the position of the only partition is there, and no intent is open."""
    position = (await stores.positions.positions(ticks.name)).get(0)
    return position is not None and position.offset == offset and not await stores.positions.intents(ticks.name)


async def until_drained(world: StreamWorld, flow: Any) -> None:
    await until(lambda: world.is_drained(flow))


async def test_the_copies_of_records_are_asked_only_when_there_are_new_ones(
    tmp_path: Path, warehouse: ClickHouse
) -> None:
    world = StreamWorld(tmp_path, warehouse)
    await world.prepare()
    async with world.stores() as stores:
        counting, newest = CountingWarehouse(warehouse), dict[str, int]()
        copies: tuple[Any, ...] = (stores.ledger, counting, NoArchives(), newest)
        await mirror_records(*copies)
        counting.statements.clear()
        assert await mirror_records(*copies) == 0
        assert not counting.statements
        await stores.ledger.record(Run(datetime.now(UTC), "constructed", "", "", "discovered"))
        assert await mirror_records(*copies) == 1
        assert await mirror_records(*copies) == 0
        await warehouse.execute("TRUNCATE TABLE runs")
        newest.clear()  # as the flow does now and then
        assert await mirror_records(*copies) >= 1
