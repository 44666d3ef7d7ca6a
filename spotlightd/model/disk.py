"""How full a file system may become, what is held when, and when it will be full. Pure.

The order of shedding, stated once (docs/operate.md says it to the operator):

1. From `warn` on nothing is held: it is said.
2. From `batch` on no document is fetched or loaded. Publishers keep theirs; it is made up later.
3. From `sink` on nothing is moved into the tables: drains, replays, transforms. Frames wait on the bus and in the spool,
   which is bounded; when that is full too, feeds are shed, those of the lowest priority first, each with a gap.
4. From `ballast` on the ballast goes, so that partitions can be dropped at all, and whoever has something that is verified
   elsewhere is asked to drop that, and nothing else.

Reading, the ledger, heartbeats and what frees space go on at every level. All of it resumes by itself, in the reverse order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Literal

from spotlightd.errors import SettingsError
from spotlightd.model.disk_forecast import Forecast
from spotlightd.settings import stores

Work = Literal["batch loads", "the sink"]
GIB = 1 << 30
BALLAST_SHARE = 0.01
BALLAST_MOST_SHARE = 0.02  # of a small disk a GiB would be too much
BALLAST_MOST_BYTES = 8 * GIB  # and of a large one a hundredth: dropping a partition wants 1 MiB


class Level(IntEnum):
    """How bad it is: each level holds all that the one before holds."""

    FINE = 0
    WARNED = 1
    BATCH_HELD = 2
    SINK_HELD = 3
    BALLAST_RELEASED = 4

    @property
    def says(self) -> str:
        return self.name.lower().replace("_", " ")

    def holds(self, work: Work) -> bool:
        return self >= HELD_FROM[work]


HELD_FROM: Mapping[Work, Level] = {"batch loads": Level.BATCH_HELD, "the sink": Level.SINK_HELD}


@dataclass(frozen=True, slots=True)
class Watermarks:
    """From how many per cent on a level is reached. It is left again `hysteresis` below that, so that nothing flaps."""

    warn: float = 85.0
    batch: float = 92.0
    sink: float = 95.0
    ballast: float = 97.0
    hysteresis: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.warn < self.batch < self.sink < self.ballast <= 100:  # noqa: PLR2004  (per cent)
            raise SettingsError(
                "section [disk]: warn_percent, batch_percent, sink_percent and ballast_percent must grow in this order,"
                f" above 0 and up to 100, not {self.warn:g}, {self.batch:g}, {self.sink:g}, {self.ballast:g}"
            )

    @property
    def marks(self) -> Mapping[Level, float]:
        return {
            Level.WARNED: self.warn, Level.BATCH_HELD: self.batch, Level.SINK_HELD: self.sink,
            Level.BALLAST_RELEASED: self.ballast,
        }  # fmt: skip

    def leaves(self, level: Level) -> float:
        """Below how many per cent that level is left."""
        return self.marks[level] - self.hysteresis

    def judged(self, used: int, size: int, before: Level = Level.FINE) -> Level:
        """The level of a file system that was at `before` when it was last looked at."""
        percent = percent_of(used, size)
        reached = [level for level, mark in self.marks.items() if percent >= mark]
        kept = [level for level in self.marks if level <= before and percent >= self.leaves(level)]
        return max([Level.FINE, *reached, *kept])


def watermarks(told: stores.DiskSettings) -> Watermarks:
    """SettingsError when the marks do not grow."""
    return Watermarks(
        told.warn_percent, told.batch_percent, told.sink_percent, told.ballast_percent, told.hysteresis_percent
    )


def percent_of(used: int, size: int) -> float:
    return 100.0 * used / size if size > 0 else 0.0


def ballast_bytes(told: int | None, size: int) -> int:
    """How large a ballast is on a file system of that size: as told, or a hundredth and at least 1 GiB, within bounds."""
    if told is not None:
        return told
    wanted = max(GIB, int(size * BALLAST_SHARE))
    return min(wanted, int(size * BALLAST_MOST_SHARE), BALLAST_MOST_BYTES)


def ballast_fits(marks: Watermarks, used: int, size: int, wanted: int) -> bool:
    """Whether a ballast may be made: below the first mark, and not so large that it would itself hold something.

    Without the second a large one would be made and released for ever.
    """
    return percent_of(used, size) < marks.leaves(Level.WARNED) and percent_of(used + wanted, size) < marks.batch


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose file system is watched. `stops` is the work that must not go on when that is too full."""

    name: str
    path: Path
    stops: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What the system says of the file system of a folder, in bytes. `mount` is where it is mounted.

    `size` is what we may use of it: what is reserved for root counts as neither used nor free.
    """

    mount: str
    size: int
    used: int

    @property
    def free(self) -> int:
        return max(0, self.size - self.used)


@dataclass(frozen=True, slots=True)
class Ballast:
    """A file that only takes space, to be given up when nothing else helps. `held` is what it takes now, 0 = none.

    `says` is why there is none, when there should be.
    """

    path: Path
    wanted: int = 0
    held: int = 0
    says: str = ""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One file system as it was last seen. `trouble`: why it could not be looked at since; empty when it could."""

    now: Measured
    level: Level
    folders: tuple[Folder, ...]
    forecast: Forecast = Forecast()
    ballast: Ballast | None = None
    trouble: str = ""

    @property
    def name(self) -> str:
        return self.now.mount

    @property
    def percent(self) -> float:
        return percent_of(self.now.used, self.now.size)

    @property
    def ballast_held(self) -> int:
        """Bytes that our ballast takes of it."""
        return self.ballast.held if self.ballast else 0

    @property
    def own(self) -> int:
        """Bytes in use without our ballast: what grows."""
        return self.now.used - self.ballast_held

    @property
    def says(self) -> str:
        """What its level means for what lies on it."""
        held = " and ".join(work for work in HELD_FROM if self.stops(work))
        if self.level < Level.BATCH_HELD:
            return "filling up" if self.level else "fine"
        told = f"{held} held" if held else "nearly full, holds nothing up"
        gone = self.level is Level.BALLAST_RELEASED and self.ballast is not None and not self.ballast.held
        return f"{told}, ballast released" if gone else told

    def stops(self, work: Work) -> bool:
        return self.level.holds(work) and any(work in one.stops for one in self.folders)


@dataclass(frozen=True, slots=True)
class DiskState:
    """All file systems, fullest first, the marks that they are judged by, and why which work is held now."""

    marks: Watermarks
    file_systems: tuple[FileSystem, ...] = ()
    held: Mapping[Work, str] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)


def held_by(found: tuple[FileSystem, ...], marks: Watermarks) -> dict[Work, str]:
    """By work that must wait why, in a sentence that says what would end it."""
    said: dict[Work, str] = {}
    for work, level in HELD_FROM.items():
        for one in found:
            if one.stops(work):
                said[work] = (
                    f"disk {one.name} is {one.percent:.1f} % full: {work} {'are' if work == 'batch loads' else 'is'} held"
                    f" until it is below {marks.leaves(level):g} %"
                )
                break
    return said
