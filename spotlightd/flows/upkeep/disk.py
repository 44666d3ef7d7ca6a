"""Looks every few seconds how full the disks are, and holds what would fill them: before they are full, not after.

The order of shedding is that of `spotlightd.model.disk`. Nothing is ever deleted here but the ballast; from the last level
on `on_critical` is called, which may drop what it knows to be verified elsewhere. What is held waits at the gate, between
two pieces of its work, and goes on by itself. A disk that does not answer keeps the level that it had: what hangs there
holds by itself, and what does not need it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
    FileSystem,
    Folder,
    Level,
    Measured,
    Watermarks,
    ballast_bytes,
    ballast_fits,
    held_by,
    percent_of,
)
from spotlightd.model.disk_forecast import History, Point, forecast, remembered
from spotlightd.ports.storage import Disks

Critical = Callable[[FileSystem], Awaitable[None]]
SHORTEST_PAUSE_SECONDS = 0.05
POINT_EVERY = timedelta(minutes=1)
BALLAST_AGAIN_SECONDS = 300.0
CRITICAL_AGAIN_SECONDS = 30.0
CRITICAL_SECONDS = 900.0
FILES_SECONDS = 15.0


async def nothing_verified(_: FileSystem) -> None:
    """There is no archive yet: nothing is known to be safe elsewhere, so nothing may go."""


class Watching:
    """The flow `disk`. `ballast` is its file, None for none; `told_bytes` its size as told, None = by the disk's."""

    def __init__(
        self,
        disks: Disks,
        folders: Sequence[Folder],
        marks: Watermarks,
        gate: Gate,
        *,
        every_seconds: float,
        ballast: Path | None = None,
        told_bytes: int | None = None,
        files: Mapping[str, Sequence[Path]] = MappingProxyType({}),
        on_critical: Critical = nothing_verified,
    ) -> None:
        self._disks, self._marks, self._gate = disks, marks, gate
        self._folders = tuple({one.path: one for one in reversed(folders)}.values())[::-1]  # the first of a path counts
        self._every_seconds = max(every_seconds, SHORTEST_PAUSE_SECONDS)
        self._ballast, self._told_bytes = ballast, told_bytes
        self._on_critical, self._files = on_critical, files
        self._taken: dict[str, int] = {}
        self._taken_again = 0.0
        self._known: dict[str, FileSystem] = {}
        self._histories: dict[str, History] = {}
        self._mounts: dict[str, str] = {}
        self._untried_until = 0.0
        self._critical_again = 0.0
        self._beside: dict[str, asyncio.Task[None]] = {}  # what takes long; each at most once at a time

    def state(self) -> DiskState:
        """As of the last look, fullest first."""
        found = sorted(self._known.values(), key=lambda one: -one.percent)
        return DiskState(self._marks, tuple(found), held_by(tuple(found), self._marks), dict(self._taken))

    def remember(self, name: str, points: Iterable[Point]) -> None:
        """What a file system held before this start."""
        self._histories[name] = remembered([*points, *self._histories.get(name, History()).points])

    async def __call__(self, report: Reporter) -> None:
        """For ever."""
        report.expects(60.0 / (self._every_seconds + 1.0))
        if self._told_bytes == 0 and self._ballast is not None:
            with suppress(StoreError):  # one of an earlier setting; it may not even be there
                await self._disks.remove(self._ballast)
        try:
            while True:
                await self.look()
                self._say(report)
                report.beat()
                await asyncio.sleep(self._every_seconds)
        finally:
            for task in self._beside.values():
                task.cancel()
            if self._beside:
                await asyncio.wait(self._beside.values())

    async def look(self) -> None:
        """Look once: judge, shut or open the gate, see to the ballast."""
        answers = await asyncio.gather(*(self._measured(one) for one in self._folders))
        self._group(answers)
        await self._weigh()
        self._gate.shut(self.state().held)
        await self._see_to_ballast()
        self._press()
        if monotonic() >= self._taken_again:
            self._taken_again = monotonic() + FILES_SECONDS
            self._begin("files", self._see_files)

    async def _see_files(self) -> None:
        with suppress(StoreError):
            for name, files in self._files.items():
                self._taken[name] = sum([await self._disks.taken(one) for one in files])

    async def _measured(self, folder: Folder) -> Measured | StoreError:
        try:
            return await self._disks.measure(folder.path)
        except StoreError as problem:
            return problem

    def _group(self, answers: Sequence[Measured | StoreError]) -> None:
        """By file system: what lies on it, and how full it is. What does not answer stays where it was last."""
        now, on, troubles = dict[str, Measured](), dict[str, list[Folder]](), dict[str, str]()
        for folder, answer in zip(self._folders, answers, strict=True):
            if isinstance(answer, Measured):
                now[answer.mount] = answer
                self._mounts[folder.name] = answer.mount
            elif folder.name in self._mounts:
                troubles[self._mounts[folder.name]] = str(answer)
            else:
                self._mounts[folder.name] = str(folder.path)
                now.setdefault(str(folder.path), Measured(str(folder.path), 0, 0))
                troubles[str(folder.path)] = str(answer)
            on.setdefault(self._mounts[folder.name], []).append(folder)
        for name, folders in on.items():
            measured = now.get(name)
            self._judge(name, measured, tuple(folders), "" if measured and measured.size else troubles.get(name, ""))
        self._known = {name: one for name, one in self._known.items() if name in on}

    def _judge(self, name: str, now: Measured | None, folders: tuple[Folder, ...], trouble: str) -> None:
        before = self._known.get(name) or FileSystem(now or Measured(name, 0, 0), Level.FINE, ())
        seen = now or before.now
        level = before.level if trouble else self._marks.judged(seen.used, seen.size, before.level)
        log = logger(disk=name)
        facts = {"now": level.says, "was": before.level.says, "percent": round(percent_of(seen.used, seen.size), 1)}
        if level > before.level:
            log.warning("disk level changed", **facts)
        elif level < before.level:
            log.info("disk level changed", **facts)
        if trouble and not before.trouble:
            log.error("disk fell silent", error=trouble)
        if before.trouble and not trouble:
            log.info("disk answered")
        self._known[name] = replace(before, now=seen, level=level, folders=folders, trouble=trouble)

    async def _weigh(self) -> None:
        """What the ballast takes, and what may be forecast without it."""
        for name, one in [pair for pair in self._known.items() if not pair[1].trouble]:
            held = replace(one, ballast=await self._weighed(one))
            history, at = self._histories.get(name, History()), datetime.now(UTC)
            last = history.points[-1].at if history.points else None
            if last is None or not last <= at < last + POINT_EVERY:
                history = self._histories[name] = history.added(Point(at, held.own))
                held = replace(held, forecast=replace(held.forecast, rate=history.rate))
            self._known[name] = replace(held, forecast=forecast(held.forecast.rate, held.now.free))

    async def _weighed(self, one: FileSystem) -> Ballast | None:
        """Of the file system of the tables, if the ballast can lie there."""
        path = self._ballast
        beside = any("the sink" in each.stops for each in one.folders)
        if (
            path is None
            or not beside
            or self._told_bytes == 0
            or path.parent not in [each.path for each in one.folders]
        ):
            return None
        before = one.ballast or Ballast(path)
        try:
            held = await self._disks.taken(path)
        except StoreError as problem:
            return replace(before, says=str(problem))
        return replace(before, wanted=ballast_bytes(self._told_bytes, one.now.size), held=held)

    async def _see_to_ballast(self) -> None:
        for name, one in tuple(self._known.items()):
            if one.ballast is None or one.trouble:
                continue
            if one.level is Level.BALLAST_RELEASED and one.ballast.held:
                await self._release(name, one.ballast)
            elif not one.ballast.held and one.level is Level.FINE and monotonic() >= self._untried_until:
                self._begin("ballast", lambda name=name, now=one.now, it=one.ballast: self._make(name, now, it))  # type: ignore[misc]

    async def _release(self, name: str, ballast: Ballast) -> None:
        try:
            await self._disks.remove(ballast.path)
        except StoreError as problem:
            self._note(name, says=str(problem))
            return
        logger(disk=name).warning("ballast released", bytes=ballast.held)
        self._note(name, held=0, says="it was released, and is made again when there is room")

    async def _make(self, name: str, now: Measured, ballast: Ballast) -> None:
        """When there is room; failing that it is tried again after a while."""
        if not ballast_fits(self._marks, now.used, now.size, ballast.wanted):
            self._note(name, says="there is no room for it yet")
            return
        try:
            await self._disks.reserve(ballast.path, ballast.wanted)
            held = await self._disks.taken(ballast.path)
        except StoreError as problem:
            self._untried_until = monotonic() + BALLAST_AGAIN_SECONDS
            logger(disk=name).warning("ballast failed", error=str(problem))
            self._note(name, says=str(problem))
            return
        logger(disk=name).info("ballast made", bytes=held)
        self._note(name, held=held, says="")

    def _note(self, name: str, **changes: Any) -> None:
        one = self._known.get(name)
        if one is not None and one.ballast is not None:
            self._known[name] = replace(one, ballast=replace(one.ballast, **changes))

    def _begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Beside the next looks, unless it is still at it."""
        before = self._beside.get(name)
        if before is None or before.done():
            self._beside[name] = asyncio.create_task(work(), name=f"disk {name}")

    def _press(self) -> None:
        """Ask for what is verified to be dropped."""
        worst = next((one for one in self._known.values() if self._is_critical(one)), None)
        if worst is not None and monotonic() >= self._critical_again:
            self._critical_again = monotonic() + CRITICAL_AGAIN_SECONDS
            self._begin("critical", lambda: self._pressed(worst))

    @staticmethod
    def _is_critical(one: FileSystem) -> bool:
        return one.level is Level.BALLAST_RELEASED and any(each.stops for each in one.folders)

    async def _pressed(self, one: FileSystem) -> None:
        try:
            async with asyncio.timeout(CRITICAL_SECONDS):
                await self._on_critical(one)
        except (StoreError, TimeoutError) as problem:
            logger(disk=one.name).error("store failed", error=str(problem) or "no space was made in time")

    def _say(self, report: Reporter) -> None:
        state = self.state()
        held = [one for one in state.file_systems if any(map(one.stops, HELD_FROM))]
        wrong = [f"{one.name} is {one.percent:.1f} % full: {one.says}" for one in held]
        wrong += [one.trouble for one in state.file_systems if one.trouble]
        if wrong:
            report.holding("; ".join(wrong))
        else:
            report.waiting(f"{len(state.file_systems)} disks are looked at")
