"""Frames for the benchmarks of streams: constructed from the bundled real ones, in any number.

A trade is a real one with its own form (conditions as a list, null, or absent), but a later time, a price up to a hundred
ticks away and another volume of the same kind. Stocks get one of 99 symbols of the SEC's real file of January 2021;
crypto trades keep theirs. So the form is realistic, but prices and volumes come from few originals.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spotlightd.model.bus import Frame, pack_key, source_mark
from spotlightd.model.stream import Stream
from spotlightd.sources.finnhub import finnhub

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "spotlightd/demo/data"
STEP_NANOSECONDS = 20_000_000  # between two frames, on average: 4,000,000 of them stay within one day
JITTER_NANOSECONDS = 15_000_000  # without any, receive times would take no room on the disk
DELAY_NANOSECONDS = 80_000_000  # from the trade to its receipt
CONNECTION = 0x5EED
SYMBOLS = 99


@dataclass(frozen=True, slots=True)
class Shape:
    """The number of frames, and of trades in each. The topic is named after the second number."""

    frames: int
    per: int

    @property
    def trades(self) -> int:
        return self.frames * self.per

    @property
    def source(self) -> Stream:
        return rename_source(f"finnhub{self.per}")


def rename_source(topic: str) -> Stream:
    """Finnhub under another name: each topic is a source of its own."""
    return replace(finnhub, name=topic)


def real_trades() -> list[dict[str, Any]]:
    """All trades of the bundled recordings, a repeated frame once."""
    lines = dict.fromkeys(
        line for path in sorted((DATA / "finnhub").glob("*.jsonl")) for line in path.read_bytes().splitlines()
    )
    return [trade for line in lines for trade in json.loads(line).get("data", [])]


def symbols(count: int = SYMBOLS) -> list[str]:
    """The first symbols of plain letters in the real file of fails to deliver."""
    with zipfile.ZipFile(DATA / "cnsfails202101a.zip") as archive:
        lines = archive.read(archive.namelist()[0]).decode("latin-1").splitlines()[1:]
    names = dict.fromkeys(line.split("|")[2] for line in lines if line.count("|") == 5)
    return [name for name in names if name.isalpha()][:count]


def first_moment() -> int:
    """When the first frame was received: one o'clock today, UTC, in nanoseconds."""
    day = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0)
    return int(day.timestamp()) * 10**9


def values(shape: Shape, seed: int = 1) -> Iterator[bytes]:
    """The frames, the same for the same seed and day, in Finnhub's form: no blanks, fields in its order."""
    rnd, names, real = random.Random(seed), symbols(), real_trades()  # noqa: S311  (nothing secret)
    now = (first_moment() - DELAY_NANOSECONDS) // 1_000_000
    for number in range(shape.frames):
        moment = now + number * STEP_NANOSECONDS // 1_000_000
        yield _frame([_trade(rnd, rnd.choice(real), names, moment) for _ in range(shape.per)])


def _trade(rnd: random.Random, real: dict[str, Any], names: Sequence[str], moment: int) -> bytes:
    crypto = ":" in real["s"]
    price = round(real["p"] + rnd.randint(-99, 99) / 100, 4)
    volume = round(real["v"] * rnd.uniform(0.2, 5), 5) if crypto else max(1, int(real["v"] * rnd.uniform(0.2, 5)))
    trade = real | {
        "p": price,
        "s": real["s"] if crypto else rnd.choice(names),
        "t": moment - rnd.randint(0, 40),
        "v": volume,
    }
    return json.dumps(trade, separators=(",", ":")).encode()


def _frame(trades: Sequence[bytes]) -> bytes:
    return b'{"data":[%b],"type":"trade"}' % b",".join(trades)


def keys(source: Stream, count: int, first: int = 0) -> list[bytes]:
    """Keys of one connection without losses, starting at sequence `first`, all received on one day."""
    source_id, begin, rnd = source_mark(source.name), first_moment(), random.Random(first)  # noqa: S311  (nothing secret)
    moments = [
        begin + number * STEP_NANOSECONDS + rnd.randrange(JITTER_NANOSECONDS) for number in range(first, first + count)
    ]
    return [pack_key(source_id, Frame(CONNECTION, number, moment, b"")) for number, moment in enumerate(moments, first)]
