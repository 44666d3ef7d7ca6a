"""SIGTERM ends the daemon within 10 s, whatever its children do."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import psutil
import pytest

from spotlightd.runtime.daemon import STOP_SECONDS
from tests.daemon.place import Place
from tests.daemon.publisher import half_month
from tests.polling import until

HANGS = """
import asyncio, signal, sys
from spotlightd.runtime import daemon

async def main():
    daemon.STOP_SECONDS = 1.0
    async with daemon.stop_signal() as stop:
        print("ready", flush=True)
        await stop.wait()
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_sigterm_while_all_children_are_stopped_ends_it_with_0_within_10_seconds(place: Place) -> None:
    place.show(half_month(0, 150_000))
    async with place.ready() as daemon:
        await until(lambda: place.ledger("SELECT 1 FROM loads WHERE state = 'loading'"), "a load")
        children = psutil.Process(daemon.pid).children(recursive=True)
        for child in children:
            child.send_signal(signal.SIGSTOP)
        assert await daemon.stop() == 0
        assert daemon.find_events("daemon stopped")
    for child in children:
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_a_stop_that_hangs_is_cut_off_by_the_kernel(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGS, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        assert await process.wait() == -signal.SIGALRM


def test_the_cut_comes_before_10_seconds() -> None:
    assert STOP_SECONDS < 10


@pytest.mark.slow
async def test_a_hung_engine_is_replaced_within_30_seconds_and_no_row_is_lost(place: Place) -> None:
    place.show(half_month(0))
    async with place.ready() as daemon:
        await place.wait_until_visible()
        psutil.Process(daemon.engine_pid()).send_signal(signal.SIGSTOP)
        await daemon.wait_for("engine hung", seconds=25)
        await daemon.wait_for("engine restarted", seconds=10)
        await until(daemon.is_ready, "/readyz answers 200")
        await place.wait_until_visible()
        assert await daemon.stop() == 0
