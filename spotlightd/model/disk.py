"""How full a file system may become, which work is held at which level, and when the disk will be full. Pure.

The order of shedding (docs/operate.md explains it to the operator):

1. From `warn` on nothing is held: a warning is shown.
2. From `batch` on no document is fetched or loaded. Publishers keep their documents, so they are fetched later.
3. From `sink` on nothing is moved into the tables: drains, replays, transforms. Frames wait on the bus and in the spool,
   which is bounded. When the spool is full too, feeds are shed, those of the lowest priority first, each with a gap.
4. From `ballast` on the ballast is deleted, so that partitions can be dropped at all. Flows drop what is verified to be
   stored elsewhere, and nothing else.

Reading, the ledger, heartbeats and everything that frees space continue at every level. All work resumes by itself, in
the reverse order.
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
BALLAST_MOST_SHARE = 0.02  # 1 GiB would be too much of a small disk
BALLAST_MOST_BYTES = 8 * GIB  # a hundredth of a large disk would be too much: dropping a partition needs 1 MiB


class Level(IntEnum):
    """How full a disk is. Each level holds all work that the level below it holds."""

    FINE = 0
    WARNED = 1
    BATCH_HELD = 2
    SINK_HELD = 3
    BALLAST_RELEASED = 4

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")

    def holds(self, work: Work) -> bool:
        return self >= HELD_FROM[work]


HELD_FROM: Mapping[Work, Level] = {"batch loads": Level.BATCH_HELD, "the sink": Level.SINK_HELD}


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The percentage at which each level begins. A level ends `hysteresis` below that, so that it does not flap."""

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

    def exit_percent(self, level: Level) -> float:
        """The percentage below which that level ends."""
        return self.marks[level] - self.hysteresis

    def find_level(self, used: int, size: int, before: Level = Level.FINE) -> Level:
        """The level of a file system that was at level `before` at the last measurement."""
        percent = percent_of(used, size)
        reached = [level for level, mark in self.marks.items() if percent >= mark]
        unfinished = [level for level in self.marks if level <= before and percent >= self.exit_percent(level)]
        return max([Level.FINE, *reached, *unfinished])


def watermarks(settings: stores.DiskSettings) -> Watermarks:
    """The watermarks of these settings. SettingsError when they do not increase."""
    return Watermarks(
        settings.warn_percent,
        settings.batch_percent,
        settings.sink_percent,
        settings.ballast_percent,
        settings.hysteresis_percent,
    )


def percent_of(used: int, size: int) -> float:
    return 100.0 * used / size if size > 0 else 0.0


def ballast_bytes(configured: int | None, size: int) -> int:
    """The size of the ballast on a file system of that size: as configured, or a hundredth of it and at least 1 GiB, but
    never more than BALLAST_MOST_SHARE and BALLAST_MOST_BYTES.
    """
    if configured is not None:
        return configured
    wanted = max(GIB, int(size * BALLAST_SHARE))
    return min(wanted, int(size * BALLAST_MOST_SHARE), BALLAST_MOST_BYTES)


def ballast_fits(marks: Watermarks, used: int, size: int, wanted: int) -> bool:
    """Whether a ballast may be created: the disk is below the first mark, and the ballast would not hold any work itself.

    Without the second condition a large ballast would be created and released for ever.
    """
    return percent_of(used, size) < marks.exit_percent(Level.WARNED) and percent_of(used + wanted, size) < marks.batch


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose file system is watched. `stops` is the work that must wait when the file system is too full."""

    name: str
    path: Path
    stops: tuple[Work, ...] = ()

    @property
    def label(self) -> str:
        """The name without a path: a folder of the settings is named by its path."""
        return Path(self.name).name or "the root folder"


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The size and use of a file system in bytes. `mount` is where it is mounted.

    `size` is what this user may use: space reserved for root counts as neither used nor free.
    """

    mount: str
    size: int
    used: int

    @property
    def free(self) -> int:
        return max(0, self.size - self.used)


@dataclass(frozen=True, slots=True)
class Ballast:
    """A file that only occupies space, which is released when nothing else helps. `held` is its present size, 0 = none.

    `detail` is why there is no ballast although there should be one.
    """

    path: Path
    wanted: int = 0
    held: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One file system at the last measurement. `error`: why it could not be measured since then; else empty."""

    usage: DiskUsage
    level: Level
    folders: tuple[Folder, ...]
    forecast: Forecast = Forecast()
    ballast: Ballast | None = None
    error: str = ""

    @property
    def name(self) -> str:
        return self.usage.mount

    @property
    def label(self) -> str:
        """What is on it: pages show this and no path, because a path tells strangers about the machine."""
        return ", ".join(folder.label for folder in self.folders) or "unknown"

    @property
    def percent(self) -> float:
        return percent_of(self.usage.used, self.usage.size)

    @property
    def ballast_held(self) -> int:
        """Bytes that our ballast occupies."""
        return self.ballast.held if self.ballast else 0

    @property
    def own_bytes(self) -> int:
        """Bytes in use without our ballast."""
        return self.usage.used - self.ballast_held

    @property
    def summary(self) -> str:
        """What its level means for the work on it."""
        held = " and ".join(work for work in HELD_FROM if self.stops(work))
        if self.level < Level.BATCH_HELD:
            return "filling up" if self.level else "fine"
        text = f"{held} held" if held else "nearly full, holds nothing up"
        released = self.level is Level.BALLAST_RELEASED and self.ballast is not None and not self.ballast.held
        return f"{text}, ballast released" if released else text

    def stops(self, work: Work) -> bool:
        return self.level.holds(work) and any(work in folder.stops for folder in self.folders)


@dataclass(frozen=True, slots=True)
class DiskState:
    """All file systems, fullest first, their watermarks, and by held work the reason why it is held."""

    marks: Watermarks
    file_systems: tuple[FileSystem, ...] = ()
    holds: Mapping[Work, str] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)


def find_holds(file_systems: tuple[FileSystem, ...], marks: Watermarks) -> dict[Work, str]:
    """The reason for each work that must wait, in a sentence that says what would end the wait."""
    holds: dict[Work, str] = {}
    for work, level in HELD_FROM.items():
        disk = next((disk for disk in file_systems if disk.stops(work)), None)
        if disk is not None:
            holds[work] = (
                f"the disk of {disk.label} is {disk.percent:.1f} % full: {work} {'are' if work == 'batch loads' else 'is'} held"
                f" until it is below {marks.exit_percent(level):g} %"
            )
    return holds
