"""Faults in a random order, drawn by a seed: `python -m tests.streams.chaos SEED` (that is `make chaos SEED=…`).

The same seed draws the same faults with the same pauses. What the machine does in between is its own, so a seed that
failed fails again often, and not always. At the end a clean daemon drains what is there, and the oracles are asked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spotlightd.demo.exchange import GARBAGE, Script
from tests.real.kafka import Kafka, free_ports
from tests.streams.place import Count
from tests.streams.scene import Scene, run_scene

RATE = 2_000.0
MINUTES = 3.0
Print = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chaos:
    """The faults that can be applied to a scene; `chance` decides how long."""

    scene: Scene
    chance: random.Random

    async def kill_daemon(self) -> None:
        await self.scene.restart()

    async def stop_daemon(self) -> None:
        """SIGTERM: the daemon ends with status 0 in any situation."""
        self.scene.daemon.send(signal.SIGTERM)
        status = await self.scene.daemon.ended(seconds=20)
        assert status == 0, self.scene.daemon.describe()
        await self.scene.start()

    async def kill_engine(self) -> None:
        if engine := self.scene.daemon.engine_pid():
            with suppress(ProcessLookupError):
                os.kill(engine, signal.SIGKILL)

    async def freeze_engine(self) -> None:
        if self.scene.daemon.engine_pid():
            with self.scene.frozen_engine():
                await self.pause(0.5, 3.0)

    async def kill_kafka(self) -> None:
        self.scene.kafka.kill()
        await self.pause(0.0, 1.0)
        await self.scene.kafka.start()

    async def freeze_kafka(self) -> None:
        self.scene.kafka.freeze()
        await self.pause(0.5, 5.0)
        self.scene.kafka.thaw()

    async def wipe_kafka(self) -> None:
        await self.scene.kafka.wipe()

    async def swallow_answers(self) -> None:
        self.scene.wires.deaf = True
        await self.pause(0.5, 4.0)
        self.scene.wires.healthy()

    async def cut_kafka_off(self) -> None:
        self.scene.wires.refusing = True
        self.scene.wires.reset()
        await self.pause(0.5, 3.0)
        self.scene.wires.healthy()

    async def slice_kafka(self) -> None:
        self.scene.wires.piece_bytes, self.scene.wires.delay_seconds = 512, 0.001
        await self.pause(0.5, 2.0)
        self.scene.wires.reset()
        self.scene.wires.healthy()

    async def cut_venue_off(self) -> None:
        self.scene.lines.reset()

    async def hold_venue_up(self) -> None:
        self.scene.lines.stalled = True
        await self.pause(0.5, 3.0)
        self.scene.lines.healthy()

    async def hang_up(self) -> None:
        await self.scene.venue.close()

    async def garbage(self) -> None:
        await self.scene.venue.garbage(self.chance.choice(sorted(GARBAGE)))

    async def burst(self) -> None:
        await self.scene.venue.burst(3.0, 1.0)

    async def pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(least, most))

    @property
    def acts(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        names = [
            "kill_daemon", "stop_daemon", "kill_engine", "freeze_engine", "kill_kafka", "freeze_kafka", "wipe_kafka",
            "swallow_answers", "cut_kafka_off", "slice_kafka", "cut_venue_off", "hold_venue_up", "hang_up", "garbage",
            "burst",
        ]  # fmt: skip
        return {name: getattr(self, name) for name in names}

    async def run_acts(self, names: Sequence[str], show: Print) -> Count:
        """Apply these in order, with short pauses; then everything must recover."""
        started = time.monotonic()
        for name in names:
            await self.pause(0.2, 1.5)
            show(f"{time.monotonic() - started:6.1f} s  {name}")
            await self.acts[name]()
        return await self.recover()

    async def run_random(self, seconds: float, show: Print) -> Count:
        """Apply random faults until the time is over."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            await self.pause(0.2, 2.0)
            name = self.chance.choice(list(self.acts))
            show(f"{time.monotonic() - started:6.1f} s  {name}")
            await self.acts[name]()
        return await self.recover()

    async def recover(self) -> Count:
        """Stop and start cleanly, and count the ticks."""
        await self.scene.wait_for_flow(seconds=120)
        await self.stop_daemon()
        await self.scene.wait_for_flow(seconds=120)
        return await self.scene.settle(seconds=120)


async def run(seed: int, seconds: float, folder: Path, show: Print) -> Count:
    """A Kafka, a venue and a daemon of its own; AssertionError with the count when an oracle fails."""
    (wire,) = free_ports(1)
    kafka = Kafka(folder / "kafka")
    kafka.properties["advertised.listeners"] = f"PLAIN://127.0.0.1:{wire},LOCKED://{kafka.locked}"
    script = Script(rate=RATE, ping_seconds=0.25)
    async with kafka, run_scene(folder, kafka, wire, script=script, warehouse={"query_seconds": 5.0}) as scene:
        return await Chaos(scene, random.Random(seed)).run_random(seconds, show)


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    arguments = parser.parse_args()
    print(f"make chaos SEED={arguments.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-chaos-"))
    try:
        count = asyncio.run(run(arguments.seed, arguments.minutes * 60, folder, lambda text: print(text, flush=True)))
    except AssertionError as problem:
        print(f"FAILED, seed {arguments.seed}: {problem}\nall that was kept is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"seed {arguments.seed}: {count}: 0 lost, 0 doubled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
