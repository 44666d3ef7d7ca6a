"""The watch over disks: what it holds and releases, the ballast, and disks that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import disks as disk_rows
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.disk import Critical, DiskWatch, drop_nothing
from spotlightd.flows.upkeep.disk_history import DiskHistory
from spotlightd.model.disk import FileSystem, Folder, Level, Watermarks
from spotlightd.testing import MemoryDisks
from tests.polling import until

TABLES, PAPERS, OTHER = Path("/tables"), Path("/papers"), Path("/tmp")
SIZE = 1_000
FOLDERS = (
    Folder("tables", TABLES / "engine", ("batch loads", "the sink")),
    Folder("documents", PAPERS / "documents", ("batch loads",)),
    Folder("temporary files", OTHER),
)
Events = list[MutableMapping[str, Any]]


@pytest.fixture
def log_entries() -> Iterator[Events]:
    """What was logged."""
    with capture_logs() as lines:
        yield lines


@dataclass
class Watch:
    """Three disks of a thousand bytes, and a watch over them."""

    ballast: int = 20
    on_critical: Critical = drop_nothing
    every_seconds: float = 0.01
    disks: MemoryDisks = field(default_factory=lambda: MemoryDisks(dict.fromkeys((TABLES, PAPERS, OTHER), (SIZE, 0))))
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        self.flow = DiskWatch(
            self.disks, FOLDERS, Watermarks(), self.gate, every_seconds=self.every_seconds,
            ballast=TABLES / "engine" / "ballast", configured_ballast=self.ballast, on_critical=self.on_critical,
        )  # fmt: skip

    async def usage_after(self, used: int, at: Path = TABLES) -> FileSystem:
        """Check while other programs use this much. Returns the disk after the started tasks are done."""
        self.disks.mounts[at] = (SIZE, used)
        await self.flow.check()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name().startswith("disk ")))
        return self.at(at)

    def at(self, at: Path) -> FileSystem:
        return next(disk for disk in self.flow.state().file_systems if disk.name == str(at))

    @property
    def held(self) -> tuple[bool, bool]:
        return bool(self.gate.hold_reason("batch loads")), bool(self.gate.hold_reason("the sink"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Board]:
        board = Board()
        task = asyncio.create_task(self.flow(board.reporter("disk")))
        try:
            yield board
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_levels_hold_in_their_order_and_let_go_in_the_reverse() -> None:
    watch = Watch(ballast=0)
    log_entries = []
    for used in (800, 860, 930, 960, 980, 965, 945, 935, 905, 830):
        usage = await watch.usage_after(used)
        log_entries.append((int(usage.level), *watch.held))
    assert log_entries == [
        (0, False, False), (1, False, False), (2, True, False), (3, True, True), (4, True, True),
        (4, True, True), (3, True, True), (2, True, False), (1, False, False), (0, False, False),
    ]  # fmt: skip


async def test_a_disk_holds_only_what_needs_it() -> None:
    watch = Watch()
    assert (await watch.usage_after(990, PAPERS)).summary == "batch loads held"
    assert watch.held == (True, False)
    await watch.usage_after(0, PAPERS)
    assert (await watch.usage_after(1_000, OTHER)).summary == "nearly full, holds nothing up"
    assert watch.held == (False, False)


async def test_the_reason_for_holding_names_the_percentage_that_ends_it() -> None:
    watch = Watch(ballast=0)
    await watch.usage_after(960)
    assert (
        watch.gate.hold_reason("the sink")
        == "the disk of tables is 96.0 % full: the sink is held until it is below 94 %"
    )


async def test_each_change_of_level_is_logged_once(log_entries: Events) -> None:
    watch = Watch(ballast=0)
    for used in (930, 931, 930, 929, 930, 919, 915, 925, 921, 912):
        await watch.usage_after(used)
    assert [entry["now"] for entry in log_entries if entry["event"] == "disk level changed"] == ["batch held"]
    await watch.usage_after(100)
    assert [entry["now"] for entry in log_entries if entry["event"] == "disk level changed"] == ["batch held", "fine"]


@given(st.lists(st.integers(0, SIZE), max_size=30))
def test_the_gate_always_follows_the_levels_and_free_space_releases_all_work(used_sizes: list[int]) -> None:
    async def all_of_it() -> None:
        watch = Watch(ballast=0)
        for used in used_sizes:
            usage = await watch.usage_after(used)
            assert watch.held == (usage.level >= Level.BATCH_HELD, usage.level >= Level.SINK_HELD)
        await watch.usage_after(0)
        assert watch.held == (False, False)

    asyncio.run(all_of_it())


async def test_the_ballast_is_created_released_and_created_again(log_entries: Events) -> None:
    watch = Watch(ballast=20)
    assert (await watch.usage_after(100)).ballast_held == 20
    assert (await watch.usage_after(960)).ballast_held == 0  # with the ballast that is 98 %
    for used in (950, 930, 880, 845):
        assert (await watch.usage_after(used)).ballast_held == 0
    assert (await watch.usage_after(830)).ballast_held == 20
    events = [entry["event"] for entry in log_entries if entry["event"].startswith("ballast")]
    assert events == ["ballast created", "ballast released", "ballast created"]


async def test_a_ballast_that_would_itself_hold_work_is_not_created() -> None:
    """Otherwise it would be created and released for ever."""
    watch = Watch(ballast=200)
    for _ in range(3):
        usage = await watch.usage_after(830)
        assert usage.ballast
        assert (usage.ballast.held, usage.ballast.detail) == (0, "there is no room for it yet")
    assert watch.held == (False, False)


async def test_no_ballast_is_wanted() -> None:
    watch = Watch(ballast=0)
    watch.disks.files[TABLES / "engine" / "ballast"] = 20  # of an earlier setting
    async with watch.running():
        await until(lambda: not watch.disks.files)
        await until(lambda: bool(watch.flow.state().file_systems))
        assert watch.at(TABLES).ballast is None


async def test_at_the_last_level_the_hook_is_called_after_the_ballast_is_released_and_not_twice_at_once() -> None:
    called, may_end = list[tuple[str, int]](), asyncio.Event()

    async def drop(file_system: FileSystem) -> None:
        called.append((file_system.name, watch.disks.files.get(TABLES / "engine" / "ballast", 0)))
        await may_end.wait()

    watch = Watch(on_critical=drop, every_seconds=0.001)
    async with watch.running() as board:
        await until(lambda: bool(watch.disks.files))
        watch.disks.mounts[TABLES] = (SIZE, 975)
        await until(lambda: bool(called))
        beats = board.read()[0].beats
        await until(lambda: board.read()[0].beats > beats + 20)  # it goes on looking
        assert called == [("/tables", 0)]
        may_end.set()


async def test_a_hook_that_fails_is_logged_and_the_watch_goes_on(log_entries: Events) -> None:
    async def drop(_: FileSystem) -> None:
        raise StoreError("the bucket does not answer")

    watch = Watch(on_critical=drop)
    await watch.usage_after(990)
    assert [entry["error"] for entry in log_entries if entry["event"] == "store failed"] == [
        "the bucket does not answer"
    ]
    assert (await watch.usage_after(100)).level == Level.FINE


async def test_a_disk_that_hangs_keeps_its_level_is_reported_and_others_are_still_watched(log_entries: Events) -> None:
    watch = Watch()
    async with watch.running() as board:
        await until(lambda: bool(watch.disks.files))
        watch.disks.hanging.add(TABLES)
        watch.disks.mounts[PAPERS] = (SIZE, 930)
        await until(lambda: watch.held == (True, False))
        await until(lambda: "does it hang?" in board.read()[0].error)
        assert board.read()[0].state == "holding"
        assert watch.at(TABLES).level == Level.FINE
        watch.disks.hanging.clear()
        await until(lambda: not watch.at(TABLES).error)
        watch.disks.mounts[PAPERS] = (SIZE, 0)
        await until(lambda: board.read()[0].state == "waiting")
    events = [entry["event"] for entry in log_entries if entry["event"].startswith("disk ") and "disk" in entry]
    assert sorted(events) == ["disk answered", "disk level changed", "disk level changed", "disk stopped answering"]


async def test_a_disk_that_hangs_from_the_beginning_is_reported() -> None:
    watch = Watch()
    watch.disks.hanging.add(TABLES)
    await watch.flow.check()
    errors = {disk.error for disk in watch.flow.state().file_systems}
    assert "the disk of tables did not answer within 0 s: does it hang?" in errors  # no path: pages show it
    watch.disks.hanging.clear()
    assert (await watch.usage_after(0)).error == ""
    assert len(watch.flow.state().file_systems) == 3


async def test_a_flow_that_waits_at_the_gate_reports_why_beats_and_goes_on_by_itself() -> None:
    gate, board = Gate(), Board()
    report = board.reporter("drain")
    gate.hold({"the sink": "full"})
    waits = asyncio.create_task(gate.wait_until_open("the sink", report))
    await until(lambda: board.read()[0].state == "holding")
    await gate.wait_until_open("batch loads", report)
    assert board.read()[0].error == "full"
    gate.hold({})
    await asyncio.wait_for(waits, 5)
    assert (board.read()[0].state, board.read()[0].error) == ("waiting", "")


async def test_the_forecast_outlives_a_restart(warehouse: ClickHouse) -> None:
    await warehouse.ensure(disk_rows)
    now = datetime.now(UTC)
    rows = [
        (now - timedelta(hours=ago), "/tables", SIZE, 120 - ago + 20, 20, "fine") for ago in range(48, 0, -1)
    ]  # a byte an hour
    await warehouse.insert(disk_rows, rows)
    watch, board = Watch(ballast=20), Board()
    task = asyncio.create_task(DiskHistory(watch.flow, warehouse, every_seconds=0.05)(board.reporter("disk rows")))
    try:
        await until(lambda: board.read()[0].state == "waiting")
        usage = await watch.usage_after(120)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert usage.forecast.rate == pytest.approx(1 / 3600, rel=0.1)
    assert usage.forecast.summary.startswith(("full in 35 days", "full in 36 days", "full in 34 days"))
