"""The numbers of one channel of a venue: which are missing, which come late, and when the venue counts anew. Pure.

A number that is not above the highest is late when it is in a hole that is not older than the grace period. Otherwise the venue may have begun to count anew:
after a restart of its own, or because its numbers wrapped. As in RTP (RFC 3550, A.1) one such frame proves nothing. Two
in a row with rising numbers do, and the count goes on from the first of them, so that holes after it are seen. A venue
that sends a run of old frames again looks the same, and is reported as the same: a gap too many hides nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

HOLES_MOST = 100
MISORDER_MOST = 100  # as in RFC 3550: frames are not out of order by more


@dataclass(slots=True)
class Hole:
    """Numbers `first` to `last` of a channel are missing; those in `arrived` came late. `due` is the end of the grace
    period. `is_refillable`: the venue still counts as it did, so these numbers still name the same frames.
    """

    channel: str
    first: int
    last: int
    since: int
    until: int
    due: float
    arrived: set[int] = field(default_factory=set)
    is_refillable: bool = True

    @property
    def is_filled(self) -> bool:
        return len(self.arrived) > self.last - self.first


@dataclass(frozen=True, slots=True)
class Restart:
    """The venue counts anew from `first`, after `highest`. The frames on both sides were received at `since` and `until`."""

    channel: str
    highest: int
    first: int
    since: int
    until: int


@dataclass(slots=True)
class ChannelNumbers:
    """One count of a channel. `received` is when its highest number was received, in nanoseconds since 1970.

    `holes` are its newest holes, filled or not. `suspect` is the number and time of a frame that may have begun another
    count. `former` is the highest number of the count before; until `former_until` its frames may still arrive.
    """

    channel: str
    highest: int
    received: int
    holes: deque[Hole] = field(default_factory=lambda: deque(maxlen=HOLES_MOST))
    suspect: tuple[int, int] | None = None
    former: int | None = None
    former_until: float = 0.0

    def note(self, number: int, received: int, *, now: float, grace: float) -> list[Hole | Restart]:
        """Compare a number with those before it. Returns what it shows to be missing."""
        if number > self.highest:
            return [] if self._is_of_former(number, now) else self._advance(number, received, now + grace)
        if number == self.highest or self._note_late(number, now):
            return []
        if self.suspect is None or number <= self.suspect[0]:
            self.suspect = (number, received)
            return []
        return [self._begin_anew(now + grace), *self._advance(number, received, now + grace)]

    def _advance(self, number: int, received: int, due: float) -> list[Hole | Restart]:
        found: list[Hole | Restart] = []
        if number > self.highest + 1:
            hole = Hole(self.channel, self.highest + 1, number - 1, self.received, received, due)
            self.holes.append(hole)
            found.append(hole)
        self.highest, self.received, self.suspect = number, received, None
        return found

    def _begin_anew(self, due: float) -> Restart:
        """Go on from the suspect, which was no stray frame."""
        first, received = self.suspect or (self.highest, self.received)
        restart = Restart(self.channel, self.highest, first, self.received, received)
        for hole in self.holes:
            hole.is_refillable = False
        self.holes.clear()
        self.former, self.former_until = self.highest, due
        self.highest, self.received, self.suspect = first, received, None
        return restart

    def _note_late(self, number: int, now: float) -> bool:
        """Whether a frame fills a hole, once and in time. After that it may as well be of another count: the holes of a
        venue that has restarted would take its new numbers, and what is lost of those would not be seen.
        """
        for hole in self.holes:
            if hole.first <= number <= hole.last and now < hole.due and number not in hole.arrived:
                hole.arrived.add(number)
                return True
        return False

    def _is_of_former(self, number: int, now: float) -> bool:
        """Whether a frame of the count before came late. Counts that are close cannot be told apart: then it did not."""
        if self.former is None or now >= self.former_until:
            return False
        return number - self.highest > MISORDER_MOST >= abs(number - self.former)
