"""Pieces of a partition that are being moved side by side: how one waits for another, and how all of them end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from spotlightd.log import logger

LAST_MOVE_SECONDS = 4.0  # what is being moved when we are told to stop may finish; else it is settled at the next start


@dataclass(frozen=True, slots=True)
class Move:
    """A piece that is being moved. `kept` tells whether its frames are in their table, as soon as that is known."""

    task: asyncio.Task[None]
    kept: asyncio.Future[bool]


async def through(task: asyncio.Task[None]) -> None:
    """Wait for a move; its failure is the drain's. Told to stop while waiting, the move is left to finish."""
    await asyncio.wait([task])
    task.result()


async def finished(moves: Collection[asyncio.Task[None]]) -> None:
    """Let what is being moved finish, for a while; then end it. Its failure was or will be told by the recovery.

    None of it runs any more when this returns, however often we are cancelled meanwhile: a move that came to its end
    beside the recovery would put into the tables what that has just put there.
    """
    stopped: asyncio.CancelledError | None = None
    seconds: float | None = LAST_MOVE_SECONDS
    while waiting := [task for task in moves if not task.done()]:
        try:
            await asyncio.wait(waiting, timeout=seconds)
        except asyncio.CancelledError as told:
            stopped = told
        seconds = None
        for task in waiting:
            task.cancel()
    for task in moves:
        if not task.cancelled() and (problem := task.exception()):
            logger().warning("move unfinished", error=str(problem))
    if stopped is not None:
        raise stopped
