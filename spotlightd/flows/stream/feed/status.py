"""What a listener reports of itself: its state, its counts and its heartbeats."""

from __future__ import annotations

import math
from typing import Literal

from spotlightd.backoff import Clock
from spotlightd.flows.stream.feed.outages import Moment, Outages
from spotlightd.flows.stream.feed.refusals import Refusals
from spotlightd.flows.stream.feed.tally import Tally
from spotlightd.flows.stream.feed.texts import format_time
from spotlightd.flows.stream.gaps import to_datetime
from spotlightd.flows.supervise import Reporter
from spotlightd.model.offsets import Cause, FeedState
from spotlightd.ports.bus import Spool

HOLDING_TRIES = 3  # after so many failed tries the flow reports that it holds

State = Literal["connecting", "connected", "waiting", "refused", "stopped"]


class FeedStatus:
    """The status of one feed. A beat is due every `beat_seconds`."""

    def __init__(
        self,
        source: str,
        symbols: tuple[str, ...],
        spool: Spool,
        outages: Outages,
        refusals: Refusals,
        tally: Tally,
        beat_seconds: float,
        clock: Clock,
    ) -> None:
        self._source, self._symbols, self._spool, self._tally = source, symbols, spool, tally
        self._outages, self._refusals = outages, refusals
        self._beat_seconds, self._clock = beat_seconds, clock
        self._beat_frames, self._beat_at = 0, -math.inf
        self._state: State = "connecting"
        self._since = clock.wall()
        self._detail = ""

    def read(self) -> FeedState:
        """What the listener is doing now."""
        tally, now = self._tally, Moment(self._clock.wall(), self._clock.now())
        return FeedState(
            source=self._source, state=self._state, since=to_datetime(self._since), symbols=self._symbols,
            frames=tally.frames, size=tally.size, connects=tally.connects, shed=tally.shed,
            last_frame_at=to_datetime(tally.last_at) if tally.last_at else None,
            open_gaps=(*self._outages.open_gaps(now), *self._refusals.open_gaps()),
            detail=self._detail or self._describe_shedding(),
        )  # fmt: skip

    def set(self, state: State, detail: str = "") -> None:
        self._state, self._since, self._detail = state, self._clock.wall(), detail

    def report_pause(self, report: Reporter, cause: Cause, pause: float) -> None:
        """A connection ended or failed; the next try is after a pause."""
        outage = self._outages.lost
        error = (outage.last_error or outage.detail) if outage else ""
        message = f"{cause}: {error}; next try in {pause:.1f} s"
        is_refused = cause == "refused by the venue"
        self.set("refused" if is_refused else "waiting", message)
        if is_refused or (outage is not None and outage.count >= HOLDING_TRIES):
            report.set_holding(message)
        else:
            report.set_waiting(message)
        self._tally.report()

    def beat(self, report: Reporter, *, always: bool = False) -> None:
        """A heartbeat, if one is due."""
        now = self._clock.now()
        if always or now - self._beat_at >= self._beat_seconds:
            frames = self._tally.frames
            did_something, self._beat_frames = frames != self._beat_frames, frames
            self._beat_at = now
            report.beat(queue=self._spool.depth(self._source)[0], did_something=did_something)

    def report_rate(self, report: Reporter, seconds: float) -> None:
        """Connected: how many frames came in these seconds, or what is not as it should be."""
        self.beat(report)
        frames, refused = self._tally.report(), self._outages.refused
        if refused is not None:
            report.set_holding(refused.detail)
        elif error := self._describe_shedding() or self._refusals.describe():
            report.set_holding(error)
        else:
            rate = frames / seconds if seconds else 0.0
            report.set_waiting(f"connected since {format_time(self._since)}, {rate:,.0f} frames/s")

    def _describe_shedding(self) -> str:
        full, error = self._outages.full, self._spool.error
        if not full:
            return ""
        return f"the spool is full: {full.count:,} frames shed since {format_time(full.since)}{error and '; '}{error}"
