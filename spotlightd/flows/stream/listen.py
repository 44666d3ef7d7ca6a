"""Listening to one venue: every frame into the spool at once, every span in which frames may be missing into `gaps`.

The reader never waits for the bus or for the ledger while frames come: what the spool has no room for is shed, and said.

A venue that refuses part of what we asked goes on sending the rest. So a connection with trouble is kept, its span is a
gap all the same, and only when it ends there is a long pause.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Literal

from spotlightd.flows.stream.gaps import Minutes, moment
from spotlightd.flows.stream.outages import Moment, Outages
from spotlightd.flows.stream.timing import Backoff, Clock, ListenerTiming
from spotlightd.flows.stream.venue_numbers import VenueSequence
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import Frame
from spotlightd.model.offsets import Cause, FeedState
from spotlightd.model.stream import Feed, FeedError, Stream
from spotlightd.ports.bus import Spool
from spotlightd.ports.ledger import Positions
from spotlightd.ports.metrics import Meters
from spotlightd.ports.publisher import Connect, Socket
from spotlightd.settings import sources
from spotlightd.tasks import together

SAYS_LETTERS = 300
WORRYING_TRIES = 3  # so many failed tries, and the operator is told

Doing = Literal["connecting", "connected", "waiting", "refused", "stopped"]


class Listening:
    """The flow that listens to one stream; `state` may be asked at any time.

    `last_received` is when the last frame was received that is durable, of any process before this one.
    """

    def __init__(
        self,
        stream: Stream,
        feed: Feed,
        connect: Connect,
        spool: Spool,
        positions: Positions,
        meters: Meters,
        limits: sources.StreamsSettings,
        *,
        last_received: datetime | None = None,
        patience: ListenerTiming | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._stream, self._feed, self._limits = stream, feed, limits
        self._connect, self._spool, self._positions, self._meters = connect, spool, positions, meters
        self._last_received = last_received
        self._patience, self._clock = patience or ListenerTiming(), clock or Clock()
        self._minutes = Minutes(stream.name, positions, meters, self._patience.settle)
        self._outages = Outages(stream.name, self._minutes)
        self._numbers = VenueSequence(stream, self._minutes, self._refilled, self._patience, self._clock)
        self._backoff = Backoff(self._patience, limits, self._clock)
        self._log = logger(source=stream.name)
        self._connection, self._sequence = 0, 0
        self._frames, self._size, self._connects, self._shed = 0, 0, 0, 0
        self._counted, self._beaten_frames = (0, 0, 0), 0
        self._heard: Moment | None = None  # all that was sent until then is promised, but for open outages
        self._kept: Moment | None = None
        self._last_frame = 0
        self._room_at, self._beaten = 0.0, -math.inf
        self._doing: Doing = "connecting"
        self._doing_since = self._clock.wall()
        self._says = ""

    def state(self) -> FeedState:
        """What it is doing now."""
        full = self._outages.full
        return FeedState(
            source=self._stream.name, state=self._doing, since=moment(self._doing_since), symbols=self._feed.symbols,
            frames=self._frames, size=self._size, connects=self._connects, shed=self._shed,
            last_frame_at=moment(self._last_frame) if self._last_frame else None,
            shed_since=moment(full.since) if full else None, says=self._says or self._shedding(),
        )  # fmt: skip

    async def __call__(self, report: Reporter) -> None:
        """Listen until told to stop."""
        async with self._minutes.writing():
            report.expects(60 / self._patience.pulse)
            await self._begin()
            try:
                works = {"connections": self._connections(report), "holes": self._numbers.settling()}
                await together(works, prefix=f"{self._stream.name} ")
            except asyncio.CancelledError:
                self._stopped()
                raise
            except BaseException as problem:
                self._ended("crash", f"a mistake of ours: {type(problem).__name__}")
                raise

    async def _begin(self) -> None:
        """What the process before this one left behind. Nothing to say when there was none, or after a restart in here."""
        if self._heard is not None:
            return
        noted = await self._positions.feed(self._stream.name)
        self._heard = self._now()
        self._outages.left_behind(noted, self._last_received)

    # -- connections ---------------------------------------------------------------------------------------------------

    async def _connections(self, report: Reporter) -> None:
        while True:
            self._beat(report, always=True)
            self._backoff.began()
            begun, before = self._clock.now(), self._frames
            problem = await self._one(report)
            cause: Cause = "refused by the venue" if self._outages.trouble else problem.cause
            self._ended(cause, self._clean(str(problem)))
            ended = FeedError(cause, "", retry_after_seconds=problem.retry_after_seconds)
            pause = self._backoff.pause(ended, lived=self._clock.now() - begun, frames=self._frames - before)
            self._pausing(report, cause, pause)
            self._meters.retried(self._stream.name)
            await self._pause(report, pause)

    async def _pause(self, report: Reporter, seconds: float) -> None:
        until = self._clock.now() + seconds
        while (left := until - self._clock.now()) > 0:
            await self._clock.sleep(min(left, self._patience.pulse))
            self._beat(report)

    async def _one(self, report: Reporter) -> FeedError:
        """One connection from begin to end; why it ended."""
        override = self._limits.addresses.get(self._stream.name, "")
        self._turn_to("connecting")
        self._connects += 1
        begun = self._clock.now()
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
                await self._subscribed(report, self._clock.now() - begun)
                return await self._receiving(socket, report)
        except FeedError as problem:
            return problem

    async def _subscribed(self, report: Reporter, handshake: float) -> None:
        """Frames can come again: the outage is over, and is written down before the first of them is taken.

        What we asked for is still on its way to the venue: it may take as long as the handshake did, in seconds.
        """
        self._heard = self._now()
        self._connection, self._sequence = self._clock.number(), 0
        self._numbers.begin()
        self._outages.regained(Moment(self._heard.wall + int(handshake * 1e9), self._heard.now + handshake))
        await self._minutes.settled()
        self._meters.connected(self._stream.name, now=True)
        self._log.info("feed connected", connects=self._connects, symbols=len(self._feed.symbols))
        self._turn_to("connected")
        self._tell(report, 0.0)

    async def _receiving(self, socket: Socket, report: Reporter) -> FeedError:
        """Take what comes, until nothing does for too long."""
        stale, beat = self._stream.stale_seconds, self._patience.beat
        heard = turned = self._clock.now()
        while True:
            value = await socket.receive(min(beat, stale))
            now = self._clock.now()
            if value is not None:
                heard = now
                self._took(value, Moment(self._clock.wall(), now))
            elif now - heard >= stale:
                return FeedError("stale", f"no frame for {stale:g} s, pings included")
            if now - turned >= beat:
                self._tell(report, now - turned)
                turned = now

    # -- frames --------------------------------------------------------------------------------------------------------

    def _took(self, value: bytes, received: Moment) -> None:
        self._keep(value, received)
        self._heard = received
        self._last_frame = received.wall
        if self._stream.numbered is not None:
            self._numbers.saw(value, received.wall)
        said = self._stream.trouble(value)
        if said and self._outages.trouble is None:
            self._outages.refused(self._clean(said), received)
            self._turn_to("refused", self._clean(said))

    def _keep(self, value: bytes, received: Moment) -> bool:
        """Put a frame into the spool; False when it was shed.

        Only a frame that was taken uses up a number: one that is missing on the bus was lost there, not shed here.
        """
        frame = Frame(self._connection, self._sequence, received.wall, value)
        self._frames += 1
        self._size += len(value)
        full = self._outages.full
        if (full is None or received.now >= self._room_at) and self._spool.put(self._stream.name, frame):
            self._sequence += 1
            self._outages.room(received)
            self._kept = received
            return True
        if full is None or received.now >= self._room_at:
            self._room_at = received.now + self._patience.shed
        self._outages.shed(self._kept or received)
        self._shed += 1
        return False

    def _refilled(self, value: bytes) -> bool:
        return self._connection != 0 and self._keep(value, self._now())

    def _ended(self, cause: Cause, says: str) -> None:
        self._meters.connected(self._stream.name, now=False)
        self._log.warning("feed lost", cause=cause, says=says)
        self._outages.ended(cause, says, self._heard or self._now())

    def _stopped(self) -> None:
        self._numbers.stopped()
        self._outages.stopped(self._now())
        self._meters.connected(self._stream.name, now=False)
        self._turn_to("stopped")
        self._count()

    # -- telling -------------------------------------------------------------------------------------------------------

    def _pausing(self, report: Reporter, cause: Cause, pause: float) -> None:
        outage = self._outages.lost
        said = (outage.last or outage.says) if outage else ""
        says = f"{cause}: {said}; next try in {pause:.1f} s"
        refused = cause == "refused by the venue"
        self._turn_to("refused" if refused else "waiting", says)
        if refused or (outage is not None and outage.count >= WORRYING_TRIES):
            report.holding(says)
        else:
            report.waiting(says)
        self._count()

    def _beat(self, report: Reporter, *, always: bool = False) -> None:
        """A heartbeat, if one is due."""
        now = self._clock.now()
        if always or now - self._beaten >= self._patience.pulse:
            something, self._beaten_frames = self._frames != self._beaten_frames, self._frames
            self._beaten = now
            report.beat(queue=self._spool.depth(self._stream.name)[0], did_something=something)

    def _tell(self, report: Reporter, seconds: float) -> None:
        self._beat(report)
        frames, trouble = self._count(), self._outages.trouble
        if trouble is not None:
            report.holding(trouble.says)
        elif shedding := self._shedding():
            report.holding(shedding)
        else:
            rate = frames / seconds if seconds else 0.0
            report.waiting(f"connected since {_shown(self._doing_since)}, {rate:,.0f} frames/s")

    def _shedding(self) -> str:
        full, why = self._outages.full, self._spool.trouble
        said = f"{full.count:,} frames shed since {_shown(full.since)}" if full else ""
        return f"the spool is full: {said}{why and '; '}{why}" if full else ""

    def _count(self) -> int:
        """Hand the counts on; how many frames there were since the last time."""
        frames, size, shed = (
            now - before
            for now, before in zip((self._frames, self._size, self._shed), self._counted, strict=True)
        )  # fmt: skip
        self._counted = (self._frames, self._size, self._shed)
        if frames:
            self._meters.received(self._stream.name, frames=frames, size=size)
        if shed:
            self._meters.shed(self._stream.name, frames=shed)
        waiting, bytes_ = self._spool.depth(self._stream.name)  # told here, where no outage of the bus stops it
        self._meters.spooled(self._stream.name, frames=waiting, size=bytes_)
        return frames

    def _now(self) -> Moment:
        return Moment(self._clock.wall(), self._clock.now())

    def _turn_to(self, doing: Doing, says: str = "") -> None:
        self._doing, self._doing_since, self._says = doing, self._clock.wall(), says

    def _clean(self, text: str) -> str:
        """What a venue says, on one line, not endless, and without our key should it say that."""
        shown = text.replace(self._feed.key, "…") if self._feed.key else text
        return "".join(letter if letter.isprintable() else "?" for letter in shown)[:SAYS_LETTERS]


def _shown(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
