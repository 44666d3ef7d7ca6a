"""The figures of the streams' benchmarks, from samples whose truth is known."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np

WATCHED = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/_watched.py"), run_name="_watched")
POLL = 50_000  # µs
ANSWER = 3_000


def watch_for(visible_at: dict[int, int], end: int) -> Any:
    """What a client notes that asks every 50 ms. `visible_at`: when a trade is queryable, by its receive time."""
    watch = WATCHED["Watch"]()
    for asked in range(0, end, POLL):
        seen = [received for received, visible in visible_at.items() if visible <= asked + ANSWER]
        watch.asked.append(asked)
        watch.answered.append(asked + ANSWER)
        watch.newest.append(max(seen, default=-1))
    return watch


def test_looking_adds_nothing_to_the_waits_on_average() -> None:
    generator = np.random.default_rng(12)
    received = np.sort(generator.integers(0, 20_000_000, 20_000))
    visible = {int(time): (int(time) // 200_000 + 1) * 200_000 + 17_000 for time in received}  # a batch every 200 ms
    true = np.array([visible[int(time)] - time for time in received]) / 1000
    waits = WATCHED["summarize_waits"](received, watch_for(visible, 21_000_000))
    assert abs(waits["p50_ms"] - np.percentile(true, 50)) < 15
    assert waits["trades"] > 19_000


def test_a_trade_that_the_first_answer_has_is_left_out() -> None:
    visible = {100: 200, 60_000: 61_000}
    waits = WATCHED["summarize_waits"](np.array([100, 60_000]), watch_for(visible, 300_000))
    assert waits["trades"] == 1
    assert waits["most_ms"] == (60_000 + 103_000) / 2 / 1000 - 60
