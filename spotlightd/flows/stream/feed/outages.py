"""The outages of a feed that are not over: spans in which nothing is promised. Each becomes a gap when it ends.

A gap begins with the last frame that was received before it. It ends when the new subscription should have reached the
venue (it was sent, and as much time has passed as the handshake took), or when there was room again. The gap's detail
says how often connecting was tried in between. Each outage is one row.

What a killed process could not record is known all the same: from `listening`, `shedding` or `refused`, which the ledger
holds with the time from which nothing was promised, and from the last frame that is durable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from spotlightd.flows.stream.gaps import GapJournal, to_datetime, to_nanoseconds
from spotlightd.model.offsets import Cause, Gap, OpenGap


@dataclass(slots=True)
class Outage:
    """Nothing is promised from `since` (nanoseconds) on. `count` is the number of failed tries, or of shed frames.

    `started` is the same moment in seconds of the monotonic clock; None when another process recorded it.
    """

    since: int
    cause: Cause
    detail: str
    started: float | None = None
    count: int = 0
    last_error: str = ""

    def span(self, wall: int, now: float) -> tuple[int, int]:
        """Begin and end in nanoseconds. The length is right even if the wall clock was set back meanwhile."""
        if wall >= self.since:
            return self.since, wall
        if self.started is None:
            return wall, self.since
        return wall - int((now - self.started) * 1e9), wall


class Moment(NamedTuple):
    """One moment by both clocks: `wall` in nanoseconds since 1970, `now` in monotonic seconds.

    A tuple, because one is created for each frame, and a frozen dataclass takes twice as long.
    """

    wall: int
    now: float


class Outages:
    """The open outages of one feed: no connection (`lost`), no room (`full`), refused in part (`refused`), or no frame
    yet since this process did not run (`asleep`).
    """

    def __init__(self, source: str, journal: GapJournal) -> None:
        self._source = source
        self._journal = journal
        self.lost: Outage | None = None
        self.full: Outage | None = None
        self.refused: Outage | None = None
        self.asleep: Outage | None = None

    def start_from_ledger(self, noted: tuple[str, datetime] | None, last_received: datetime | None) -> None:
        """Continue from the last note of the process before this one, and from its last durable frame."""
        state, at = noted or ("listening", last_received)
        last = last_received or at
        if last is None or at is None:
            return
        since = min(at, last) if state in {"shedding", "refused"} else last
        details = {"stopped": "the daemon was stopped", "listening": "the daemon ended unexpectedly"}
        detail = details.get(state, f"the daemon ended unexpectedly, while {state} since {at.isoformat()}")
        self.lost = Outage(to_nanoseconds(since), "stopped" if state == "stopped" else "crash", detail)

    def lose(self, cause: Cause, detail: str, last: Moment) -> None:
        """A connection ended or failed. Everything sent before `last` was received. The first cause is kept."""
        if self.lost is not None:
            self.lost.count += 1
            self.lost.last_error = detail
        elif (before := self.refused or self.asleep) is not None:
            self.lost = replace(before, cause=cause, detail=f"{before.detail}; then {detail}")
        else:
            self.lost = Outage(last.wall, cause, detail, last.now)
        self.asleep = None

    def cause_of(self, cause: Cause) -> Cause:
        """Why a connection ended, given what ended it: a refusal or a sleep before it is the cause of its end."""
        before = self.refused or self.asleep
        return before.cause if before is not None else cause

    def fall_asleep(self, detail: str, last: Moment) -> None:
        """Nothing ran here after `last`. The connection may be dead, or may still deliver what was sent."""
        if self.lost is None and self.asleep is None:
            self.asleep = Outage(last.wall, "asleep", detail, last.now)

    def wake_up(self, at: Moment) -> None:
        """A frame of the connection that was open before the sleep arrived."""
        if self.asleep is not None:
            asleep, self.asleep = self.asleep, None
            self._end(asleep, at)

    def regain(self, at: Moment) -> None:
        """Subscribed again."""
        if self.lost is not None:
            self._end(self.lost, at)
        self.lost = self.refused = self.asleep = None
        self._note(at)

    def shed(self, since: Moment) -> None:
        """A frame found no room. The last frame that found room was received at `since`."""
        if self.full is None:
            self.full = Outage(since.wall, "spool full", "the spool had no room", since.now)
            self._note(since)
        self.full.count += 1

    def end_shedding(self, at: Moment) -> None:
        """A frame received at that moment found room."""
        if self.full is not None:
            full, self.full = self.full, None
            self._end(full, at)
            self._note(at)

    def refuse(self, detail: str, at: Moment) -> None:
        """The venue refused part of the subscription, and may go on sending the rest."""
        self.refused = Outage(at.wall, "refused by the venue", detail, at.now)
        self._note(at)

    def stop(self, at: Moment) -> None:
        """The daemon stops: open outages are recorded up to now."""
        for outage in (self.lost or self.refused, self.asleep, self.full):
            if outage is not None:
                self._end(outage, at)
        self.lost = self.full = self.refused = self.asleep = None
        self._journal.add_note("stopped", to_datetime(at.wall))

    def open_gaps(self, at: Moment) -> Iterator[OpenGap]:
        """The gaps that will be recorded when these outages are over, each from where its row will begin."""
        for outage in (self.lost or self.refused, self.asleep, self.full):
            if outage is not None:
                since, _ = outage.span(at.wall, at.now)
                yield OpenGap(to_datetime(since), outage.cause, "", _describe(outage))

    def _note(self, at: Moment) -> None:
        """Record what the next process needs to know if this one is killed."""
        for state, outage in (("shedding", self.full), ("refused", self.refused)):
            if outage is not None:
                self._journal.add_note(state, to_datetime(outage.since))
                return
        self._journal.add_note("listening", to_datetime(at.wall))

    def _end(self, outage: Outage, at: Moment) -> None:
        since, until = outage.span(at.wall, at.now)
        ended = to_datetime(until + 999)  # rounded up: a gap must not end before it did
        self._journal.add_gap(Gap(self._source, to_datetime(since), ended, outage.cause, detail=_describe(outage)))


def _describe(outage: Outage) -> str:
    if outage.cause == "spool full":
        return f"{outage.detail}: {outage.count:,} frames were shed"
    if outage.count:
        return f"{outage.detail}; {outage.count:,} more tries failed, the last: {outage.last_error}"
    return outage.detail
