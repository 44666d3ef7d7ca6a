"""A disk that fills up under the daemon: it holds, says so, and makes up everything when there is space again."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.publisher_server import ScriptedPublisher
from tests.daemon.place import Place, place
from tests.daemon.process import Daemon, until
from tests.daemon.publisher import half_month
from tests.daemon.test_kills import queue_backfill
from tests.faults.disk import MIB, Disk, small_disk

BIG = half_month(1, 200_000)  # 2.8 MiB to store, 3 MiB to insert


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    """As elsewhere, but the state folder is a disk of 96 MiB."""
    (tmp_path / "state").mkdir()
    with small_disk(tmp_path / "state", 96 * MIB):
        async with ScriptedPublisher() as server:
            yield place(tmp_path, server)


@pytest.fixture
def disk(here: Place) -> Disk:
    return Disk(here.state)


async def holds(daemon: Daemon, because: str) -> None:
    """It lives, says what is wrong where people and machines ask, and goes on answering readers."""
    await until(lambda: daemon.is_not_ready(because), f"/readyz says {because!r}")

    async def flow_holds() -> bool:
        flow = await daemon.flow("collect fast_ftd")
        return flow["state"] == "holding" and because in flow["error"]

    await until(flow_holds, f"/status.json says that the flow holds, because {because!r}")
    assert because in (await daemon.get("/status")).text
    assert (await daemon.get("/healthz")).status == 200
    assert (await daemon.get("/data/sec_ftd")).status == 200


@pytest.mark.slow
async def test_full_during_a_fetch_and_then_during_an_insert(here: Place, disk: Disk) -> None:
    here.show(half_month(0))
    async with here.ready() as daemon:
        await here.all_seen()
        disk.fill(leaving=2 * MIB)
        here.show(BIG)
        await queue_backfill(here)
        await holds(daemon, "is full (No space left on device)")
        disk.clear()
        disk.fill(leaving=5 * MIB)  # the bytes find room, the rows do not
        await holds(daemon, "is its disk full?")
        assert await here.seen() == {half_month(0).covers: (half_month(0).rows, half_month(0).shares)}
        asked = here.asked_for(BIG)
        await daemon.says("load died", times=3)
        assert here.asked_for(BIG) == asked  # what is here already is not asked for again
        disk.clear()
        await here.all_seen()
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert daemon.said("store recovered")
        audited = await here.command("audit", "--json")
        assert audited.json()["same"] == sum(one.rows for one in here.shown)
        assert await daemon.stop() == 0


async def test_full_to_the_last_byte_and_told_to_stop_and_started_again(here: Place, disk: Disk) -> None:
    """Ledger, documents and engine all find no byte. Nothing is lost; and it starts as soon as there is space."""
    here.show(half_month(0))
    async with here.ready() as daemon:
        await here.all_seen()
        here.show(BIG)
        await queue_backfill(here)
        disk.fill()
        await holds(daemon, "full")
        disk.fill()
        assert await daemon.stop() == 0
    disk.fill()
    async with here.begun() as daemon:
        if await _started(daemon):
            await holds(daemon, "full")
            disk.clear()
        else:
            assert await daemon.ended() == 74, daemon.told()  # systemd starts it again
            assert "full" in daemon.told()
            assert not any("Traceback" in word for word in daemon.words)
            disk.clear()
    async with here.ready() as daemon:
        await here.all_seen()
        assert await daemon.stop() == 0


async def _started(daemon: Daemon) -> bool:
    def settled() -> bool:
        return bool(daemon.said("daemon ready")) or daemon.process.returncode is not None

    await until(settled, "it is ready, or gave up")
    return daemon.process.returncode is None


@pytest.mark.slow
async def test_an_engine_that_dies_on_a_full_disk_is_back_when_there_is_space(here: Place, disk: Disk) -> None:
    here.show(half_month(0))
    async with here.ready() as daemon:
        await here.all_seen()
        disk.fill()
        os.kill(daemon.engine_pid(), signal.SIGKILL)
        await daemon.says("engine died")
        assert (await daemon.get("/healthz")).status == 200
        disk.clear()
        here.show(half_month(2))
        await until(daemon.is_ready, "/readyz answers 200 again", seconds=60)
        await queue_backfill(here)
        await here.all_seen()
        assert await daemon.stop() == 0
