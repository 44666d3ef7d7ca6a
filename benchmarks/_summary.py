"""The figures of drain.py from what its ways printed, and their ratios within rounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from _frames import Shape

STAGES = ("consume", "frames", "decode")
OTHERS = ("loop", "quix", "faststream", "kafka_engine")


def summarize(shape: Shape, results: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Trades per second of every way, and the ratios within rounds."""
    rounds = [
        {
            **{f"{name}_alone": value for name, value in result.get("stages", {}).get("seconds", {}).items()},
            **{way: timing["seconds"] for way, timing in result.items() if way != "stages"},
        }
        for result in results
    ]
    summary: dict[str, Any] = {
        "trades_per_second": {name: _speed(shape, [seconds[name] for seconds in rounds]) for name in rounds[0]}
    }
    summary |= {way: _compare(way, rounds) for way in ("drain", "drain_embedded") if way in results[0]}
    summary |= _compare_processor(results)
    summary["processor_seconds_per_million"] = _processor(shape, results)
    if "kafka_engine" in results[0]:
        summary["kafka_engine_reading"] = _speed(shape, [result["kafka_engine"]["reading"] for result in results])
    return summary


def _compare(way: str, rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    ratios: dict[str, Any] = {}
    if "decode_alone" in rounds[0]:
        slowest = [max(seconds[f"{name}_alone"] for name in STAGES) / seconds[way] for seconds in rounds]
        ratios["of_the_slowest_stage"] = _ratio(slowest)
        sequence = [(seconds["frames_alone"] + seconds["decode_alone"]) / seconds[way] for seconds in rounds]
        ratios["of_frames_then_decode"] = _ratio(sequence)
    times = {name: _ratio([seconds[name] / seconds[way] for seconds in rounds]) for name in OTHERS if name in rounds[0]}
    return ratios | ({"times_as_fast_as": times} if times else {})


def _compare_processor(results: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    if "stages" not in results[0]:
        return {}
    return {
        f"{way}_processor_of_the_stages": _ratio(
            [
                sum(result[way]["processor"].values())
                / sum(sum(spent.values()) for spent in result["stages"]["processor"].values())
                for result in results
            ]
        )
        for way in ("drain", "drain_embedded")
        if way in results[0]
    }


def _processor(shape: Shape, results: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Processor seconds of every way and of every stage alone, by process. Other work on the machine changes them least."""
    rounds: list[dict[str, dict[str, float]]] = [
        {f"{name}_alone": spent for name, spent in result.get("stages", {}).get("processor", {}).items()}
        | {way: timing["processor"] for way, timing in result.items() if way != "stages"}
        for result in results
    ]
    return {
        way: {name: _per_million(shape, [seconds[way][name] for seconds in rounds]) for name in spent}
        for way, spent in rounds[0].items()
    }


def _per_million(shape: Shape, seconds: Sequence[float]) -> float:
    return round(statistics.median(seconds) / shape.trades * 1e6, 2)


def _speed(shape: Shape, seconds: Sequence[float]) -> int:
    return round(shape.trades / statistics.median(seconds))


def _ratio(values: Sequence[float]) -> dict[str, float]:
    figures = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 3) for name, value in figures.items()}
