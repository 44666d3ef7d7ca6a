"""Who reads next: kinds of pages take turns, and the kinds that take long have a bounded part of the places.

With one queue for all, an ordinary page waited behind 150 pages that each read a whole dataset.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType

from spotlightd.query.errors import HttpProblem

HEAVY = "heavy"
"""Pages that may read a whole dataset."""
WHOLE = "whole"
"""Downloads until their first byte, and citations: they read a whole dataset, with the wide limits of downloads."""


@dataclass(slots=True)
class Turns:
    """At most `size` hold a place. `parts` bounds kinds to fewer. Those who wait get places kind by kind, in turn."""

    size: int
    parts: Mapping[str, int] = field(default_factory=dict)
    _holders: Counter[str] = field(default_factory=Counter)
    _waiting: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)

    def of(self, kind: str) -> Turn:
        """A place for that kind, held while an `async with` block runs."""
        return Turn(self, kind)

    def count_waiting(self, kind: str) -> int:
        return len(self._waiting.get(kind, ()))

    async def take(self, kind: str) -> None:
        """Wait for a place."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(kind, deque()).append(turn)
        self._give_places()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(kind, turn)
            else:
                self.leave(kind)  # it got the place in the moment in which it was cancelled
            raise

    def leave(self, kind: str) -> None:
        """Give the place back."""
        self._holders[kind] -= 1
        self._give_places()

    def _forget(self, kind: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(kind, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._waiting.pop(kind, None)

    def _give_places(self) -> None:
        while self._holders.total() < self.size and (kind := self._find_kind()) is not None:
            queue = self._waiting.pop(kind)
            turn = queue.popleft()
            if queue:
                self._waiting[kind] = queue  # behind all other kinds
            if not turn.done():
                self._holders[kind] += 1
                turn.set_result(None)

    def _find_kind(self) -> str | None:
        """The kind that has waited longest for its turn, of those that may have one more place."""
        return next((kind for kind in self._waiting if self._holders[kind] < self.parts.get(kind, self.size)), None)


@dataclass(frozen=True, slots=True)
class Turn:
    """A place among turns, for an `async with` block. It may be entered several times, for a place each."""

    turns: Turns
    kind: str

    async def __aenter__(self) -> None:
        await self.turns.take(self.kind)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.turns.leave(self.kind)


async def take_turns(held: AsyncExitStack, seconds: float, *turns: Turn) -> None:
    """Take these places one after the other. HttpProblem(503) when they are not free within that time."""
    try:
        async with asyncio.timeout(seconds):
            for turn in turns:
                await held.enter_async_context(turn)
    except TimeoutError:
        raise HttpProblem(
            503, "Too many pages are being read at the moment.", "Try again in a few seconds.", retry_after_seconds=5
        ) from None


def share_places(size: int) -> Turns:
    """Places for the queries of pages: half of them for heavy pages, a quarter for what reads whole datasets."""
    return Turns(size, {HEAVY: max(1, size // 2), WHOLE: max(1, size // 4)})
