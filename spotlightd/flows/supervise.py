"""Named coroutines that are watched over: restarted when they may fail alone, the end of the process when not.

Leaving `running` cancels its flows and waits for them, so the order of shutdown is the indentation of the daemon.
Each is cancelled once, because a second time would cut its clean-up short: when the block fails, the group does it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from spotlightd.errors import SpotlightError
from spotlightd.log import logger

State = Literal["starting", "running", "waiting", "holding", "failed", "stopped"]
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
BEATS_MISSED = 3


@dataclass(frozen=True, slots=True)
class Status:
    """What a flow is doing now. `done` of `total` is the progress of long work; total 0 = none under way.

    A beat is one round of the loop that does the work. `expected_per_minute` is how many there should be when nothing
    is wrong, 0 = none were promised. `silent_seconds` is how long ago the last one was, or the start when there was none.
    """

    name: str
    state: State
    since: datetime
    restarts: int = 0
    error: str = ""
    says: str = ""
    done: int = 0
    total: int = 0
    beats: int = 0
    expected_per_minute: float = 0.0
    last_beat_at: datetime | None = None
    last_event_at: datetime | None = None
    silent_seconds: float = 0.0
    lag_seconds: float = 0.0
    queue: int = 0

    @property
    def pause_seconds(self) -> float:
        """The pause between two beats that it promises; 0 when it promises none, as one that has failed or stopped."""
        if not self.expected_per_minute or self.state in ("failed", "stopped"):
            return 0.0
        return 60.0 / self.expected_per_minute

    @property
    def hangs(self) -> bool:
        """It should be at work, and has been silent for more than three times the pause between two beats."""
        return 0 < BEATS_MISSED * self.pause_seconds < self.silent_seconds

    @property
    def heard(self) -> str:
        """When it was last heard of, for people; empty when it promises no beats."""
        if not self.pause_seconds:
            return ""
        ago = f"last beat {self.silent_seconds:.0f} s ago" if self.beats else f"no beat for {self.silent_seconds:.0f} s"
        return f"it hangs: {ago}, where one is due every {self.pause_seconds:g} s" if self.hangs else ago


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks: one for people, which may be set, and one for spans of time, in seconds, which only goes on."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: Callable[[], float] = time.monotonic


class Board:
    """The states of all flows, written by the flows, read by the status page, the heartbeats, the metrics and systemd."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._statuses: dict[str, Status] = {}
        self._heard: dict[str, float] = {}

    def read(self) -> tuple[Status, ...]:
        now = self._clock.seconds()
        return tuple(replace(one, silent_seconds=now - self._heard[name]) for name, one in self._statuses.items())

    def reporter(self, name: str) -> Reporter:
        if name not in self._statuses:
            self._statuses[name] = Status(name, "starting", self._clock.now())
            self._heard[name] = self._clock.seconds()
        return Reporter(self, name)

    def begun(self, name: str) -> None:
        """The flow runs from now on, again or for the first time: the wait for its first beat begins."""
        self._heard[name] = self._clock.seconds()
        self.update(name, state="running", error="")

    def update(self, name: str, **changes: Any) -> None:
        before = self._statuses[name]
        if changes.get("state", before.state) != before.state:
            changes["since"] = self._clock.now()
        self._statuses[name] = replace(before, **changes)

    def beat(self, name: str, *, lag_seconds: float, queue: int, did_something: bool) -> None:
        before, now = self._statuses[name], self._clock.now()
        self._heard[name] = self._clock.seconds()
        self._statuses[name] = replace(
            before, beats=before.beats + 1, last_beat_at=now, lag_seconds=lag_seconds, queue=queue,
            last_event_at=now if did_something else before.last_event_at,
        )  # fmt: skip

    def restarts(self, name: str) -> int:
        return self._statuses[name].restarts


@dataclass(frozen=True, slots=True)
class Reporter:
    """One flow's pen for the board."""

    board: Board
    name: str

    def working(self, says: str, done: int = 0, total: int = 0) -> None:
        self.board.update(self.name, state="running", says=says, done=done, total=total)

    def waiting(self, says: str) -> None:
        self.board.update(self.name, state="waiting", says=says, done=0, total=0, error="")

    def holding(self, error: str) -> None:
        self.board.update(self.name, state="holding", error=error)

    def expects(self, per_minute: float) -> None:
        """So often the loop will beat when nothing is wrong; may be said again when the work changes, with a beat."""
        self.board.update(self.name, expected_per_minute=per_minute)

    def beat(self, *, lag_seconds: float = 0.0, queue: int = 0, did_something: bool = True) -> None:
        """Once in each round, by the loop that does the work and nobody else: cheap, never waits."""
        self.board.beat(self.name, lag_seconds=lag_seconds, queue=queue, did_something=did_something)


Flow = Callable[[Reporter], Coroutine[Any, Any, None]]


async def isolated(
    board: Board,
    name: str,
    flow: Flow,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    seconds: Callable[[], float] = time.monotonic,
) -> None:
    """Run a flow whose failure is its own: say so, wait with jitter, start it again; for ever.

    The pause doubles with each failure, and is short again after a good spell as long as the longest pause.
    """
    report, log, failures = board.reporter(name), logger(flow=name), 0
    while True:
        log.info("flow restarted" if board.restarts(name) else "flow started")
        board.begun(name)
        began = seconds()
        try:
            await flow(report)
        except SpotlightError as problem:
            log.warning("flow failed", error=str(problem))
            board.update(name, state="failed", error=str(problem), restarts=board.restarts(name) + 1)
        except Exception as problem:
            log.exception("flow failed")
            said = f"a mistake of ours: {type(problem).__name__}: {problem}"
            board.update(name, state="failed", error=said, restarts=board.restarts(name) + 1)
        else:
            log.info("flow stopped")
            board.update(name, state="stopped")
            return
        failures = 1 if seconds() - began >= LONGEST_PAUSE_SECONDS else failures + 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 12))
        await sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311


async def vital(board: Board, name: str, flow: Flow) -> None:
    """Run a flow that the daemon cannot do without: its failure ends the process, and systemd starts it anew."""
    report, log = board.reporter(name), logger(flow=name)
    log.info("flow started")
    board.begun(name)
    try:
        await flow(report)
    except Exception as problem:
        log.exception("flow failed")
        board.update(name, state="failed", error=str(problem))
        raise
    log.info("flow stopped")
    board.update(name, state="stopped")


@asynccontextmanager
async def running(**flows: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines, each a task of its name, while the block runs; on leaving they are cancelled and awaited."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work, name=name) for name, work in flows.items()]
        yield
        for task in tasks:
            task.cancel()
