"""The bundled real frames, when each is due in a replay, and countable ticks built from them.

A frame is due according to its trade times, relative to the frame before; this also works where the times of a recording
go backwards. Each built tick has its own number as its volume, so that a test can find missing and repeated ticks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 1.0  # before a frame without a trade, and between two rounds
TIME = re.compile(rb'"t":(\d+)')


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """A frame as it was received, the seconds from the start of its recording until it is due, and its symbols."""

    due: float
    symbols: frozenset[str]
    value: bytes

    def move_times(self, now_ms: int) -> bytes:
        """The frame with all times moved so that its last trade is now: constructed, not as it was received."""
        times = [int(time) for time in TIME.findall(self.value)]
        shift = now_ms - max(times, default=now_ms)
        return TIME.sub(lambda match: b'"t":%d' % (int(match[1]) + shift), self.value)


def read_recordings() -> tuple[RecordedFrame, ...]:
    """The frames of all bundled recordings, in the order in which they are due. All recordings start together."""
    folder = Path(str(resources.files("spotlightd.demo"))) / "data" / "finnhub"
    files = sorted(folder.glob("*.jsonl"))
    frames = [frame for path in files for frame in _read_recording(path.read_bytes().splitlines())]
    return tuple(sorted(frames, key=lambda frame: frame.due))


def _read_recording(lines: list[bytes]) -> list[RecordedFrame]:
    frames: list[RecordedFrame] = []
    due, before = 0.0, 0
    for line in lines:
        trades = json.loads(line).get("data", [])
        newest = max((trade["t"] for trade in trades), default=0)
        if frames:
            due += abs(newest - before) / 1000 if newest and before else PAUSE_SECONDS
        before = newest or before
        frames.append(RecordedFrame(due, frozenset(trade["s"] for trade in trades), line))
    return frames


@dataclass(frozen=True, slots=True)
class TickMaker:
    """Builds frames of `per_frame` ticks from real trades. Only their times and volumes are constructed."""

    trades: tuple[tuple[str, bytes], ...]
    per_frame: int = 1

    def build_frame(self, number: int, now_ms: int) -> tuple[str, bytes]:
        """The symbol, and a frame with the ticks `number`, `number` + 1, … (constructed)."""
        symbol, template = self.trades[number // self.per_frame % len(self.trades)]
        ticks = b",".join([template % (now_ms, number + offset) for offset in range(self.per_frame)])
        return symbol, b'{"data":[%b],"type":"trade"}' % ticks


def create_ticks(symbols: frozenset[str] = frozenset(), per_frame: int = 1) -> TickMaker:
    """A maker of ticks of these symbols, if there are real trades of them; otherwise of all."""
    trades = [trade for frame in read_recordings() for trade in json.loads(frame.value).get("data", [])]
    chosen = [trade for trade in trades if trade["s"] in symbols] or trades
    return TickMaker(tuple((trade["s"], _make_template(trade)) for trade in chosen), per_frame)


def _make_template(trade: dict[str, Any]) -> bytes:
    """A trade as the venue prints it, with placeholders for its time and volume."""
    text = json.dumps(trade | {"t": "@t", "v": "@v"}, separators=(",", ":")).encode()
    return text.replace(b"%", b"%%").replace(b'"@t"', b"%d").replace(b'"@v"', b"%d")
