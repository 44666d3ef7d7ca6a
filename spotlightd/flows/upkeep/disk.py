"""Measures every few seconds how full the disks are, and holds the work that would fill them, before they are full.

The order in which work is held is in `spotlightd.model.disk`. Only the ballast is ever deleted here. From the last level
on `on_critical` is called, which may drop what is verified to be stored elsewhere. Held work waits at the gate between
two pieces, and goes on by itself. A disk that does not answer keeps its last level: work that needs it hangs by itself,
and other work goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.disk import (
    HELD_FROM,
    Ballast,
    DiskState,
    DiskUsage,
    FileSystem,
    Folder,
    Level,
    Watermarks,
    ballast_bytes,
    ballast_fits,
    find_holds,
    percent_of,
)
from spotlightd.model.disk_forecast import History, Point, build_history, forecast
from spotlightd.model.text import count
from spotlightd.ports.storage import Disks

Critical = Callable[[FileSystem], Awaitable[None]]
SHORTEST_PAUSE_SECONDS = 0.05
POINT_EVERY = timedelta(minutes=1)
BALLAST_RETRY_SECONDS = 300.0
CRITICAL_RETRY_SECONDS = 30.0
CRITICAL_SECONDS = 900.0
FILES_SECONDS = 15.0


async def drop_nothing(_: FileSystem) -> None:
    """Without an archive nothing is known to be stored elsewhere, so nothing is dropped."""


class DiskWatch:
    """The flow `disk`. `ballast` is the ballast file, None for none. `configured_ballast` is its size in the settings;
    None means that it depends on the disk.
    """

    def __init__(
        self,
        disks: Disks,
        folders: Sequence[Folder],
        marks: Watermarks,
        gate: Gate,
        *,
        every_seconds: float,
        ballast: Path | None = None,
        configured_ballast: int | None = None,
        files: Mapping[str, Sequence[Path]] = MappingProxyType({}),
        on_critical: Critical = drop_nothing,
    ) -> None:
        self._disks, self._marks, self._gate = disks, marks, gate
        first_of_path = {folder.path: folder for folder in reversed(folders)}
        self._folders = tuple(first_of_path.values())[::-1]
        self._every_seconds = max(every_seconds, SHORTEST_PAUSE_SECONDS)
        self._ballast, self._configured_ballast = ballast, configured_ballast
        self._on_critical, self._files = on_critical, files
        self._file_bytes: dict[str, int] = {}
        self._next_files = 0.0
        self._disks_by_name: dict[str, FileSystem] = {}
        self._histories: dict[str, History] = {}
        self._mounts: dict[str, str] = {}
        self._next_ballast = 0.0
        self._next_critical = 0.0
        self._tasks: dict[str, asyncio.Task[None]] = {}  # work that takes long; each kind runs once at a time

    def state(self) -> DiskState:
        """The result of the last check, the fullest disk first."""
        disks = tuple(sorted(self._disks_by_name.values(), key=lambda disk: -disk.percent))
        return DiskState(self._marks, disks, find_holds(disks, self._marks), dict(self._file_bytes))

    def add_history(self, name: str, points: Iterable[Point]) -> None:
        """Add what was measured of a file system before this start."""
        self._histories[name] = build_history([*points, *self._histories.get(name, History()).points])

    async def __call__(self, report: Reporter) -> None:
        """For ever."""
        report.expect_beats(60.0 / (self._every_seconds + 1.0))
        if self._configured_ballast == 0 and self._ballast is not None:
            with suppress(StoreError):  # a ballast of an earlier setting, which may not exist
                await self._disks.remove(self._ballast)
        try:
            while True:
                await self.check()
                self._report(report)
                report.beat()
                await asyncio.sleep(self._every_seconds)
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    async def check(self) -> None:
        """Measure once: set the levels, hold or release work, create or release the ballast."""
        answers = await asyncio.gather(*(self._measure(folder) for folder in self._folders))
        self._group_by_disk(answers)
        await self._update_ballast_and_forecast()
        self._gate.hold(self.state().holds)
        await self._adjust_ballast()
        self._start_critical()
        if monotonic() >= self._next_files:
            self._next_files = monotonic() + FILES_SECONDS
            self._start_task("files", self._measure_files)

    async def _measure_files(self) -> None:
        with suppress(StoreError):
            for name, files in self._files.items():
                self._file_bytes[name] = sum([await self._disks.allocated_bytes(file) for file in files])

    async def _measure(self, folder: Folder) -> DiskUsage | StoreError:
        try:
            return await self._disks.measure(folder.path)
        except StoreError as problem:
            return StoreError(str(problem).replace(str(folder.path), folder.label))  # pages show it, and no path

    def _group_by_disk(self, answers: Sequence[DiskUsage | StoreError]) -> None:
        """Group the folders by file system. A folder that does not answer stays with its last file system."""
        usages, folders_by_disk, errors = dict[str, DiskUsage](), dict[str, list[Folder]](), dict[str, str]()
        for folder, answer in zip(self._folders, answers, strict=True):
            if isinstance(answer, DiskUsage):
                usages[answer.mount] = answer
                self._mounts[folder.name] = answer.mount
            elif folder.name in self._mounts:
                errors[self._mounts[folder.name]] = str(answer)
            else:
                self._mounts[folder.name] = str(folder.path)
                usages.setdefault(str(folder.path), DiskUsage(str(folder.path), 0, 0))
                errors[str(folder.path)] = str(answer)
            folders_by_disk.setdefault(self._mounts[folder.name], []).append(folder)
        for name, folders in folders_by_disk.items():
            usage = usages.get(name)
            self._set_level(name, usage, tuple(folders), "" if usage and usage.size else errors.get(name, ""))
        self._disks_by_name = {name: disk for name, disk in self._disks_by_name.items() if name in folders_by_disk}

    def _set_level(self, name: str, measured: DiskUsage | None, folders: tuple[Folder, ...], error: str) -> None:
        before = self._disks_by_name.get(name) or FileSystem(measured or DiskUsage(name, 0, 0), Level.FINE, ())
        usage = measured or before.usage
        level = before.level if error else self._marks.find_level(usage.used, usage.size, before.level)
        log = logger(disk=name)
        facts = {"now": level.label, "was": before.level.label, "percent": round(percent_of(usage.used, usage.size), 1)}
        if level > before.level:
            log.warning("disk level changed", **facts)
        elif level < before.level:
            log.info("disk level changed", **facts)
        if error and not before.error:
            log.error("disk stopped answering", error=error)
        if before.error and not error:
            log.info("disk answered")
        self._disks_by_name[name] = replace(before, usage=usage, level=level, folders=folders, error=error)

    async def _update_ballast_and_forecast(self) -> None:
        """Measure the ballast, and forecast without it."""
        for name, disk in [entry for entry in self._disks_by_name.items() if not entry[1].error]:
            updated = replace(disk, ballast=await self._measure_ballast(disk))
            history, at = self._histories.get(name, History()), datetime.now(UTC)
            last = history.points[-1].at if history.points else None
            if last is None or not last <= at < last + POINT_EVERY:
                history = self._histories[name] = history.with_point(Point(at, updated.own_bytes))
                updated = replace(updated, forecast=replace(updated.forecast, rate=history.rate))
            self._disks_by_name[name] = replace(updated, forecast=forecast(updated.forecast.rate, updated.usage.free))

    async def _measure_ballast(self, disk: FileSystem) -> Ballast | None:
        """The ballast, if it belongs on this file system: that of the tables."""
        path = self._ballast
        holds_tables = any("the sink" in folder.stops for folder in disk.folders)
        if path is None or not holds_tables or self._configured_ballast == 0:
            return None
        if path.parent not in [folder.path for folder in disk.folders]:
            return None
        before = disk.ballast or Ballast(path)
        try:
            held = await self._disks.allocated_bytes(path)
        except StoreError as problem:
            return replace(before, detail=_name_ballast(problem, path))
        return replace(before, wanted=ballast_bytes(self._configured_ballast, disk.usage.size), held=held)

    async def _adjust_ballast(self) -> None:
        for name, disk in tuple(self._disks_by_name.items()):
            if disk.ballast is None or disk.error:
                continue
            if disk.level is Level.BALLAST_RELEASED and disk.ballast.held:
                await self._release_ballast(name, disk.ballast)
            elif not disk.ballast.held and disk.level is Level.FINE and monotonic() >= self._next_ballast:
                self._start_task("ballast", partial(self._create_ballast, name, disk.usage, disk.ballast))

    async def _release_ballast(self, name: str, ballast: Ballast) -> None:
        try:
            await self._disks.remove(ballast.path)
        except StoreError as problem:
            self._set_ballast(name, detail=_name_ballast(problem, ballast.path))
            return
        logger(disk=name).warning("ballast released", bytes=ballast.held)
        self._set_ballast(name, held=0, detail="it was released, and is created again when there is room")

    async def _create_ballast(self, name: str, usage: DiskUsage, ballast: Ballast) -> None:
        """Create it when there is room. A failure is tried again after a while."""
        if not ballast_fits(self._marks, usage.used, usage.size, ballast.wanted):
            self._set_ballast(name, detail="there is no room for it yet")
            return
        try:
            await self._disks.reserve(ballast.path, ballast.wanted)
            held = await self._disks.allocated_bytes(ballast.path)
        except StoreError as problem:
            self._next_ballast = monotonic() + BALLAST_RETRY_SECONDS
            logger(disk=name).warning("ballast failed", error=str(problem))
            self._set_ballast(name, detail=_name_ballast(problem, ballast.path))
            return
        logger(disk=name).info("ballast created", bytes=held)
        self._set_ballast(name, held=held, detail="")

    def _set_ballast(self, name: str, **changes: Any) -> None:
        disk = self._disks_by_name.get(name)
        if disk is not None and disk.ballast is not None:
            self._disks_by_name[name] = replace(disk, ballast=replace(disk.ballast, **changes))

    def _start_task(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run it beside the next checks, unless it still runs."""
        before = self._tasks.get(name)
        if before is None or before.done():
            self._tasks[name] = asyncio.create_task(work(), name=f"disk {name}")

    def _start_critical(self) -> None:
        """On a disk at the last level, have verified data dropped."""
        critical = next((disk for disk in self._disks_by_name.values() if self._is_critical(disk)), None)
        if critical is not None and monotonic() >= self._next_critical:
            self._next_critical = monotonic() + CRITICAL_RETRY_SECONDS
            self._start_task("critical", partial(self._run_critical, critical))

    @staticmethod
    def _is_critical(disk: FileSystem) -> bool:
        return disk.level is Level.BALLAST_RELEASED and any(folder.stops for folder in disk.folders)

    async def _run_critical(self, disk: FileSystem) -> None:
        try:
            async with asyncio.timeout(CRITICAL_SECONDS):
                await self._on_critical(disk)
        except (StoreError, TimeoutError) as problem:
            logger(disk=disk.name).error("store failed", error=str(problem) or "no space was freed in time")

    def _report(self, report: Reporter) -> None:
        disks = self.state().file_systems
        holding = [disk for disk in disks if any(map(disk.stops, HELD_FROM))]
        errors = [f"the disk of {disk.label} is {disk.percent:.1f} % full: {disk.summary}" for disk in holding]
        errors += [disk.error for disk in disks if disk.error]
        if errors:
            report.set_holding("; ".join(errors))
        else:
            report.set_waiting(f"{count(len(disks), 'disk is', 'disks are')} watched")


def _name_ballast(problem: StoreError, path: Path) -> str:
    """The error for pages, which show no path."""
    return str(problem).replace(str(path), "the ballast")
