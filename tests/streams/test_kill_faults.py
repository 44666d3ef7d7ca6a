"""SIGKILL of the daemon, its engine and Kafka while ticks flow, and SIGTERM: 0 lost, 0 doubled."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import pytest

from spotlightd.demo.exchange import Script
from tests.polling import until
from tests.soak import choose_kills
from tests.streams.chaos import RATE, Chaos
from tests.streams.conftest import Verdict
from tests.streams.scene import Scene

pytestmark = pytest.mark.slow
Scenes = Callable[..., AbstractAsyncContextManager[Scene]]
FAST = Script(rate=RATE, ping_seconds=0.25)
SEED = 20_261_121
KILLS = choose_kills(6)
ROUNDS = max(2, choose_kills(6) // 3)  # of three kills each
CHAOS_SECONDS = 10.0


async def test_faults_1_2_and_5_killed_between_intent_and_done(scene: Scenes, verdict: Verdict) -> None:
    """1, 2: killed while an intent is open, some milliseconds after it was written: before its insert, within, after.
    5: each time it starts with another size of batches, and settles the intent as it was cut.
    """
    chance, settled = random.Random(SEED), [0, 0]
    async with scene(script=FAST) as place:
        for number in range(KILLS):
            await place.wait_for_flow(50)
            count_settled(place, settled)
            await until(lambda: has_open_intent(place), "an open intent", every=0.0)
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.005, 0.01, 0.02, 0.04)))
            await place.restart(streams={"batch_frames": (50_000, 333, 1_000)[number % 3]})
        count = await place.recover()
        count_settled(place, settled)
        verdict(
            "1, 2, 5", count, f"{KILLS} kills; of the open intents {settled[1]} were kept, {settled[0]} moved again"
        )
        assert sum(settled) > KILLS // 3


def count_settled(place: Scene, settled: list[int]) -> None:
    for event in place.daemon.find_events("intent recovered"):
        settled[event["kept"]] += 1


def has_open_intent(place: Scene) -> bool:
    with suppress(sqlite3.OperationalError):
        return bool(place.ledger("SELECT 1 FROM intents"))
    return False


async def test_fault_3_random_kills_of_daemon_engine_and_kafka(scene: Scenes, verdict: Verdict) -> None:
    """3: SIGKILL of daemon, engine and Kafka in turn, at random moments, at 2,000 ticks/s."""
    async with scene(script=FAST) as place:
        chaos = Chaos(place, random.Random(SEED))
        count = await chaos.run_acts(["kill_daemon", "kill_engine", "kill_kafka"] * ROUNDS, print)
        verdict("3", count, f"{3 * ROUNDS} kills, seed {SEED}")


async def test_fault_52_sigterm_under_load_once_and_twice(scene: Scenes, verdict: Verdict) -> None:
    """52: SIGTERM ends it with 0 within 10 s, and a second one changes nothing; what was received is not lost."""
    async with scene(script=FAST) as place:
        assert await place.daemon.stop() == 0
        await place.start()
        await place.wait_for_flow()
        place.daemon.send(signal.SIGTERM)
        await place.daemon.wait_for("daemon stopping")
        place.daemon.send(signal.SIGTERM)
        assert await place.daemon.ended() == 0
        await place.start()
        verdict("52", await place.recover())
        assert place.gap_causes() == ["stopped", "stopped"]


async def test_fault_52_sigterm_while_kafka_and_the_engine_stand_still(scene: Scenes, verdict: Verdict) -> None:
    """52: nobody answers, and it ends all the same, and listens again though Kafka still stands still; what is in the
    spool comes later.
    """
    async with scene(script=FAST) as place:
        place.kafka.freeze()
        await place.wait_for_ticks(1_000)
        assert await place.daemon.stop() == 0
        await place.start(wait_ready=False)
        await place.daemon.wait_for("feed connected")
        place.kafka.thaw()
        await place.wait_for_flow()
        with place.frozen_engine():
            await place.wait_for_ticks(1_000)
            place.daemon.send(signal.SIGTERM)
            status = await place.daemon.ended(seconds=30)
        assert status == 0
        await place.start()
        verdict("52, stores frozen", await place.recover())


async def test_a_short_run_of_chaos(scene: Scenes, verdict: Verdict) -> None:
    """`make chaos`, for some seconds and with a fixed seed."""
    async with scene(script=FAST, warehouse={"query_seconds": 5.0}) as place:
        count = await Chaos(place, random.Random(SEED)).run_random(CHAOS_SECONDS, print)
        verdict(f"chaos, {CHAOS_SECONDS:g} s", count, f"seed {SEED}")
