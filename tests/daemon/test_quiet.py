"""A quiet feed for long: the daemon's memory stays flat. A few seconds in `make test`, an hour in `make soak`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from spotlightd.demo.exchange import Script, run_exchange
from tests.daemon import process
from tests.polling import until

SECONDS = float(os.environ.get("SPOTLIGHTD_QUIET_SECONDS", "20"))
WARM_SECONDS = min(600.0, SECONDS / 2)
GROWTH_BYTES = 5 << 20
SYMBOLS = ["AAPL", "TSLA", "BINANCE:BTCUSDT"]


@pytest.mark.slow
async def test_the_memory_of_a_daemon_with_a_quiet_feed_is_flat(tmp_path: Path) -> None:
    async with run_exchange(Script(rate=10, keeps_sent=False)) as venue:
        config = process.settings_file(
            tmp_path, "http://127.0.0.1:9", schedule={"enabled": False, "sources": []},
            streams={"symbols": {"finnhub": SYMBOLS}, "addresses": {"finnhub": venue.address}},
        )  # fmt: skip
        async with process.ready(config) as daemon:
            await until(lambda: _drained(daemon), "the first trade is in its table")
            await asyncio.sleep(WARM_SECONDS)
            before, frames = daemon.memory(), await _drained(daemon)
            most = before
            for _ in range(int(SECONDS - WARM_SECONDS)):
                await asyncio.sleep(1.0)
                most = max(most, daemon.memory())
            assert most - before < GROWTH_BYTES, f"{most - before:,} bytes more than after {WARM_SECONDS:g} s"
            assert await _drained(daemon) > frames


async def _drained(daemon: process.Daemon) -> int:
    """How many frames are in the table."""
    return sum(int(drain["frames"]) for drain in (await daemon.status())["state"]["drains"])
