"""Who reads next: kinds of pages take turns, and the kinds that take long have a bounded part of the places.

With one queue for all, an ordinary page waited behind 150 pages that each read a whole dataset.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

HEAVY = "heavy"
"""Pages that may read a whole dataset."""
WHOLE = "whole"
"""Downloads until their first byte, and citations: they read a whole dataset, with the wide limits of downloads."""


class TooManyWaitingError(Exception):
    """So many of a kind wait for a place that one more is refused."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """A wait for a place; `given` is done when the place is there."""

    page: object
    given: asyncio.Future[None]


@dataclass(slots=True)
class Turns:
    """At most `size` hold a place. `parts` bounds kinds to fewer. Those who wait get places kind by kind, in turn.

    `most_waiting` bounds how many pages of a kind may wait: more would take the connections of all other readers.
    """

    size: int
    parts: Mapping[str, int] = field(default_factory=dict)
    most_waiting: Mapping[str, int] = field(default_factory=dict)
    _holders: Counter[str] = field(default_factory=Counter)
    _waiting: dict[str, deque[_Ticket]] = field(default_factory=dict)

    def of(self, kind: str, page: object = None) -> Turn:
        """A place for that kind, held while an `async with` block runs. `page` has all places of one page in common."""
        return Turn(self, kind, page)

    def count_waiting(self, kind: str) -> int:
        return len(self._waiting.get(kind, ()))

    async def take(self, kind: str, page: object = None) -> None:
        """Wait for a place. TooManyWaitingError when too many pages of the kind wait already."""
        self._check_waiting(kind, page)
        ticket = _Ticket(page, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(kind, deque()).append(ticket)
        self._give_places()
        try:
            await ticket.given
        except asyncio.CancelledError:
            if ticket.given.cancelled():
                self._forget(kind, ticket)
            else:
                self.leave(kind)  # it got the place in the moment in which it was cancelled
            raise

    def leave(self, kind: str) -> None:
        """Give the place back."""
        self._holders[kind] -= 1
        self._give_places()

    def _check_waiting(self, kind: str, page: object) -> None:
        if kind in self.most_waiting:
            pages = {ticket.page for ticket in self._waiting.get(kind, ())}
            if page not in pages and len(pages) >= self.most_waiting[kind]:
                raise TooManyWaitingError

    def _forget(self, kind: str, ticket: _Ticket) -> None:
        queue = self._waiting.get(kind, deque())
        if ticket in queue:
            queue.remove(ticket)
        if not queue:
            self._waiting.pop(kind, None)

    def _give_places(self) -> None:
        while self._holders.total() < self.size and (kind := self._find_kind()) is not None:
            queue = self._waiting.pop(kind)
            given = queue.popleft().given
            if queue:
                self._waiting[kind] = queue  # behind all other kinds
            if not given.done():
                self._holders[kind] += 1
                given.set_result(None)

    def _find_kind(self) -> str | None:
        """The kind that has waited longest for its turn, of those that may have one more place."""
        return next((kind for kind in self._waiting if self._holders[kind] < self.parts.get(kind, self.size)), None)


@dataclass(frozen=True, slots=True)
class Turn:
    """A place among turns, for an `async with` block. It may be entered several times, for a place each."""

    turns: Turns
    kind: str
    page: object

    async def __aenter__(self) -> None:
        await self.turns.take(self.kind, self.page)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.turns.leave(self.kind)


def share_places(size: int, connections: int) -> Turns:
    """Places for the queries of pages: half of them for heavy pages, a quarter for what reads whole datasets. Of the
    connections, half may wait with heavy pages, and an eighth with what reads whole datasets.
    """
    parts = {HEAVY: max(1, size // 2), WHOLE: max(1, size // 4)}
    return Turns(size, parts, {HEAVY: connections // 2, WHOLE: connections // 8})
