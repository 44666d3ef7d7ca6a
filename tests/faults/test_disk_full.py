"""A disk that fills up under the daemon: it holds, reports that, and catches up when there is space again."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.publisher_server import ScriptedPublisher
from tests.daemon.place import Place, make_place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month
from tests.daemon.test_kills import queue_backfill
from tests.faults.disk import MIB, Disk, small_disk
from tests.polling import until

BIG = half_month(1, 200_000)  # 2.8 MiB to store, 3 MiB to insert


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """As elsewhere, but the state folder is a disk of 96 MiB."""
    (tmp_path / "state").mkdir()
    with small_disk(tmp_path / "state", 96 * MIB):
        async with ScriptedPublisher() as server:
            yield make_place(tmp_path, server)


@pytest.fixture
def disk(place: Place) -> Disk:
    return Disk(place.state)


async def holds(daemon: Daemon, because: str) -> None:
    """It runs, reports the cause on its page and in its JSON, and continues to answer readers."""
    await until(lambda: daemon.is_degraded(because), f"/readyz says {because!r}")

    async def flow_holds() -> bool:
        flow = await daemon.flow("collect fast_ftd")
        return flow["state"] == "holding" and because in flow["error"]

    await until(flow_holds, f"/status.json says that the flow holds, because {because!r}")
    assert because in (await daemon.get("/status")).text
    assert (await daemon.get("/healthz")).status == 200
    assert (await daemon.get("/data/sec_ftd")).status == 200


@pytest.mark.slow
async def test_full_during_a_fetch_and_then_during_an_insert(place: Place, disk: Disk) -> None:
    place.show(half_month(0))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        disk.fill(leaving=2 * MIB)
        place.show(BIG)
        await queue_backfill(place)
        await holds(daemon, "is full (No space left on device)")
        disk.clear()
        disk.fill(leaving=5 * MIB)  # the bytes find room, the rows do not
        await holds(daemon, "is its disk full?")
        assert await place.visible() == {half_month(0).covers: (half_month(0).rows, half_month(0).shares)}
        requests = place.count_requests(BIG)
        await daemon.wait_for("load failed", times=3)
        assert place.count_requests(BIG) == requests  # stored documents are not requested again
        disk.clear()
        await place.wait_until_visible()
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert daemon.find_events("store recovered")
        audited = await place.command("audit", "--json")
        assert audited.json()["same"] == sum(document.rows for document in place.documents)
        assert await daemon.stop() == 0


async def test_full_to_the_last_byte_and_stopped_and_started_again(place: Place, disk: Disk) -> None:
    """Ledger, documents and engine all find no byte. Nothing is lost; and it starts as soon as there is space."""
    place.show(half_month(0))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        place.show(BIG)
        await queue_backfill(place)
        disk.fill()
        await holds(daemon, "full")
        disk.fill()
        assert await daemon.stop() == 0
    disk.fill()
    async with place.start() as daemon:
        if await _started(daemon):
            await holds(daemon, "full")
            disk.clear()
        else:
            assert await daemon.ended() == 74, daemon.describe()  # systemd starts it again
            assert "full" in daemon.describe()
            assert not any("Traceback" in line for line in daemon.other_lines)
            disk.clear()
    async with place.ready() as daemon:
        await place.wait_until_visible()
        assert await daemon.stop() == 0


async def _started(daemon: Daemon) -> bool:
    def is_ready_or_ended() -> bool:
        return bool(daemon.find_events("daemon ready")) or daemon.process.returncode is not None

    await until(is_ready_or_ended, "it is ready, or gave up")
    return daemon.process.returncode is None


@pytest.mark.slow
async def test_an_engine_that_dies_on_a_full_disk_is_back_when_there_is_space(place: Place, disk: Disk) -> None:
    place.show(half_month(0))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        disk.fill()
        os.kill(daemon.engine_pid(), signal.SIGKILL)
        await daemon.wait_for("engine died")
        assert (await daemon.get("/healthz")).status == 200
        disk.clear()
        place.show(half_month(2))
        await until(daemon.is_ready, "/readyz answers 200 again", seconds=60)
        await queue_backfill(place)
        await place.wait_until_visible()
        assert await daemon.stop() == 0
