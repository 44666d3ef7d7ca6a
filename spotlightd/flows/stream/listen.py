"""Listens to one venue: every frame goes into the spool at once, every span in which frames may be missing into `gaps`.

The reader never waits for the bus or for the ledger while frames arrive. A frame that the spool has no room for is shed,
and recorded as a gap.

A venue that refuses part of a subscription goes on sending the rest. So the listener keeps a connection on which the
venue reports an error. A symbol that the error names is a gap of its own and is asked for again (`feed/refusals.py`). An
error that names none concerns the connection: its span is a gap of all symbols, and when it ends soon, a long pause follows.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from spotlightd.backoff import Clock
from spotlightd.flows.stream.feed.outages import Moment, Outages
from spotlightd.flows.stream.feed.refusals import Refusals
from spotlightd.flows.stream.feed.sleep import SleepWatch
from spotlightd.flows.stream.feed.status import FeedStatus
from spotlightd.flows.stream.feed.tally import Tally
from spotlightd.flows.stream.feed.texts import clean_text
from spotlightd.flows.stream.feed.timing import ListenerTiming, ReconnectBackoff
from spotlightd.flows.stream.feed.venue_numbers import VenueSequence
from spotlightd.flows.stream.gaps import GapJournal
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import Frame
from spotlightd.model.offsets import Cause, FeedState
from spotlightd.model.stream import Feed, FeedError, Stream
from spotlightd.ports.bus import Spool
from spotlightd.ports.ledger import Positions
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.publisher import Connect, Socket
from spotlightd.secret import Secret, remove_secrets
from spotlightd.settings import sources
from spotlightd.tasks import run_together


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
        self._secrets = (Secret(feed.key),) if feed.key else ()
        self._connect, self._spool, self._positions, self._metrics = connect, spool, positions, metrics
        self._last_received = last_received
        self._timing, self._clock = timing or ListenerTiming(), clock or Clock()
        self._journal = GapJournal(stream.name, positions, metrics, self._timing.ledger_wait)
        self._outages = Outages(stream.name, self._journal)
        self._refusals = Refusals(stream.name, self._journal, self._timing, self._clock)
        self._sleep_watch = SleepWatch(self._clock, self._timing.asleep)
        self._sequence_check = VenueSequence(stream, self._journal, self._keep_refilled, self._timing, self._clock)
        self._backoff = ReconnectBackoff(self._timing, limits, self._clock)
        self._log = logger(source=stream.name)
        self._connection, self._sequence = 0, 0
        self._tally = Tally(stream.name, spool, metrics)
        self._status = FeedStatus(
            stream.name, feed.symbols, spool, self._outages, self._refusals, self._tally, self._timing.beat, self._clock
        )
        self._last_activity: Moment | None = None  # all that was sent until then is promised, except in open outages
        self._last_stored: Moment | None = None
        self._retry_spool_at = 0.0

    def state(self) -> FeedState:
        """What it is doing now."""
        return self._status.read()

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
        refused = await self._positions.get_refused_symbols(self._stream.name)
        self._last_activity = self._now()
        self._outages.start_from_ledger(noted, self._last_received)
        self._refusals.start_from_ledger(refused, self._last_activity)

    # -- connections ---------------------------------------------------------------------------------------------------

    async def _keep_connected(self, report: Reporter) -> None:
        while True:
            self._status.beat(report, always=True)
            self._backoff.start_connection()
            started, before = self._clock.now(), self._tally.frames
            problem = await self._run_connection(report)
            cause = self._outages.cause_of(problem.cause)
            self._lose(cause, self._clean(str(problem)))
            ended = FeedError(cause, "", retry_after_seconds=problem.retry_after_seconds)
            pause = self._backoff.pause(ended, lasted=self._clock.now() - started, frames=self._tally.frames - before)
            self._status.report_pause(report, cause, pause)
            self._metrics.count("retries_total", source=self._stream.name)
            await self._pause(report, pause)

    async def _pause(self, report: Reporter, seconds: float) -> None:
        until = self._clock.now() + seconds
        while (left := until - self._clock.now()) > 0:
            await self._clock.sleep(min(left, self._timing.beat))
            self._status.beat(report)

    async def _run_connection(self, report: Reporter) -> FeedError:
        """One connection from begin to end. Returns why it ended."""
        override = self._limits.addresses.get(self._stream.name, "")
        self._status.set("connecting")
        self._tally.connects += 1
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
        self._refusals.start_connection(self._last_activity, handshake)
        wall, now = self._last_activity
        self._outages.regain(Moment(wall + int(handshake * 1e9), now + handshake))
        await self._journal.wait_until_empty()
        self._metrics.gauge("connected", 1, source=self._stream.name)
        self._log.info("feed connected", connects=self._tally.connects, symbols=len(self._feed.symbols))
        self._status.set("connected")
        self._status.report_rate(report, 0.0)

    async def _receive(self, socket: Socket, report: Reporter) -> FeedError:
        """Take frames until none arrives for too long."""
        check, allowed = self._timing.check, self._stream.stale_seconds
        stale = allowed
        last_frame = last_check = self._clock.now()
        self._sleep_watch.start()
        while True:
            try:
                value = await socket.receive(min(check, stale))
            except FeedError:
                self._look_for_sleep()
                raise
            now = self._clock.now()
            if value is not None:
                last_frame, stale = now, allowed
                self._take(value, Moment(self._clock.wall(), now))
            if now - last_check >= check:
                if slept := self._look_for_sleep():
                    last_frame, stale = now, self._timing.awake if slept >= allowed else allowed
                await self._ask_again(socket)
                self._status.report_rate(report, now - last_check)
                last_check = now
            if value is None and now - last_frame >= stale:
                return FeedError("stale", f"no frame for {stale:g} s, pings included")

    def _look_for_sleep(self) -> float:
        """How long this process did not run. What was sent meanwhile may be lost, or may wait in the socket."""
        sleep = self._sleep_watch.look()
        if sleep is None:
            return 0.0
        self._outages.fall_asleep(sleep.detail, sleep.since)
        return sleep.seconds

    async def _ask_again(self, socket: Socket) -> None:
        """Ask for refused symbols whose pause is over, on the same connection."""
        symbols = tuple(self._refusals.take_due(self._now()))
        if symbols:
            for text in (self._stream.subscribe or self._stream.hello)(replace(self._feed, symbols=symbols)):
                await socket.send(text)
            self._sleep_watch.start()  # a send may take long, which is no sleep

    # -- frames --------------------------------------------------------------------------------------------------------

    def _take(self, value: bytes, received: Moment) -> None:
        self._keep(value, received)
        self._last_activity = received
        self._tally.last_at = received.wall
        self._outages.wake_up(received)
        if self._stream.venue_number is not None:
            self._sequence_check.note_frame(value, received.wall)
        if error := self._stream.venue_error(value):
            self._note_refusal(error, received)

    def _note_refusal(self, error: str, received: Moment) -> None:
        """An error of the venue concerns the symbols that it names; the connection when it names none."""
        detail = self._clean(error)
        if symbols := self._stream.refused_symbols(error, self._feed.symbols):
            self._refusals.refuse(symbols, detail, received)
        elif self._outages.refused is None:
            self._outages.refuse(detail, received)
            self._status.set("refused", detail)

    def _keep(self, value: bytes, received: Moment) -> bool:
        """Put a frame into the spool; False when it was shed.

        Only a frame that was taken uses up a sequence: one that is missing on the bus was lost there, not shed here.
        """
        frame = Frame(self._connection, self._sequence, received.wall, self._remove_key(value))
        self._tally.add(value)
        full = self._outages.full
        if (full is None or received.now >= self._retry_spool_at) and self._spool.put(self._stream.name, frame):
            self._sequence += 1
            self._outages.end_shedding(received)
            self._last_stored = received
            return True
        if full is None or received.now >= self._retry_spool_at:
            self._retry_spool_at = received.now + self._timing.shed
        self._outages.shed(self._last_stored or received)
        self._tally.shed += 1
        return False

    def _remove_key(self, value: bytes) -> bytes:
        """The frame as it is stored, shown, exported and archived: a venue may repeat our key, in an error for instance."""
        return remove_secrets(value.decode("latin-1"), self._secrets).encode("latin-1") if self._secrets else value

    def _keep_refilled(self, value: bytes) -> bool:
        return self._connection != 0 and self._keep(value, self._now())

    def _lose(self, cause: Cause, detail: str) -> None:
        self._metrics.gauge("connected", 0, source=self._stream.name)
        self._log.warning("feed lost", cause=cause, detail=detail)
        last = self._last_activity or self._now()
        self._outages.lose(cause, detail, last)
        self._refusals.end_all(last)

    def _stop(self) -> None:
        self._sequence_check.stop()
        self._refusals.end_all(self._now())
        self._outages.stop(self._now())
        self._metrics.gauge("connected", 0, source=self._stream.name)
        self._status.set("stopped")
        self._tally.report()

    def _now(self) -> Moment:
        return Moment(self._clock.wall(), self._clock.now())

    def _clean(self, text: str) -> str:
        return clean_text(text, self._feed.key)
