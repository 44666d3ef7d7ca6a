"""Listens to one venue: every frame goes into the spool at once, every span in which frames may be missing into `gaps`.

The reader never waits for the bus or for the ledger while frames arrive. A frame that the spool has no room for is shed,
and recorded as a gap.

A venue that refuses part of a subscription goes on sending the rest. So the listener keeps a connection on which the
venue reports an error. Its span is a gap all the same, and a long pause follows only when the connection ends.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Literal

from spotlightd.backoff import Clock
from spotlightd.flows.stream.counters import count_received, measure_spool
from spotlightd.flows.stream.gaps import GapJournal, to_datetime
from spotlightd.flows.stream.outages import Moment, Outages
from spotlightd.flows.stream.timing import ListenerTiming, ReconnectBackoff
from spotlightd.flows.stream.venue_numbers import VenueSequence
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import Frame
from spotlightd.model.offsets import Cause, FeedState
from spotlightd.model.stream import Feed, FeedError, Stream
from spotlightd.ports.bus import Spool
from spotlightd.ports.ledger import Positions
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.publisher import Connect, Socket
from spotlightd.settings import sources
from spotlightd.tasks import run_together

DETAIL_LETTERS = 300
HOLDING_TRIES = 3  # after so many failed tries the flow reports that it holds

State = Literal["connecting", "connected", "waiting", "refused", "stopped"]


class Listener:
    """The flow that listens to one stream; `state` may be called at any time.

    `last_received` is when the last durable frame was received, by any process before this one.
    """

    def __init__(
        self,
        stream: Stream,
        feed: Feed,
        connect: Connect,
        spool: Spool,
        positions: Positions,
        metrics: Metrics,
        limits: sources.StreamsSettings,
        *,
        last_received: datetime | None = None,
        timing: ListenerTiming | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._stream, self._feed, self._limits = stream, feed, limits
        self._connect, self._spool, self._positions, self._metrics = connect, spool, positions, metrics
        self._last_received = last_received
        self._timing, self._clock = timing or ListenerTiming(), clock or Clock()
        self._journal = GapJournal(stream.name, positions, metrics, self._timing.ledger_wait)
        self._outages = Outages(stream.name, self._journal)
        self._sequence_check = VenueSequence(stream, self._journal, self._keep_refilled, self._timing, self._clock)
        self._backoff = ReconnectBackoff(self._timing, limits, self._clock)
        self._log = logger(source=stream.name)
        self._connection, self._sequence = 0, 0
        self._frames, self._size, self._connects, self._shed = 0, 0, 0, 0
        self._counted, self._beat_frames = (0, 0, 0), 0
        self._last_activity: Moment | None = None  # all that was sent until then is promised, except in open outages
        self._last_stored: Moment | None = None
        self._last_frame = 0
        self._retry_spool_at, self._beat_at = 0.0, -math.inf
        self._state: State = "connecting"
        self._state_since = self._clock.wall()
        self._detail = ""

    def state(self) -> FeedState:
        """What it is doing now."""
        full = self._outages.full
        return FeedState(
            source=self._stream.name, state=self._state, since=to_datetime(self._state_since),
            symbols=self._feed.symbols, frames=self._frames, size=self._size, connects=self._connects, shed=self._shed,
            last_frame_at=to_datetime(self._last_frame) if self._last_frame else None,
            shed_since=to_datetime(full.since) if full else None, detail=self._detail or self._describe_shedding(),
        )  # fmt: skip

    async def __call__(self, report: Reporter) -> None:
        """Listen until cancelled."""
        async with self._journal.write_in_background():
            report.expect_beats(60 / self._timing.beat)
            await self._start()
            try:
                works = {"connections": self._keep_connected(report), "holes": self._sequence_check.recover_holes()}
                await run_together(works, prefix=f"{self._stream.name} ")
            except asyncio.CancelledError:
                self._stop()
                raise
            except BaseException as problem:
                self._lose("crash", f"a bug in spotlightd: {type(problem).__name__}")
                raise

    async def _start(self) -> None:
        """Continue from what the last process recorded. Nothing to do at a restart within the process."""
        if self._last_activity is not None:
            return
        noted = await self._positions.get_feed_state(self._stream.name)
        self._last_activity = self._now()
        self._outages.start_from_ledger(noted, self._last_received)

    # -- connections ---------------------------------------------------------------------------------------------------

    async def _keep_connected(self, report: Reporter) -> None:
        while True:
            self._beat(report, always=True)
            self._backoff.start_connection()
            started, before = self._clock.now(), self._frames
            problem = await self._run_connection(report)
            cause: Cause = "refused by the venue" if self._outages.refused else problem.cause
            self._lose(cause, self._clean(str(problem)))
            ended = FeedError(cause, "", retry_after_seconds=problem.retry_after_seconds)
            pause = self._backoff.pause(ended, lasted=self._clock.now() - started, frames=self._frames - before)
            self._report_pause(report, cause, pause)
            self._metrics.count("retries_total", source=self._stream.name)
            await self._pause(report, pause)

    async def _pause(self, report: Reporter, seconds: float) -> None:
        until = self._clock.now() + seconds
        while (left := until - self._clock.now()) > 0:
            await self._clock.sleep(min(left, self._timing.beat))
            self._beat(report)

    async def _run_connection(self, report: Reporter) -> FeedError:
        """One connection from begin to end. Returns why it ended."""
        override = self._limits.addresses.get(self._stream.name, "")
        self._set_state("connecting")
        self._connects += 1
        started = self._clock.now()
        try:
            async with self._connect(
                override or self._stream.address(self._feed),
                self._stream.hosts,
                connect_seconds=self._limits.connect_seconds,
                ping_seconds=self._stream.ping_seconds,
                max_frame_bytes=self._stream.max_frame_bytes,
                allow_private=bool(override),
            ) as socket:
                for text in self._stream.hello(self._feed):
                    await socket.send(text)
                await self._start_receiving(report, self._clock.now() - started)
                return await self._receive(socket, report)
        except FeedError as problem:
            return problem

    async def _start_receiving(self, report: Reporter, handshake: float) -> None:
        """Record the end of the outage, after the subscription was sent and before the first frame is taken.

        The subscription has not yet reached the venue. It may take as long as the handshake did, so the outage ends
        `handshake` seconds from now.
        """
        self._last_activity = self._now()
        self._connection, self._sequence = self._clock.number(), 0
        self._sequence_check.start_connection()
        wall, now = self._last_activity
        self._outages.regain(Moment(wall + int(handshake * 1e9), now + handshake))
        await self._journal.wait_until_written()
        self._metrics.gauge("connected", 1, source=self._stream.name)
        self._log.info("feed connected", connects=self._connects, symbols=len(self._feed.symbols))
        self._set_state("connected")
        self._report_rate(report, 0.0)

    async def _receive(self, socket: Socket, report: Reporter) -> FeedError:
        """Take frames until none arrives for too long."""
        stale, check = self._stream.stale_seconds, self._timing.check
        last_frame = last_check = self._clock.now()
        while True:
            value = await socket.receive(min(check, stale))
            now = self._clock.now()
            if value is not None:
                last_frame = now
                self._take(value, Moment(self._clock.wall(), now))
            elif now - last_frame >= stale:
                return FeedError("stale", f"no frame for {stale:g} s, pings included")
            if now - last_check >= check:
                self._report_rate(report, now - last_check)
                last_check = now

    # -- frames --------------------------------------------------------------------------------------------------------

    def _take(self, value: bytes, received: Moment) -> None:
        self._keep(value, received)
        self._last_activity = received
        self._last_frame = received.wall
        if self._stream.venue_number is not None:
            self._sequence_check.note_frame(value, received.wall)
        error = self._stream.venue_error(value)
        if error and self._outages.refused is None:
            self._outages.refuse(self._clean(error), received)
            self._set_state("refused", self._clean(error))

    def _keep(self, value: bytes, received: Moment) -> bool:
        """Put a frame into the spool; False when it was shed.

        Only a frame that was taken uses up a sequence: one that is missing on the bus was lost there, not shed here.
        """
        frame = Frame(self._connection, self._sequence, received.wall, value)
        self._frames += 1
        self._size += len(value)
        full = self._outages.full
        if (full is None or received.now >= self._retry_spool_at) and self._spool.put(self._stream.name, frame):
            self._sequence += 1
            self._outages.end_shedding(received)
            self._last_stored = received
            return True
        if full is None or received.now >= self._retry_spool_at:
            self._retry_spool_at = received.now + self._timing.shed
        self._outages.shed(self._last_stored or received)
        self._shed += 1
        return False

    def _keep_refilled(self, value: bytes) -> bool:
        return self._connection != 0 and self._keep(value, self._now())

    def _lose(self, cause: Cause, detail: str) -> None:
        self._metrics.gauge("connected", 0, source=self._stream.name)
        self._log.warning("feed lost", cause=cause, detail=detail)
        self._outages.lose(cause, detail, self._last_activity or self._now())

    def _stop(self) -> None:
        self._sequence_check.stop()
        self._outages.stop(self._now())
        self._metrics.gauge("connected", 0, source=self._stream.name)
        self._set_state("stopped")
        self._count()

    # -- reports -------------------------------------------------------------------------------------------------------

    def _report_pause(self, report: Reporter, cause: Cause, pause: float) -> None:
        outage = self._outages.lost
        error = (outage.last_error or outage.detail) if outage else ""
        message = f"{cause}: {error}; next try in {pause:.1f} s"
        is_refused = cause == "refused by the venue"
        self._set_state("refused" if is_refused else "waiting", message)
        if is_refused or (outage is not None and outage.count >= HOLDING_TRIES):
            report.set_holding(message)
        else:
            report.set_waiting(message)
        self._count()

    def _beat(self, report: Reporter, *, always: bool = False) -> None:
        """A heartbeat, if one is due."""
        now = self._clock.now()
        if always or now - self._beat_at >= self._timing.beat:
            did_something, self._beat_frames = self._frames != self._beat_frames, self._frames
            self._beat_at = now
            report.beat(queue=self._spool.depth(self._stream.name)[0], did_something=did_something)

    def _report_rate(self, report: Reporter, seconds: float) -> None:
        self._beat(report)
        frames, refused = self._count(), self._outages.refused
        if refused is not None:
            report.set_holding(refused.detail)
        elif shedding := self._describe_shedding():
            report.set_holding(shedding)
        else:
            rate = frames / seconds if seconds else 0.0
            report.set_waiting(f"connected since {_format_time(self._state_since)}, {rate:,.0f} frames/s")

    def _describe_shedding(self) -> str:
        full, error = self._outages.full, self._spool.error
        if not full:
            return ""
        return f"the spool is full: {full.count:,} frames shed since {_format_time(full.since)}{error and '; '}{error}"

    def _count(self) -> int:
        """Add the counts since the last call to the metrics. Returns the number of frames."""
        counts = (self._frames, self._size, self._shed)
        frames, size, shed = (now - before for now, before in zip(counts, self._counted, strict=True))
        self._counted = counts
        count_received(self._metrics, self._stream.name, frames=frames, size=size, shed=shed)
        measure_spool(self._metrics, self._stream.name, self._spool)  # here, because this flow goes on without a bus
        return frames

    def _now(self) -> Moment:
        return Moment(self._clock.wall(), self._clock.now())

    def _set_state(self, state: State, detail: str = "") -> None:
        self._state, self._state_since, self._detail = state, self._clock.wall(), detail

    def _clean(self, text: str) -> str:
        """A venue's text on one line, of bounded length, and without our key in case the venue repeats it."""
        text = text.replace(self._feed.key, "…") if self._feed.key else text
        return "".join(letter if letter.isprintable() else "?" for letter in text)[:DETAIL_LETTERS]


def _format_time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
