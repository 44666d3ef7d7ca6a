"""The real daemon, with a venue that hangs up, falls silent, floods and sends garbage, and a real Kafka.

How the listener does all this in detail, with a clock of hand, is in tests/flows/test_listen.py; here it is the whole
process, and what counts is the table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from spotlightd.demo.exchange import GARBAGE, Script
from tests.polling import until
from tests.streams.conftest import Broker, Verdict
from tests.streams.scene import Scene, run_scene

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
MIB = 1 << 20
STALE_SECONDS = 3.0
SCALED = f"stale_seconds={STALE_SECONDS}, ping_seconds=1.5"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def life(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> AsyncIterator[Scene]:
    script = Script(rate=100.0, per_frame=5, ping_seconds=0.25)
    folder = tmp_path_factory.mktemp("venue")
    async with run_scene(folder, broker.kafka, broker.wire_port, script=script, changes=SCALED) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module")
async def scene(life: Scene) -> AsyncIterator[Scene]:
    yield life
    life.lines.healthy()
    life.venue.resume()
    life.venue.accept()


async def test_fault_22_a_burst_is_received_whole_in_bounded_memory(scene: Scene, verdict: Verdict) -> None:
    """22: a hundred times as many ticks for 5 s."""
    before, missing = scene.daemon.memory(), (await scene.settle()).in_gaps
    made = len(scene.venue.ticks)
    await scene.venue.burst(100.0, 5.0)
    made = len(scene.venue.ticks) - made
    grown = scene.daemon.memory() - before
    count = await scene.recover(seconds=120)
    assert max(grown, scene.daemon.memory() - before) <= 150 * MIB
    assert count.in_gaps == missing
    verdict("22", count, f"{made} ticks in 5 s; {grown / MIB:.0f} MiB more memory")


async def test_fault_16_a_venue_that_hangs_up_makes_a_gap_of_each_time(scene: Scene, verdict: Verdict) -> None:
    """16: closed, and cut off, again and again; each is one gap. The limit on connections: tests/flows/test_listen.py."""
    had = len(scene.gaps())
    for hang_up in (scene.venue.close, scene.venue.close):
        await hang_up(1001, "going away")
        await wait_for_gaps(scene, had := had + 1)
    scene.venue.abort()
    await wait_for_gaps(scene, had + 1)
    verdict("16", await scene.recover(), "three gaps")
    assert len(scene.gaps()) == had + 1


async def wait_for_gaps(scene: Scene, gaps: int) -> None:
    await until(lambda: len(scene.gaps()) == gaps, f"{gaps} gaps", seconds=60, every=0.05)


async def test_fault_17_a_venue_that_is_mute_is_left_for_a_new_connection(scene: Scene, verdict: Verdict) -> None:
    """17: pings of the protocol are answered and no frame comes, for longer than the feed's limit of 3 s."""
    had, lost = len(scene.gaps()), len(scene.daemon.find_events("feed lost"))
    scene.venue.mute()
    await scene.daemon.wait_for("feed lost", times=lost + 1, seconds=15)
    scene.venue.resume()
    await wait_for_gaps(scene, had + 1)
    verdict("17", await scene.recover(), "found by its silence")
    assert scene.causes()[-1] == "stale"


async def test_fault_18_a_quiet_market_is_not_dead(scene: Scene, verdict: Verdict) -> None:
    """18: no tick for three times the feed's limit, but the venue's own pings: no new connection."""
    count, had, connections = await scene.settle(), scene.gaps(), scene.venue.connections
    with scene.quiet():
        pings = len(scene.venue.sent) + 3 * STALE_SECONDS / scene.venue.script.ping_seconds
        await until(lambda: len(scene.venue.sent) >= pings, "pings for three times the limit", every=0.1)
    count = await scene.recover()
    assert (scene.gaps(), scene.venue.connections) == (had, connections)
    verdict("18", count, "no new connection")


async def test_fault_21_a_half_open_connection_is_noticed_by_its_pings(scene: Scene, verdict: Verdict) -> None:
    """21: the proxy passes nothing on in either direction, and closes nothing. Scaled: pings each 1.5 s."""
    had, lost = len(scene.gaps()), len(scene.daemon.find_events("feed lost"))
    scene.lines.stalled = True
    await scene.daemon.wait_for("feed lost", times=lost + 1, seconds=15)
    scene.lines.healthy()
    await wait_for_gaps(scene, had + 1)
    verdict("21", await scene.recover(), "found by its pings")


async def test_fault_23_garbage_is_rejected_frame_by_frame(scene: Scene, verdict: Verdict) -> None:
    """23: cut-off, deep, non-UTF-8, NaN and empty frames are each rejected once; one above 16 MiB costs the connection."""
    before, had = len(scene.rejected()), len(scene.gaps())
    for times, kind in enumerate(GARBAGE, 1):
        await scene.venue.garbage(kind)
        await until(lambda n=times: len(scene.rejected()) == before + n, f"{kind} is rejected", every=0.1)  # type: ignore[misc]
    await scene.venue.garbage("huge")
    await wait_for_gaps(scene, had + 1)
    verdict("23", await scene.recover(), f"{len(GARBAGE)} frames rejected")
    assert len(scene.rejected()) == before + len(GARBAGE)
