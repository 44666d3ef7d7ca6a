"""What faults of months do to a feed, with a real daemon: a refused symbol, a clock that drifts, a process that stood still."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd.demo.exchange import Script, run_exchange
from tests.polling import until
from tests.streams.place import Place

STOPPED_SECONDS = 12.0  # longer than `ListenerTiming.asleep`


@pytest.mark.slow
async def test_a_refused_symbol_a_drifting_clock_and_a_stopped_process_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    async with run_exchange(Script(rate=200.0, ping_seconds=0.5)) as venue:
        venue.refused_symbols.add("TSLA")
        place = Place(tmp_path, venue)
        async with place.begun() as daemon:
            await until(lambda: daemon.is_degraded("refused by the venue: TSLA"), "/readyz names the symbol")
            assert (await daemon.get("/readyz")).status == 200  # readers are answered
            assert "refused</mark> TSLA since" in (await daemon.get("/status")).text
            assert [event["symbol"] for event in daemon.find_events("symbol refused")] == ["TSLA"]
            await place.wait_for_flow()
            venue.script = replace(venue.script, clock_seconds=42.0)

            async def drifts() -> bool:
                (feed,) = (await daemon.status())["feeds"]
                return bool(feed["is_clock_off"]) and 40.0 < feed["clock_offset_seconds"] < 43.0

            await until(drifts, "the clock of the venue is off by 42 s")
            assert "The venue&#39;s clock is 4" in (await daemon.get("/status")).text
            assert daemon.find_events("venue clock drifted")
            daemon.send(signal.SIGSTOP)
            await asyncio.sleep(STOPPED_SECONDS)
            daemon.send(signal.SIGCONT)
            await until(lambda: "asleep" in place.causes(), "a gap says that the process did not run")
            await place.wait_for_flow()
            count = await place.settle()
            print(f"stopped for {STOPPED_SECONDS:g} s: {count}")
            assert count.is_good
            assert place.gap_causes() == []
            assert await daemon.stop() == 0
    (refused,) = place.ledger("SELECT symbol FROM gaps WHERE cause = 'refused by the venue'")
    assert refused == ("TSLA",)
