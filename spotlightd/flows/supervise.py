"""Runs named coroutines and watches them: some are restarted when they fail, others end the process.

Leaving `run_in_background` cancels its flows and waits for them, so the indentation of the daemon is the order of its
shutdown. Each flow is cancelled once, because a second cancellation would cut its clean-up short. When the block itself
fails, the task group cancels them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from spotlightd.backoff import Backoff, Clock
from spotlightd.errors import SpotlightError
from spotlightd.log import hide_secrets, logger

State = Literal["starting", "running", "waiting", "holding", "failed", "stopped"]
RESTART = Backoff(first=1.0, most=300.0)
BEATS_MISSED = 3


@dataclass(frozen=True, slots=True)
class Status:
    """What a flow is doing now. `done` of `total` is the progress of long work; `total` is 0 when there is none. `ends_at` is
    when it will end, as far as can be told.

    A beat is one round of the loop that does the work. `expected_per_minute` is how many beats there should be when
    nothing is wrong; 0 means that none were promised. `silent_seconds` is the time since the last beat, or since the
    start when there was no beat yet.
    """

    name: str
    state: State
    since: datetime
    restarts: int = 0
    error: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    ends_at: datetime | None = None
    beats: int = 0
    expected_per_minute: float = 0.0
    last_beat_at: datetime | None = None
    last_event_at: datetime | None = None
    silent_seconds: float = 0.0
    lag_seconds: float = 0.0
    queue: int = 0

    @property
    def pause_seconds(self) -> float:
        """The promised pause between two beats; 0 when none is promised, or when the flow has failed or stopped."""
        if not self.expected_per_minute or self.state in ("failed", "stopped"):
            return 0.0
        return 60.0 / self.expected_per_minute

    @property
    def is_hanging(self) -> bool:
        """Whether a flow at work has been silent for more than three times the pause between two beats."""
        return 0 < BEATS_MISSED * self.pause_seconds < self.silent_seconds

    @property
    def beat_summary(self) -> str:
        """When the last beat was, for people; empty when the flow promises no beats."""
        if not self.pause_seconds:
            return ""
        ago = f"last beat {self.silent_seconds:.0f} s ago" if self.beats else f"no beat for {self.silent_seconds:.0f} s"
        return f"it hangs: {ago}, where one is due every {self.pause_seconds:g} s" if self.is_hanging else ago


class Board:
    """The states of all flows. Flows write them; the status page, heartbeats, metrics and systemd read them."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._statuses: dict[str, Status] = {}
        self._beat_seconds: dict[str, float] = {}

    def read(self) -> tuple[Status, ...]:
        now = self._clock.now()
        return tuple(
            replace(status, silent_seconds=now - self._beat_seconds[name]) for name, status in self._statuses.items()
        )

    def reporter(self, name: str) -> Reporter:
        if name not in self._statuses:
            self._statuses[name] = Status(name, "starting", self._clock.utc())
            self._beat_seconds[name] = self._clock.now()
        return Reporter(self, name)

    def start_flow(self, name: str) -> None:
        """The flow runs from now on, for the first time or again. The wait for its first beat begins."""
        self._beat_seconds[name] = self._clock.now()
        self.update(name, state="running", error="")

    def update(self, name: str, **changes: Any) -> None:
        before = self._statuses[name]
        changes |= {field: hide_secrets(changes[field]) for field in ("error", "message") if changes.get(field)}
        if changes.get("state", before.state) != before.state:
            changes["since"] = self._clock.utc()
        self._statuses[name] = replace(before, **changes)

    def beat(self, name: str, *, lag_seconds: float, queue: int, did_something: bool) -> None:
        before, now = self._statuses[name], self._clock.utc()
        self._beat_seconds[name] = self._clock.now()
        self._statuses[name] = replace(
            before, beats=before.beats + 1, last_beat_at=now, lag_seconds=lag_seconds, queue=queue,
            last_event_at=now if did_something else before.last_event_at,
        )  # fmt: skip

    def restarts(self, name: str) -> int:
        return self._statuses[name].restarts


@dataclass(frozen=True, slots=True)
class Reporter:
    """Writes the state of one flow to the board."""

    board: Board
    name: str

    def set_working(self, message: str, done: int = 0, total: int = 0, *, ends_at: datetime | None = None) -> None:
        self.board.update(self.name, state="running", message=message, done=done, total=total, ends_at=ends_at)

    def set_waiting(self, message: str) -> None:
        self.board.update(self.name, state="waiting", message=message, done=0, total=0, ends_at=None, error="")

    def set_holding(self, error: str) -> None:
        self.board.update(self.name, state="holding", error=error)

    def expect_beats(self, per_minute: float) -> None:
        """Promise so many beats when nothing is wrong. Call it again, with a beat, when the work changes."""
        self.board.update(self.name, expected_per_minute=per_minute)

    def beat(self, *, lag_seconds: float = 0.0, queue: int = 0, did_something: bool = True) -> None:
        """Called once in each round by the loop that does the work, and by nothing else. Cheap; never waits."""
        self.board.beat(self.name, lag_seconds=lag_seconds, queue=queue, did_something=did_something)


Flow = Callable[[Reporter], Coroutine[Any, Any, None]]


async def run_isolated(board: Board, name: str, flow: Flow, *, clock: Clock | None = None) -> None:
    """Run a flow whose failure affects nothing else: report it, pause, start the flow again; for ever.

    The pause doubles with each failure. It is short again after a run as long as the longest pause.
    """
    clock = clock or Clock()
    report, log, failures = board.reporter(name), logger(flow=name), 0
    while True:
        log.info("flow restarted" if board.restarts(name) else "flow started")
        board.start_flow(name)
        started = clock.now()
        try:
            await flow(report)
        except SpotlightError as problem:
            log.warning("flow failed", error=str(problem))
            error = str(problem)
        except Exception as problem:
            log.exception("flow failed")
            error = f"a bug in spotlightd: {type(problem).__name__}: {problem}"
        else:
            log.info("flow stopped")
            board.update(name, state="stopped")
            return
        board.update(name, state="failed", error=error, restarts=board.restarts(name) + 1)
        failures = 1 if clock.now() - started >= RESTART.most else failures + 1
        await clock.sleep(RESTART.pause(failures, clock.chance))


async def run_vital(board: Board, name: str, flow: Flow) -> None:
    """Run a flow that the daemon cannot work without: its failure ends the process, and systemd starts it again."""
    report, log = board.reporter(name), logger(flow=name)
    log.info("flow started")
    board.start_flow(name)
    try:
        await flow(report)
    except Exception as problem:
        log.exception("flow failed")
        board.update(name, state="failed", error=str(problem))
        raise
    log.info("flow stopped")
    board.update(name, state="stopped")


@asynccontextmanager
async def run_in_background(**flows: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines while the block runs, each in a task of its name; on leaving they are cancelled and awaited."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work, name=name) for name, work in flows.items()]
        yield
        for task in tasks:
            task.cancel()
