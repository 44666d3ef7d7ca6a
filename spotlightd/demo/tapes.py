"""The real frames that are bundled, when each is due in a replay, and ticks made from them that can be counted.

A frame is due by the trade times in it, seen from the frame before: also where a recording's times go backwards. What
is made has a number of its own as its volume, so that whoever counts can tell which are missing or there twice.
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
class Taped:
    """A frame as it was received, how many seconds after the begin of its recording it is due, and whom it concerns."""

    due: float
    symbols: frozenset[str]
    value: bytes

    def fresh(self, now_ms: int) -> bytes:
        """The frame with its times moved so that its last trade is made now: constructed, not as it was received."""
        times = [int(one) for one in TIME.findall(self.value)]
        shift = now_ms - max(times, default=now_ms)
        return TIME.sub(lambda found: b'"t":%d' % (int(found[1]) + shift), self.value)


def taped() -> tuple[Taped, ...]:
    """All bundled recordings, each from its own begin, in the order in which their frames are due."""
    folder = Path(str(resources.files("spotlightd.demo"))) / "data" / "finnhub"
    frames = [one for path in sorted(folder.glob("*.jsonl")) for one in _recording(path.read_bytes().splitlines())]
    return tuple(sorted(frames, key=lambda one: one.due))


def _recording(lines: list[bytes]) -> list[Taped]:
    found: list[Taped] = []
    due, before = 0.0, 0
    for line in lines:
        trades = json.loads(line).get("data", [])
        at = max((one["t"] for one in trades), default=0)
        if found:
            due += abs(at - before) / 1000 if at and before else PAUSE_SECONDS
        before = at or before
        found.append(Taped(due, frozenset(one["s"] for one in trades), line))
    return found


@dataclass(frozen=True, slots=True)
class Ticks:
    """Makes frames of the real trades of some symbols, `per_frame` in each, all but their time and volume as printed."""

    trades: tuple[tuple[str, bytes], ...]
    per_frame: int = 1

    def frame(self, number: int, now_ms: int) -> tuple[str, bytes]:
        """The symbol, and a frame with the trades `number`, `number` + 1, … (constructed)."""
        symbol, trade = self.trades[number // self.per_frame % len(self.trades)]
        made = b",".join([trade % (now_ms, number + one) for one in range(self.per_frame)])
        return symbol, b'{"data":[%b],"type":"trade"}' % made


def ticks(symbols: frozenset[str] = frozenset(), per_frame: int = 1) -> Ticks:
    """Ticks of these symbols, as far as there are real trades of them; of all for none."""
    real = [trade for one in taped() for trade in json.loads(one.value).get("data", [])]
    chosen = [one for one in real if one["s"] in symbols] or real
    return Ticks(tuple((one["s"], _mould(one)) for one in chosen), per_frame)


def _mould(trade: dict[str, Any]) -> bytes:
    """A trade as the venue prints it, with places for its time and volume."""
    printed = json.dumps(trade | {"t": "@t", "v": "@v"}, separators=(",", ":")).encode()
    return printed.replace(b"%", b"%%").replace(b'"@t"', b"%d").replace(b'"@v"', b"%d")
