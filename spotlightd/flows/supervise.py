"""Named coroutines that are watched over: restarted when they may fail alone, the end of the process when not.

Leaving `running` cancels its flows and waits for them, so the order of shutdown is the indentation of the daemon.
Each is cancelled once, because a second time would cut its clean-up short: when the block fails, the group does it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from spotlightd.log import logger
from spotlightd.model.errors import SpotlightError

State = Literal["starting", "running", "waiting", "holding", "failed", "stopped"]
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Status:
    """What a flow is doing now. `done` of `total` is the progress of long work; total 0 = none under way."""

    name: str
    state: State
    since: datetime
    restarts: int = 0
    error: str = ""
    says: str = ""
    done: int = 0
    total: int = 0


class Board:
    """The states of all flows, written by the flows, read by the status page and the watchdog."""

    def __init__(self) -> None:
        self._statuses: dict[str, Status] = {}

    def read(self) -> tuple[Status, ...]:
        return tuple(self._statuses.values())

    def reporter(self, name: str) -> Reporter:
        self._statuses.setdefault(name, Status(name, "starting", datetime.now(UTC)))
        return Reporter(self, name)

    def update(self, name: str, **changes: Any) -> None:
        before = self._statuses[name]
        if changes.get("state", before.state) != before.state:
            changes["since"] = datetime.now(UTC)
        self._statuses[name] = replace(before, **changes)

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


Flow = Callable[[Reporter], Coroutine[Any, Any, None]]


async def isolated(
    board: Board, name: str, flow: Flow, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Run a flow whose failure is its own: say so, wait with jitter, start it again; for ever."""
    report, log, failures = board.reporter(name), logger(flow=name), 0
    while True:
        log.info("flow started" if failures == 0 else "flow restarted")
        board.update(name, state="running", error="")
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
        failures += 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 12))
        await sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311


async def vital(board: Board, name: str, flow: Flow) -> None:
    """Run a flow that the daemon cannot do without: its failure ends the process, and systemd starts it anew."""
    report, log = board.reporter(name), logger(flow=name)
    log.info("flow started")
    board.update(name, state="running")
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
