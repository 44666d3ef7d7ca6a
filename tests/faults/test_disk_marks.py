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
from tests.daemon.place import Place, make_place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month
from tests.daemon.test_kills import queue_backfill
from tests.faults.disk import MIB, Disk, small_disk
from tests.polling import until
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
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "state").mkdir(mode=0o700)
    with small_disk(tmp_path / "state", SIZE):
        async with ScriptedPublisher() as server:
            yield make_place(tmp_path, server)


async def wait_until_reported(daemon: Daemon, because: str) -> None:
    """/readyz says so within 5 s, while the process is up and readers are answered."""
    began = time.monotonic()
    await until(lambda: daemon.is_degraded(because), f"/readyz says {because!r}", seconds=HELD_SECONDS)
    print(f"/readyz said {because!r} after {time.monotonic() - began:.1f} s")
    assert (await daemon.get("/healthz")).status == 200
    assert (await daemon.get("/disk")).status == 200


async def file_system(daemon: Daemon, folder: str) -> Any:
    """The file system on which that is, as /disk.json describes it."""
    file_systems = (await daemon.get("/disk.json")).json()["file_systems"]
    (found,) = (item for item in file_systems if folder in item["folders"])
    return found


async def test_documents_wait_and_are_loaded_later(place: Place) -> None:
    disk = Disk(place.state)
    place.show(half_month(0))
    async with place.ready(disk=MARKS) as daemon:
        await place.wait_until_visible()
        disk.fill(leaving=leaving(7))
        await wait_until_reported(daemon, "batch loads held")
        place.show(half_month(2))
        requests = len(place.server.requests)
        await queue_backfill(place)

        async def flow_holds() -> bool:
            flow = await daemon.flow("collect fast_ftd")
            return flow["state"] == "holding" and "batch loads are held until it is below 91 %" in flow["error"]

        await until(flow_holds, "the collector says that it holds, and why")
        assert len(place.server.requests) == requests
        assert not (await daemon.get("/disk.json")).json()["held"].get("the sink")
        disk.clear()
        await place.wait_until_visible()
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert not daemon.find_events("store failed")
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_40_the_sink_stops_before_a_disk_is_full_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with small_disk(tmp_path / "state", SIZE) as disk:
        async with run_exchange(Script(rate=500.0, ping_seconds=0.5)) as venue:
            place = Streams(tmp_path, venue)
            async with place.ready(disk=MARKS) as daemon:
                await place.wait_for_flow(500)
                disk.fill(leaving=leaving(4))
                await wait_until_reported(daemon, "batch loads and the sink held")
                await _drain_holds(daemon)
                await _assert_nothing_is_drained(place)
                disk.clear()
                await until(daemon.is_ready, "/readyz answers 200 again")
                await place.wait_for_flow()
                count = await place.settle()
                print(f"held at 96 %: {count}")
                assert count.is_good
                assert place.causes() == []  # the spool had room: nothing was shed
                disk.fill()  # to the last byte
                await wait_until_reported(daemon, "the sink held")
                await _wait_for_ticks(place, 1_000)
                assert (await daemon.get("/healthz")).status == 200
                disk.clear()
                await place.wait_for_flow()
                count = await place.settle()
                print(f"held at 100 %: {count}, gaps {place.causes()}")
                assert count.is_good
                await until(daemon.is_ready, "/readyz answers 200 again")
                assert await daemon.stop() == 0


async def _drain_holds(daemon: Daemon) -> None:
    async def wait_until_holding() -> bool:
        return bool((await daemon.flow("drain finnhub"))["state"] == "holding")

    await until(wait_until_holding, "the drain holds")


async def _wait_for_ticks(place: Streams, more: int) -> None:
    wanted = len(place.venue.ticks) + more
    await until(lambda: len(place.venue.ticks) >= wanted, f"{more} more ticks are made")


async def _assert_nothing_is_drained(place: Streams) -> None:
    sql = "SELECT sum(offset) FROM positions WHERE source = ?"
    before = place.ledger(sql, place.source)
    assert place.ledger("SELECT count(*) FROM intents") == [(0,)]
    await _wait_for_ticks(place, 1_000)
    assert place.ledger(sql, place.source) == before


