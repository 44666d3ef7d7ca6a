"""Computes the figures of latency.py: waits, memory, and the daemon's own metrics before and after. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Counts = Mapping[str, float]
"""Values by series, with the labels as they are printed."""

MB = 1 << 20
LATE_SECONDS = 0.05
AVERAGES = {
    "on_the_bus_ms": ("lag_seconds", '{source="finnhub",stage="bus"}', 1000),
    "in_frames_ms": ("lag_seconds", '{source="finnhub",stage="table"}', 1000),
    "queryable_ms": ("lag_seconds", '{source="finnhub",stage="queryable"}', 1000),
    "batch_ms": ("batch_seconds", '{source="finnhub"}', 1000),
    "batch_frames": ("batch_frames", '{source="finnhub"}', 1),
}


@dataclass(slots=True)
class Watch:
    """Samples of a daemon: the newest receive time in the table, when it was asked for and answered (µs), and memory."""

    asked: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    newest: list[int] = field(default_factory=list)
    daemon: list[int] = field(default_factory=list)
    engine: list[int] = field(default_factory=list)


def summarize_waits(received: Any, watch: Watch) -> dict[str, Any]:
    """The time from the receipt of a trade until it was queryable, for every trade that the first answer lacks and a later
    one has. It became queryable after the last question whose answer lacks it, and before the first answer that has it: the
    middle of the two counts, so looking adds nothing on average.
    """
    asked, newest, answered = (
        np.array(watch.asked),
        np.maximum.accumulate(np.array(watch.newest)),
        np.array(watch.answered),
    )
    trades = received[(received > newest[0]) & (received <= newest[-1])]
    first = np.searchsorted(newest, trades)
    waits = ((np.maximum(asked[first - 1], trades) + answered[first]) / 2 - trades) / 1000
    return {
        "trades": len(trades),
        **{f"p{share}_ms": round(float(np.percentile(waits, share)), 1) for share in (50, 90, 99)},
        "most_ms": round(float(waits.max()), 1),
        "resolution_ms": round(float(np.median(np.diff(answered))) / 1000, 1),
    }


def counts(text: str) -> Counts:
    """Parse the metrics text that Prometheus reads."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def subtract_counts(before: Counts, after: Counts) -> Counts:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def loop_lag(counted: Counts) -> dict[str, Any]:
    """The lag of the event loop: the upper bound of the p99 bucket, and the share of lags above 50 ms."""
    start = 'spotlightd_loop_lag_seconds_bucket{le="'
    buckets = {float(name[len(start) : -2]): count for name, count in counted.items() if name.startswith(start)}
    total = buckets[float("inf")]
    return {
        "p99_ms_at_most": round(1000 * next(bound for bound in sorted(buckets) if buckets[bound] >= 0.99 * total), 1),
        "share_above_50_ms": round(1 - buckets[LATE_SECONDS] / total, 4) if total else None,
        "samples": int(total),
    }


def averages(counted: Counts) -> dict[str, float]:
    """Averages of the daemon's own histograms, without empty ones."""
    results = {}
    for name, (series, labels, times) in AVERAGES.items():
        count = counted.get(f"spotlightd_{series}_count{labels}", 0.0)
        if count:
            results[name] = round(times * counted[f"spotlightd_{series}_sum{labels}"] / count, 1)
    return results


def memory(watch: Watch, every_seconds: float) -> dict[str, Any]:
    half = np.array(watch.daemon[len(watch.daemon) // 2 :]) / MB
    slope = np.polyfit(np.arange(len(half)) * every_seconds / 60, half, 1)[0] if len(half) > 1 else 0.0
    return {
        "first_mb": watch.daemon[0] // MB, "last_mb": watch.daemon[-1] // MB, "most_mb": max(watch.daemon) // MB,
        "growth_mb_a_minute": round(float(slope), 2), "engine_most_mb": max(watch.engine) // MB,
        "every_10_s_mb": [size // MB for size in watch.daemon[:: round(10 / every_seconds)]],
    }  # fmt: skip
