"""What a small batch of a feed costs, statement by statement: where the processor time of `quiet` goes, and what its floor is.

Each step is done `--times 200` times with a batch of `--frames 10` frames of one trade; the figures are milliseconds of processor
time of this process and of the engine. `rest` is a second in which nobody asks anything.

select_1   a statement that reads nothing: connection, settings, HTTP, both ends
frames     INSERT of the frames, one new part
rows       INSERT … SELECT of the strict decode, one new part; `decode` the SELECT alone, `explain` its plan alone
confirm    count and completion of a group of eight batches
intend     an intent in the ledger
append     one frame in the embedded log, durable
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _frames import Shape, keys, values
from _ground import print_progress
from small import processor_seconds

from spotlightd import log
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.flows.stream.decode import SelectDecoder
from spotlightd.flows.stream.moving.confirm import GROUP_BATCHES
from spotlightd.flows.stream.moving.move import Mover
from spotlightd.model.bus import Records
from spotlightd.model.offsets import Completion, Intent
from spotlightd.model.stream import frames_of
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sql import decode
from spotlightd.sql.tiers import NoArchives

LOAD_ID = 7
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
REST_SECONDS = 10
Step = Callable[[int], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Batches:
    """Equal batches of frames, by number, and what moves them."""

    instance: Instance
    mover: Mover
    keys: list[bytes]
    values: list[bytes]
    frames: int

    def intent(self, number: int) -> Intent:
        lo, source = number * self.frames, self.mover.source
        return Intent(
            source.name, 1, 0, lo, lo + self.frames, self.frames, SINCE.date(), 1, LOAD_ID, source.parser, f"{number}"
        )

    def params(self, number: int) -> dict[str, Any]:
        intent = self.intent(number)
        return {"epoch": 1, "partition": 0, "lo": intent.lo, "hi": intent.hi, "load_id": LOAD_ID}

    async def insert_frames(self, number: int) -> None:
        span = slice(number * self.frames, (number + 1) * self.frames)
        records = Records(range(span.start, span.stop), b"".join(self.keys[span]), self.values[span])
        await self.mover.insert_frames(self.intent(number), records, np.zeros(self.frames, "u1"))

    async def insert_rows(self, number: int) -> None:
        rows, lost = await self.mover.decode(self.intent(number))
        assert (rows, lost) == (self.frames, []), (rows, lost)

    async def select(self, number: int, before: str, after: str = "") -> None:
        sql = decode.insert_decoded(self.mover.source, decode.SPAN, strict=True)
        await self.instance.warehouse.execute(f"{before}{sql[sql.index('SELECT') :]}{after}", self.params(number))

    async def confirm(self, number: int) -> None:
        group = [self.intent(first + number) for first in range(GROUP_BATCHES)]
        await self.mover.check_counts(dict.fromkeys(group, self.frames), SINCE)
        await self.instance.positions.complete(*(Completion(intent, b"") for intent in group))

    async def append(self, number: int, file: LocalLog) -> None:
        await file.append(self.mover.source.name, 0, self.keys[number : number + 1], self.values[number : number + 1])


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    log.configure("warning")
    count, frames = arguments.times + GROUP_BATCHES, arguments.frames
    shape = Shape(count * frames, 1)
    results: dict[str, Any] = {}
    async with (
        open_instance(replace(Settings(), state_dir=folder / "state")) as instance,
        LocalLog(folder / "bus.sqlite") as file,
    ):
        source, warehouse = shape.source, instance.warehouse
        for dataset in (frames_of(source), source.dataset):
            await warehouse.ensure(dataset)
        await file.ensure(source.topic)
        mover = Mover(source, warehouse, SelectDecoder(source, warehouse, NoArchives()))
        batches = Batches(instance, mover, keys(source, shape.frames), list(values(shape)), frames)
        await warehouse.rows("SELECT 1")
        steps: dict[str, tuple[int, Step]] = {
            "rest": (REST_SECONDS, lambda _: asyncio.sleep(1.0)),
            "select_1": (arguments.times, lambda _: warehouse.rows("SELECT 1")),
            "frames": (count, batches.insert_frames),
            "explain": (arguments.times, lambda number: batches.select(number, "EXPLAIN ")),
            "decode": (arguments.times, lambda number: batches.select(number, "", " FORMAT Null")),
            "rows": (count, batches.insert_rows),
            "confirm": (arguments.times, batches.confirm),
            "intend": (arguments.times, lambda number: instance.positions.intend(batches.intent(number))),
            "append": (arguments.times, lambda number: batches.append(number, file)),
        }
        for name, (times, step) in steps.items():
            print_progress(name)
            before, began = processor_seconds(instance), time.monotonic()
            for number in range(times):
                await step(number)
            after, seconds = processor_seconds(instance), time.monotonic() - began
            spent = {
                process: round(1000 * (after[process] - before[process]) / times, 2) for process in ("own", "engine")
            }
            results[name] = spent | {"wall": round(1000 * seconds / times, 1)}
    return {"frames": frames, "times": arguments.times, "ms": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--times", type=int, default=200)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-statements-"))
    try:
        print(json.dumps(asyncio.run(measure(folder, arguments)), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
