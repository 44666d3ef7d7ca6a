"""Whether a spool holds frames that the bus has lost: then it has to send them again.

Such frames leave no trace on the bus: of a connection that has ended no later frame comes that would show the hole. But
the spool frees frames in order, so nothing behind them is freed either, however busy the feed is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

FIRST_SECONDS = 30.0
MOST_SECONDS = 3_600.0


@dataclass(slots=True)
class Stuck:
    """Looked at once a second. Each time that sending again did not help, twice as long passes before the next."""

    clock: Callable[[], float] = monotonic
    freed: int = -1
    offset: int = 0
    since: float = 0.0
    patience: float = FIRST_SECONDS

    def is_so(self, *, freed: int, waiting: int, offset: int, drained: bool) -> bool:
        """`freed` and `waiting` count frames of the spool; `offset` is how far the drain is, `drained` whether at the end.

        A drain that stands still is no reason: what it has not read yet need not be lost.
        """
        if freed != self.freed or not waiting:
            self.freed, self.offset, self.since, self.patience = freed, offset, self.clock(), FIRST_SECONDS
            return False
        if self.clock() - self.since <= self.patience or not (drained or offset > self.offset):
            return False
        self.offset, self.since = offset, self.clock()
        self.patience = min(self.patience * 2, MOST_SECONDS)
        return True