@pytest.mark.slow
async def test_41_on_a_full_disk_partitions_can_be_dropped_once_the_ballast_is_released(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    settings = DiskSettings(ballast_bytes=BALLAST)
    with small_disk(tmp_path / "state", SIZE) as disk:
        async with open_instance(replace(Settings(), state_dir=tmp_path / "state", disk=settings)) as instance:
            warehouse, dropped = instance.warehouse, list[str]()
            drop = "ALTER TABLE disks DROP PARTITION ID '202601-0'"
            await warehouse.insert(
                disk_rows, [(datetime(2026, 1, 1, tzinfo=UTC), "/", at, 1, 0, "") for at in range(1000)]
            )

            async def critical(file_system: FileSystem) -> None:
                await warehouse.execute(drop)
                dropped.append(file_system.name)

            watch = make_disk_monitor(instance.settings, Gate(), on_critical=critical)
            ballast = tmp_path / "state" / "engine" / BALLAST_FILE
            await watch.check()
            await until(ballast.exists, "the ballast is made")
            await until(lambda: any(disk.ballast_held for disk in watch.state().file_systems), "and known")
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


async def test_41_a_daemon_releases_its_ballast_in_time_and_has_it_again(place: Place) -> None:
    disk, ballast = Disk(place.state), place.state / "engine" / BALLAST_FILE
    place.show(half_month(0))
    async with place.ready(disk=MARKS) as daemon:
        await place.wait_until_visible()
        await daemon.wait_for("ballast created")
        disk.fill(leaving=leaving(1))
        await wait_until_reported(daemon, "ballast released")
        await until(lambda: not ballast.exists(), "the ballast is gone")
        usage = await file_system(daemon, "tables")
        assert usage["ballast"]["held"] == 0
        disk.clear()
        await daemon.wait_for("ballast created", times=2)
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert [event["now"] for event in daemon.find_events("disk level changed")][-1] == "fine"
        assert await daemon.stop() == 0


async def test_a_daemon_starts_on_a_full_disk_by_releasing_its_ballast(place: Place) -> None:
    disk = Disk(place.state)
    place.show(half_month(0))
    async with place.ready(disk=MARKS) as daemon:
        await place.wait_until_visible()
        await daemon.wait_for("ballast created")
        assert await daemon.stop() == 0
    disk.fill()
    async with place.start(disk=MARKS) as daemon:
        await daemon.wait_for("ballast released")
        await daemon.wait_for("daemon ready")
        await wait_until_reported(daemon, "batch loads and the sink held")
        disk.clear()
        await until(daemon.is_ready, "/readyz answers 200 again")
        await place.wait_until_visible()
        assert await daemon.stop() == 0


async def test_42_full_temporary_folders_hold_nothing_and_nothing_is_lost_by_them(place: Place, tmp_path: Path) -> None:
    temporary, engine_temporary = tmp_path / "tmp", place.state / "engine" / "tmp"
    temporary.mkdir()
    engine_temporary.mkdir(parents=True, mode=0o700)
    with small_disk(temporary, MIB) as disk, small_disk(engine_temporary, MIB) as other:
        place.show(half_month(0))
        async with place.ready(disk=MARKS, env={"TMPDIR": str(temporary)}) as daemon:
            await place.wait_until_visible()
            disk.fill()
            other.fill()
            for folder in ("temporary files", "temporary files of the engine"):
                await until(partial(_is_reported, daemon, folder), f"/disk.json says that {folder} are full")
            assert await daemon.is_ready()
            place.show(half_month(2, 50_000))
            await queue_backfill(place)
            await until(lambda: place.count_requests(half_month(2, 50_000)), "it is fetched beside them")
            await place.wait_until_visible()
            audited = await place.command("audit", "--json")
            assert audited.json()["same"] == sum(document.rows for document in place.documents)
            disk.clear()
            other.clear()
            place.show(half_month(4, 50_000))
            await queue_backfill(place)
            await place.wait_until_visible()
            assert await daemon.stop() == 0


async def _is_reported(daemon: Daemon, folder: str) -> bool:
    usage = await file_system(daemon, folder)
    return bool(usage["level"] == 4 and usage["detail"] == "nearly full, holds nothing up")
