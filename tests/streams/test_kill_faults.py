"""SIGKILL of the daemon, of its engine and of Kafka while ticks flow, and orders to stop: 0 lost, 0 doubled."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import pytest

from spotlightd.demo.exchange import Script
from tests.daemon.process import until
from tests.streams.chaos import RATE, Chaos
from tests.streams.conftest import Verdict
from tests.streams.scene import Scene

pytestmark = pytest.mark.slow
Scenes = Callable[..., AbstractAsyncContextManager[Scene]]
FAST = Script(rate=RATE, ping_seconds=0.25)
SEED = 20_261_121
KILLS = 10


async def test_faults_1_2_and_5_killed_between_intent_and_done(scene: Scenes, verdict: Verdict) -> None:
    """1, 2: killed while an intent is open, some milliseconds after it was written: before its insert, within, after.
    5: each time it starts with another size of batches, and settles the intent as it was cut.
    """
    chance, kept = random.Random(SEED), [0, 0]
    async with scene(script=FAST) as place:
        for number in range(KILLS):
            await place.flowing(50)
            tally(place, kept)
            await until(lambda: opened(place), "an open intent", every=0.0)
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.005, 0.01, 0.02, 0.04)))
            await place.restart(streams={"batch_frames": (50_000, 333, 1_000)[number % 3]})
        count = await place.over()
        tally(place, kept)
        verdict("1, 2, 5", count, f"{KILLS} kills; of the open intents {kept[1]} were kept, {kept[0]} moved anew")
        assert sum(kept) > KILLS // 3


def tally(place: Scene, kept: list[int]) -> None:
    for settled in place.daemon.said("intent settled"):
        kept[settled["kept"]] += 1


def opened(place: Scene) -> bool:
    with suppress(sqlite3.OperationalError):
        return bool(place.ledger("SELECT 1 FROM intents"))
    return False


async def test_fault_3_fifteen_random_kills_of_daemon_engine_and_kafka(scene: Scenes, verdict: Verdict) -> None:
    """3: SIGKILL of daemon, engine and Kafka in turn, at random moments, at 2,000 ticks/s."""
    async with scene(script=FAST) as place:
        chaos = Chaos(place, random.Random(SEED))
        count = await chaos.done(["kill_daemon", "kill_engine", "kill_kafka"] * 5, print)
        verdict("3", count, f"15 kills, seed {SEED}")


async def test_fault_52_told_to_stop_under_load_once_and_twice(scene: Scenes, verdict: Verdict) -> None:
    """52: SIGTERM ends it with 0 within 10 s, and a second one changes nothing; what was received is not lost."""
    async with scene(script=FAST) as place:
        assert await place.daemon.stop() == 0
        await place.start()
        await place.flowing()
        place.daemon.send(signal.SIGTERM)
        await place.daemon.says("daemon stopping")
        place.daemon.send(signal.SIGTERM)
        assert await place.daemon.ended() == 0
        await place.start()
        verdict("52", await place.over())
        assert place.our_causes() == ["stopped", "stopped"]


async def test_fault_52_told_to_stop_while_kafka_and_engine_stand_still(scene: Scenes, verdict: Verdict) -> None:
    """52: nobody answers, and it ends all the same, and listens again though Kafka still stands still; what is in the
    spool comes later.
    """
    async with scene(script=FAST) as place:
        place.kafka.freeze()
        await place.made(1_000)
        assert await place.daemon.stop() == 0
        await place.start(well=False)
        await place.daemon.says("feed connected")
        place.kafka.thaw()
        await place.flowing()
        with place.frozen_engine():
            await place.made(1_000)
            place.daemon.send(signal.SIGTERM)
            status = await place.daemon.ended(seconds=30)
        assert status == 0
        await place.start()
        verdict("52, nobody answers", await place.over())


async def test_a_short_run_of_chaos(scene: Scenes, verdict: Verdict) -> None:
    """`make chaos`, for some seconds and with a fixed seed."""
    async with scene(script=FAST, warehouse={"query_seconds": 5.0}) as place:
        count = await Chaos(place, random.Random(SEED)).drawn(20.0, print)
        verdict("chaos, 20 s", count, f"seed {SEED}")
