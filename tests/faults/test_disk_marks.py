"""Disks that fill up slowly enough to be seen: what would fill them waits before they are full, and goes on by itself.

Faults 40 to 42. What happens when a disk is full all at once is in test_disk_full.py.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.disk import LocalDisks
from spotlightd.datasets.system import disks as disk_rows
from spotlightd.demo.exchange import Script, run_exchange
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.model.disk import FileSystem
from spotlightd.runtime.disks import BALLAST_FILE, make_disk_monitor
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import DiskSettings
from tests.clients.publisher_server import ScriptedPublisher
from tests.daemon.place import Place, place
from tests.daemon.process import Daemon, until
from tests.daemon.publisher import half_month
from tests.daemon.test_kills import queue_backfill
from tests.faults.disk import MIB, Disk, small_disk
from tests.streams.place import Place as Streams

SIZE = 256 * MIB
BALLAST = 4 * MIB
HELD_SECONDS = 5.0
MARKS: dict[str, Any] = {
    "warn_percent": 85.0, "batch_percent": 92.0, "sink_percent": 95.0, "ballast_percent": 97.0, "hysteresis_percent": 1.0,
    "ballast_bytes": BALLAST, "every_seconds": 0.5,
}  # fmt: skip


def leaving(percent: float) -> int:
    return int(SIZE * percent / 100)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "state").mkdir(mode=0o700)
    with small_disk(tmp_path / "state", SIZE):
        async with ScriptedPublisher() as server:
            yield place(tmp_path, server)


async def told_in_time(daemon: Daemon, because: str) -> None:
    """/readyz says so within 5 s, while the process is up and readers are answered."""
    began = time.monotonic()
    await until(lambda: daemon.is_not_ready(because), f"/readyz says {because!r}", seconds=HELD_SECONDS)
    print(f"/readyz said {because!r} after {time.monotonic() - began:.1f} s")
    assert (await daemon.get("/healthz")).status == 200
    assert (await daemon.get("/disk")).status == 200


async def file_system(daemon: Daemon, at: Path) -> Any:
    found = (await daemon.get("/disk.json")).json()["file_systems"]
    return next(one for one in found if one["name"] == str(at))


async def test_documents_wait_and_are_made_up(here: Place) -> None:
    disk = Disk(here.state)
    here.show(half_month(0))
    async with here.ready(disk=MARKS) as daemon:
        await here.all_seen()
        disk.fill(leaving=leaving(7))
        await told_in_time(daemon, "batch loads held")
        here.show(half_month(2))
        asked = len(here.server.asked)
        await queue_backfill(here)

        async def flow_holds() -> bool:
            flow = await daemon.flow("collect fast_ftd")
            return flow["state"] == "holding" and "batch loads are held until it is below 91 %" in flow["error"]

        await until(flow_holds, "the collector says that it holds, and why")
        assert len(here.server.asked) == asked
        assert not (await daemon.get("/disk.json")).json()["held"].get("the sink")
        disk.clear()
        await here.all_seen()
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert not daemon.said("store failed")
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_40_the_sink_stops_before_a_disk_is_full_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with small_disk(tmp_path / "state", SIZE) as disk:
        async with run_exchange(Script(rate=500.0, ping_seconds=0.5)) as venue:
            here = Streams(tmp_path, venue)
            async with here.ready(disk=MARKS) as daemon:
                await here.wait_for_flow(500)
                disk.fill(leaving=leaving(4))
                await told_in_time(daemon, "batch loads and the sink held")
                await _drain_holds(daemon)
                await _nothing_is_drained_while_ticks_are_made(here)
                disk.clear()
                await until(daemon.is_ready, "/readyz answers 200 again")
                await here.wait_for_flow()
                count = await here.settle()
                print(f"held at 96 %: {count}")
                assert count.is_good
                assert here.causes() == []  # the spool had room: nothing was shed
                disk.fill()  # to the last byte
                await told_in_time(daemon, "the sink held")
                await _made(here, 1_000)
                assert (await daemon.get("/healthz")).status == 200
                disk.clear()
                await here.wait_for_flow()
                count = await here.settle()
                print(f"held at 100 %: {count}, gaps {here.causes()}")
                assert count.is_good
                await until(daemon.is_ready, "/readyz answers 200 again")
                assert await daemon.stop() == 0


async def _drain_holds(daemon: Daemon) -> None:
    async def wait_until_holding() -> bool:
        return bool((await daemon.flow("drain finnhub"))["state"] == "holding")

    await until(holds, "the drain holds")


async def _made(here: Streams, more: int) -> None:
    wanted = len(here.venue.ticks) + more
    await until(lambda: len(here.venue.ticks) >= wanted, f"{more} more ticks are made")


async def _nothing_is_drained_while_ticks_are_made(here: Streams) -> None:
    sql = "SELECT sum(offset) FROM positions WHERE source = ?"
    before = here.ledger(sql, here.source)
    assert here.ledger("SELECT count(*) FROM intents") == [(0,)]
    await _made(here, 1_000)
    assert here.ledger(sql, here.source) == before


@pytest.mark.slow
async def test_41_on_a_full_disk_partitions_can_be_dropped_once_the_ballast_is_gone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    told = DiskSettings(ballast_bytes=BALLAST)
    with small_disk(tmp_path / "state", SIZE) as disk:
        async with open_instance(replace(Settings(), state_dir=tmp_path / "state", disk=told)) as house:
            warehouse, dropped = house.warehouse, list[str]()
            drop = "ALTER TABLE disks DROP PARTITION ID '202601-0'"
            await warehouse.insert(
                disk_rows, [(datetime(2026, 1, 1, tzinfo=UTC), "/", at, 1, 0, "") for at in range(1000)]
            )

            async def critical(one: FileSystem) -> None:
                await warehouse.execute(drop)
                dropped.append(one.name)

            watch = make_disk_monitor(house.settings, Gate(), on_critical=critical)
            ballast = tmp_path / "state" / "engine" / BALLAST_FILE
            await watch.check()
            await until(ballast.exists, "the ballast is made")
            await until(lambda: any(one.ballast_held for one in watch.state().file_systems), "and known")
            disk.fill()
            with pytest.raises(StoreError):
                await warehouse.execute(drop)
            await watch.check()
            assert not ballast.exists()
            await until(lambda: dropped, "the partition is dropped")
            assert (await warehouse.rows("SELECT count() FROM disks WHERE at < '2026-02-01'")).rows == ((0,),)
            disk.clear()
            await watch.check()
            await until(ballast.exists, "the ballast is made again")
            assert await LocalDisks(5.0).allocated_bytes(ballast) == BALLAST


async def test_41_a_daemon_releases_its_ballast_in_time_and_has_it_again(here: Place) -> None:
    disk, ballast = Disk(here.state), here.state / "engine" / BALLAST_FILE
    here.show(half_month(0))
    async with here.ready(disk=MARKS) as daemon:
        await here.all_seen()
        await daemon.says("ballast created")
        disk.fill(leaving=leaving(1))
        await told_in_time(daemon, "ballast released")
        await until(lambda: not ballast.exists(), "the ballast is gone")
        one = await file_system(daemon, here.state)
        assert one["ballast"]["held"] == 0
        disk.clear()
        await daemon.says("ballast created", times=2)
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert [one["now"] for one in daemon.said("disk level changed")][-1] == "fine"
        assert await daemon.stop() == 0


async def test_a_daemon_starts_on_a_full_disk_by_giving_up_its_ballast(here: Place) -> None:
    disk = Disk(here.state)
    here.show(half_month(0))
    async with here.ready(disk=MARKS) as daemon:
        await here.all_seen()
        await daemon.says("ballast created")
        assert await daemon.stop() == 0
    disk.fill()
    async with here.begun(disk=MARKS) as daemon:
        await daemon.says("ballast released")
        await daemon.says("daemon ready")
        await told_in_time(daemon, "batch loads and the sink held")
        disk.clear()
        await until(daemon.is_ready, "/readyz answers 200 again")
        await here.all_seen()
        assert await daemon.stop() == 0


async def test_42_full_temporary_folders_hold_nothing_and_nothing_is_lost_by_them(here: Place, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "tmp", here.state / "engine" / "tmp"
    ours.mkdir()
    theirs.mkdir(parents=True, mode=0o700)
    with small_disk(ours, MIB) as one, small_disk(theirs, MIB) as other:
        here.show(half_month(0))
        async with here.ready(disk=MARKS, env={"TMPDIR": str(ours)}) as daemon:
            await here.all_seen()
            one.fill()
            other.fill()
            for each in (ours, theirs):
                await until(partial(_is_told, daemon, each), f"/disk.json says that {each} is full")
            assert await daemon.is_ready()
            here.show(half_month(2, 50_000))
            await queue_backfill(here)
            await until(lambda: here.asked_for(half_month(2, 50_000)), "it is fetched beside them")
            await here.all_seen()
            audited = await here.command("audit", "--json")
            assert audited.json()["same"] == sum(one.rows for one in here.shown)
            one.clear()
            other.clear()
            here.show(half_month(4, 50_000))
            await queue_backfill(here)
            await here.all_seen()
            assert await daemon.stop() == 0


async def _is_told(daemon: Daemon, at: Path) -> bool:
    one = await file_system(daemon, at)
    return bool(one["level"] == 4 and one["says"] == "nearly full, holds nothing up")
