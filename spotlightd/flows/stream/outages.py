"""The spans of a feed that are not over: in which nothing is promised, and which become gaps when they end.

A gap begins with the last frame that was received before it and ends when the new subscription should have reached the
venue (it was sent, and as much time has passed as the handshake took), or when there was room again; how often it was tried in between stands in its sentence. One row for each.

What a killed process could not write down is known all the same: from `listening`, `shedding` or `refused`, which the
ledger holds with the time from which on nothing was promised, and from the last frame that is durable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from spotlightd.flows.stream.gaps import Minutes, moment, nanoseconds
from spotlightd.model.offsets import Cause, Gap


@dataclass(slots=True)
class Outage:
    """Nothing is promised from `since` (nanoseconds) on. `count` = tries that failed, or frames that were shed.

    `begun` is the same moment in seconds of a clock that never goes back; None for that of another process.
    """

    since: int
    cause: Cause
    says: str
    begun: float | None = None
    count: int = 0
    last: str = ""

    def until(self, wall: int, now: float) -> tuple[int, int]:
        """From when to when it was, in nanoseconds. If the wall clock was set back meanwhile, its length still holds."""
        if wall >= self.since:
            return self.since, wall
        if self.begun is None:
            return wall, self.since
        return wall - int((now - self.begun) * 1e9), wall


class Moment(NamedTuple):
    """One moment by both clocks: `wall` in nanoseconds since 1970, `now` in seconds that never go back.

    A tuple, because one is made for each frame, and a frozen dataclass takes twice as long.
    """

    wall: int
    now: float


class Outages:
    """Those of one feed: without a connection (`lost`), without room (`full`), or refused in part (`trouble`)."""

    def __init__(self, source: str, minutes: Minutes) -> None:
        self._source = source
        self._minutes = minutes
        self.lost: Outage | None = None
        self.full: Outage | None = None
        self.trouble: Outage | None = None

    def left_behind(self, noted: tuple[str, datetime] | None, last_received: datetime | None) -> None:
        """What the process before this one noted, and when it received the last frame that is durable."""
        state, at = noted or ("listening", last_received)
        last = last_received or at
        if last is None or at is None:
            return
        since = min(at, last) if state in {"shedding", "refused"} else last
        said = {"stopped": "the daemon was stopped", "listening": "the daemon ended without a word"}
        says = said.get(state, f"the daemon ended without a word, while {state} since {at.isoformat()}")
        self.lost = Outage(nanoseconds(since), "stopped" if state == "stopped" else "crash", says)

    def ended(self, cause: Cause, says: str, heard: Moment) -> None:
        """A connection ended or could not be made; before that all was heard up to then. The first cause stays."""
        if self.lost is not None:
            self.lost.count += 1
            self.lost.last = says
        elif self.trouble is not None:
            self.lost = replace(self.trouble, cause=cause, says=f"{self.trouble.says}; then {says}")
        else:
            self.lost = Outage(heard.wall, cause, says, heard.now)

    def regained(self, at: Moment) -> None:
        """Subscribed again."""
        if self.lost is not None:
            self._over(self.lost, at)
        self.lost = self.trouble = None
        self._note(at)

    def shed(self, since: Moment) -> None:
        """A frame found no room, and the last that did was received at `since`."""
        if self.full is None:
            self.full = Outage(since.wall, "spool full", "the spool had no room", since.now)
            self._note(since)
        self.full.count += 1

    def room(self, at: Moment) -> None:
        """A frame that was received then found room."""
        if self.full is not None:
            full, self.full = self.full, None
            self._over(full, at)
            self._note(at)

    def refused(self, says: str, at: Moment) -> None:
        """The venue refused something, and may go on sending the rest."""
        self.trouble = Outage(at.wall, "refused by the venue", says, at.now)
        self._note(at)

    def stopped(self, at: Moment) -> None:
        """Told to stop: what is open is written down up to now."""
        for outage in (self.lost or self.trouble, self.full):
            if outage is not None:
                self._over(outage, at)
        self.lost = self.full = self.trouble = None
        self._minutes.note("stopped", moment(at.wall))

    def _note(self, at: Moment) -> None:
        """Write down what a process after this one has to know if this one is killed."""
        for state, outage in (("shedding", self.full), ("refused", self.trouble)):
            if outage is not None:
                self._minutes.note(state, moment(outage.since))
                return
        self._minutes.note("listening", moment(at.wall))

    def _over(self, outage: Outage, at: Moment) -> None:
        says = outage.says
        if outage.cause == "spool full":
            says = f"{says}: {outage.count:,} frames were shed"
        elif outage.count:
            says = f"{says}; {outage.count:,} more tries failed, the last: {outage.last}"
        since, until = outage.until(at.wall, at.now)
        ended = moment(until + 999)  # rounded up: a gap must not end before it did
        self._minutes.gap(Gap(self._source, moment(since), ended, outage.cause, says=says))
