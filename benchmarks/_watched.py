"""Computes the figures of latency.py: waits, memory, and the daemon's own metrics before and after. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Counts = Mapping[str, float]
"""By series, with its labels as they are printed."""

MB = 1 << 20
LATE_SECONDS = 0.05
MEANS = {
    "on_the_bus_ms": ("lag_seconds", '{source="finnhub",stage="bus"}', 1000),
    "in_frames_ms": ("lag_seconds", '{source="finnhub",stage="table"}', 1000),
    "queryable_ms": ("lag_seconds", '{source="finnhub",stage="queryable"}', 1000),
    "batch_ms": ("batch_seconds", '{source="finnhub"}', 1000),
    "batch_frames": ("batch_frames", '{source="finnhub"}', 1),
}


@dataclass(slots=True)
class Watch:
    """Samples of a daemon: the newest receive time in the table and when it was read (µs), and memory."""

    answered: list[int] = field(default_factory=list)
    newest: list[int] = field(default_factory=list)
    daemon: list[int] = field(default_factory=list)
    engine: list[int] = field(default_factory=list)


def summarize_waits(received: Any, watch: Watch) -> dict[str, Any]:
    """For every trade in an answer, the time from its receipt to that answer."""
    newest, answered = np.maximum.accumulate(np.array(watch.newest)), np.array(watch.answered)
    seen = received[received <= newest[-1]]
    waited = (answered[np.searchsorted(newest, seen)] - seen) / 1000
    return {
        "trades": len(seen),
        **{f"p{share}_ms": round(float(np.percentile(waited, share)), 1) for share in (50, 90, 99)},
        "most_ms": round(float(waited.max()), 1),
        "resolution_ms": round(float(np.median(np.diff(answered))) / 1000, 1),
    }


def counts(text: str) -> Counts:
    """From the text that Prometheus reads."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def subtract_counts(before: Counts, after: Counts) -> Counts:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def loop_lag(seen: Counts) -> dict[str, Any]:
    """Of the event loop: the upper bound of the p99 bucket, and the share of lags above 50 ms."""
    start = 'spotlightd_loop_lag_seconds_bucket{le="'
    found = {float(name[len(start) : -2]): count for name, count in seen.items() if name.startswith(start)}
    total = found[float("inf")]
    return {
        "p99_ms_at_most": round(1000 * next(one for one in sorted(found) if found[one] >= 0.99 * total), 1),
        "share_above_50_ms": round(1 - found[LATE_SECONDS] / total, 4) if total else None,
        "samples": int(total),
    }


def averages(seen: Counts) -> dict[str, float]:
    """Averages of the daemon's own histograms, without empty ones."""
    found = {}
    for name, (series, labels, times) in MEANS.items():
        count = seen.get(f"spotlightd_{series}_count{labels}", 0.0)
        if count:
            found[name] = round(times * seen[f"spotlightd_{series}_sum{labels}"] / count, 1)
    return found


def memory(watch: Watch, every_seconds: float) -> dict[str, Any]:
    half = np.array(watch.daemon[len(watch.daemon) // 2 :]) / MB
    slope = np.polyfit(np.arange(len(half)) * every_seconds / 60, half, 1)[0] if len(half) > 1 else 0.0
    return {
        "first_mb": watch.daemon[0] // MB, "last_mb": watch.daemon[-1] // MB, "most_mb": max(watch.daemon) // MB,
        "growth_mb_a_minute": round(float(slope), 2), "engine_most_mb": max(watch.engine) // MB,
        "every_10_s_mb": [one // MB for one in watch.daemon[:: round(10 / every_seconds)]],
    }  # fmt: skip
