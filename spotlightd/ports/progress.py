"""The progress of long work: the terminal draws it, the ledger stores it, a test collects it.

There are two forms with the same arguments. `Progress` only reports. `Checkpoint` is awaited between two pieces of work:
there the daemon saves the progress of a job in the ledger, and there a load or replay waits while a disk is too full. It
must be awaited in line, because the next piece may only begin afterwards, and because a ledger that cannot be written
must stop the work. A plain callable would need a task that writes behind it, and the wait would need another hook.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Progress = Callable[[str, int, int], None]
"""(step, done, total): the current step, how much is done, and how much there is; a total of 0 is unknown."""

Checkpoint = Callable[[str, int, int], Awaitable[None]]
"""As Progress, awaited between two pieces of work."""


def ignore_progress(_step: str, _done: int, _total: int) -> None:
    """Progress that is not shown."""


def to_checkpoint(progress: Progress) -> Checkpoint:
    """A checkpoint that only reports: for commands, which wait for nothing."""

    async def checkpoint(step: str, done: int, total: int) -> None:
        progress(step, done, total)

    return checkpoint
