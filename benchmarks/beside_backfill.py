"""What a backfill of many small documents costs a live feed: the lag of its trades, and how long the event loop is held.

Feed and backfill run in this process, on one event loop, as in the daemon: `--rate 100` trades a second, one in a frame, go
through spool, embedded log and drain, as if a live page was open (a batch fills up for 0.2 s); beside them `--documents 20000`
lists of `--rows 50` rows go the way of small.py.

calm, beside   received → queryable of the first trade of each batch, before the backfill for `--seconds 30` and during it; how
               late the loop wakes up
increase_s     by how much the 99th percentile of the lag is longer during the backfill
held_ms        the longest time that one callback held the loop, in processor time of the thread, which other work on the
               machine hardly changes
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _frames import Shape, values
from _ground import Ground, Place, open_ground, print_progress
from small import WARM, Lists, make_lists, measure_held, source_of

from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.flows.batch.ingest import ingest
from spotlightd.flows.stream.drain import Drain
from spotlightd.flows.supervise import Board
from spotlightd.model.bus import Frame
from spotlightd.model.stream import Stream
from spotlightd.runtime.streams import make_replay
from spotlightd.testing import SilentMetrics

LOOP_SECONDS = 0.01


class Lags(SilentMetrics):
    """Metrics that keep the lags of the feed."""

    def __init__(self) -> None:
        super().__init__()
        self.queryable: list[float] = []

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        super().observe(name, value, **labels)
        if name == "lag_seconds" and labels["stage"] == "queryable":
            self.queryable.append(value)


async def feed(on: Ground, source: Stream, rate: float) -> None:
    """Put a frame into the spool again and again, until cancelled."""
    frames, began = list(values(Shape(1_000, 1))), time.monotonic()
    for number in range(1 << 40):
        assert on.context.spool.put(source.name, Frame(1, number, time.time_ns(), frames[number % len(frames)]))
        await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))


async def watch_loop(late: list[float]) -> None:
    while True:
        due = time.monotonic() + LOOP_SECONDS
        await asyncio.sleep(LOOP_SECONDS)
        late.append(time.monotonic() - due)


@contextmanager
def run_beside(*works: Any) -> Iterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()


async def _ingest(on: Ground, lists: Lists) -> None:
    results = await ingest(source_of(lists), lists, on.instance.ingest_context())
    assert {result.outcome for result in results} == {"published"}, results[:3]


def describe(lags: list[float], late: list[float], held: list[float], seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 1), "batches": len(lags),
        "lag_s": {f"p{share}": round(float(np.percentile(lags, share)), 3) for share in (50, 99)},
        "loop_late_ms": {f"p{share}": round(1000 * float(np.percentile(late, share)), 1) for share in (50, 99)},
        "held_ms": round(1000 * held[0], 1),
    }  # fmt: skip


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    source = Shape(1, 1).source
    place = Place(folder, log=str(folder / "empty.sqlite"))
    async with LocalLog(Path(place.log)):
        pass
    async with open_ground(place, "embedded", [source]) as ground:
        lags, settings = Lags(), replace(ground.context.settings, batch_seconds=0.2)
        on = replace(ground, context=replace(ground.context, metrics=lags, settings=settings))
        lists = make_lists(WARM, arguments.documents, arguments.rows)
        await _ingest(on, make_lists(0, WARM, arguments.rows))
        gc.freeze()  # as the daemon does when it has started
        flow = Drain(source, on.context, make_replay(source, on.instance, on.context.parts))
        with run_beside(flow(Board().reporter("drain")), feed(on, source, arguments.rate)):
            await asyncio.sleep(3.0)  # the first batches open the day's load
            results: dict[str, Any] = {}
            for name in ("calm", "beside"):
                print_progress(name)
                lags.queryable.clear()
                began, late = time.monotonic(), list[float]()
                with measure_held() as held, run_beside(watch_loop(late)):
                    if name == "calm":
                        await asyncio.sleep(arguments.seconds)
                    else:
                        await _ingest(on, lists)
                results[name] = describe(list(lags.queryable), late, held, time.monotonic() - began)
            (opened,) = await on.query_row(f"SELECT count() FROM trades WHERE source = '{source.name}'")
    increase = results["beside"]["lag_s"]["p99"] - results["calm"]["lag_s"]["p99"]
    return {"documents": arguments.documents, **results, "increase_s": round(increase, 3), "trades": int(opened)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spotlightd-beside-backfill-"))
    try:
        print(json.dumps(asyncio.run(measure(folder, arguments)), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
