"""From the bus into the table, each frame exactly once: intent, frames, rows, done; recovery counts before it repeats.

The position stands in our ledger for every bus. A bus's own committed offset is told for other people's monitoring and
never read: it expires, and it comes back from the dead in a topic that was made anew. That the log is still the same log
is seen by two things: its id, asked for after each read (so that what was read came from that log), and at the start by
the record before the position, which must carry the key that is known. If it is another log a new epoch begins, with an
alarm, and reading starts at its beginning: no high-water mark is ever trusted, so nothing is skipped.

Reading goes on while a batch is being inserted; batches of one partition are inserted one after the other.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from time import monotonic, time_ns
from typing import Any

import numpy as np

from spotlightd.flows.epochs import Beginning, received
from spotlightd.flows.move import Mover, cut
from spotlightd.flows.parts import Parts
from spotlightd.flows.seen import Hole, Seen, day_of, keys_of
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import Bus, Records, Spool
from spotlightd.model.drain import DrainState, Epoch, Gap, Intent, LostFrame, Position, Positions
from spotlightd.model.errors import OffsetError, StoreError
from spotlightd.model.meters import Meters
from spotlightd.model.ports import Warehouse
from spotlightd.model.settings import Streams
from spotlightd.model.stream import Stream, frames_of
from spotlightd.tasks import together

FIRST_HOLD_SECONDS = 0.5
LONGEST_HOLD_SECONDS = 15.0
LAST_MOVE_SECONDS = 4.0  # what is being moved when we are told to stop may finish; else it is settled at the next start
TIDY_SECONDS = 1.0
HOLE_SECONDS = 30.0
DAY_OVER_SECONDS = 120.0
BEATS_PER_MINUTE = 30.0  # an idle reader comes round every second; a batch may take longer

Trim = Callable[[Stream, Mapping[int, int]], Awaitable[None]]
Resend = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Means:
    """What all drains work with. `trim` frees what is drained from a log of our own; `resend` has a spool send again
    what it holds. Both are None where they do not apply.
    """

    bus: Bus
    spool: Spool
    warehouse: Warehouse
    positions: Positions
    parts: Parts
    meters: Meters
    settings: Streams
    trim: Trim | None = None
    resend: Resend | None = None


class Draining:
    """The flow that drains one stream. Holds while a store fails; nothing is ever skipped to go on."""

    def __init__(self, source: Stream, means: Means) -> None:
        self._source, self._means = source, means
        self._mover = Mover(source, means.warehouse)
        self._seen = Seen(means.warehouse, frames_of(source).name)
        self._states: dict[int, DrainState] = {}
        self._epoch = 0
        self._holes: list[tuple[float, Hole, Gap]] = []
        self._last: dict[int, int] = {}  # by connection, when its last frame was received

    def states(self) -> tuple[DrainState, ...]:
        """How far each partition is."""
        return tuple(self._states.values())

    async def __call__(self, report: Reporter) -> None:
        failures = 0
        report.expects(BEATS_PER_MINUTE)
        while True:
            began = monotonic()
            try:
                await self._drain(report)
            except StoreError as problem:
                failures = 0 if monotonic() - began > LONGEST_HOLD_SECONDS else failures + 1
                report.holding(str(problem))
                self._means.meters.retried(self._source.name)
                logger(source=self._source.name).error("drain held", error=str(problem), attempt=failures)
                pause = min(LONGEST_HOLD_SECONDS, FIRST_HOLD_SECONDS * 2 ** min(failures, 8))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    async def _drain(self, report: Reporter) -> None:
        """From where the ledger says, until something fails."""
        self._seen = Seen(self._means.warehouse, frames_of(self._source).name)
        self._holes.clear()
        means = self._means
        epoch, positions = await Beginning(self._source, means.bus, means.positions, self._mover, means.parts).found()
        for at, position in positions.items():
            self._states[at] = DrainState(self._source.name, at, epoch.number, position.offset, position.offset)
        if means.resend and self._epoch not in (0, epoch.number):  # at the start all that is spooled is sent anyway
            means.resend(self._source.name)
        self._epoch = epoch.number
        works = {f"partition {at}": self._partition(report, epoch, position) for at, position in positions.items()}
        await together(works | {"tidy": self._tidy()}, prefix=f"drain {self._source.name} ")

    async def _partition(self, report: Reporter, epoch: Epoch, position: Position) -> None:
        means, at = self._means, position.partition
        moving: asyncio.Task[None] | None = None
        async with means.bus.reading(self._source.name, at, position.offset) as reading:
            try:
                while True:
                    records = await reading.next(
                        frames=means.settings.batch_frames,
                        size=means.settings.batch_bytes,
                        seconds=means.settings.batch_seconds,
                    )
                    if moving is not None and moving.done():
                        await moving
                        moving = None
                    self._say(report, at)
                    if len(records):
                        await self._same_log(epoch)
                        moving = await self._start(records, epoch, at, moving)
            finally:
                await _finished(moving)

    async def _start(
        self, records: Records, epoch: Epoch, at: int, moving: asyncio.Task[None] | None
    ) -> asyncio.Task[None] | None:
        """Move these records after those that are being moved. Answers the task of the last piece."""
        for piece in cut(records):
            keys = keys_of(piece)
            repeats: Any = np.zeros(len(piece), dtype=np.uint8)
            if not self._seen.is_plain(keys):
                await _through(moving)
                repeats = await self._seen.repeats(keys)
            self._note(keys)
            durable = self._seen.durable(keys)
            await _through(moving)
            work = self._move(piece, epoch, at, repeats, durable)
            moving = asyncio.create_task(work, name=f"move {self._source.name} {at} {piece.offsets[0]}")
        return moving

    async def _move(self, piece: Records, epoch: Epoch, at: int, repeats: Any, durable: Mapping[int, int]) -> None:
        source, means, began = self._source, self._means, monotonic()
        first = int(keys_of(piece)["received"][0])
        day = day_of(first)
        async with means.parts.using(source, day) as load:
            intent = Intent(
                source.name, epoch.number, at, piece.offsets[0], piece.offsets[-1] + 1, len(piece), day,
                int(load.covers.rsplit("/", 1)[1]), load.load_id, source.parser, secrets.token_hex(4),
            )  # fmt: skip
            await means.positions.intend(intent)
        if means.resend is None:  # else the forwarder knows better when a frame was on the bus
            means.meters.lagged(source.name, "bus", (time_ns() - first) / 1e9)
        rows, lost = await self._mover.move(intent, piece, repeats)
        means.meters.lagged(source.name, "queryable", (time_ns() - first) / 1e9)
        await means.positions.done(intent, piece.key(len(piece) - 1), lost)
        await means.spool.free(source.name, durable)
        self._moved(intent, piece, rows, lost, monotonic() - began)

    def _moved(self, intent: Intent, piece: Records, rows: int, lost: list[LostFrame], seconds: float) -> None:
        meters, source, size = self._means.meters, self._source.name, sum(map(len, piece.values))
        meters.drained(source, frames=intent.frames, rows=rows, size=size, seconds=seconds)
        if lost:
            meters.rejected(source, frames=len(lost))
            logger(source=source).warning("frames rejected", frames=len(lost), reason=lost[0].reason)
        now = datetime.now(UTC)
        state = self._states[intent.partition]
        lag = (now - received(piece.key(len(piece) - 1))).total_seconds()
        self._states[intent.partition] = replace(
            state, offset=intent.hi, end=max(state.end, intent.hi), batches=state.batches + 1,
            frames=state.frames + intent.frames, rows=state.rows + rows, last_batch_at=now, lag_seconds=lag,
        )  # fmt: skip

    def _note(self, keys: Any) -> None:
        """Remember these frames, and the holes before them: a spool is asked to send what is missing again."""
        before = {one: self._last.get(one) for one in map(int, set(keys["connection"].tolist()))}
        for hole in self._seen.note(keys):
            after = keys["received"][(keys["connection"] == hole.connection) & (keys["sequence"] == hole.hi)]
            until = int(after[0]) if len(after) else time_ns()
            says = f"frames {hole.lo} to {hole.hi - 1} of connection {hole.connection:016x} are not in the log"
            since = before[hole.connection] or until
            gap = Gap(self._source.name, _moment(since), _moment(until), "log lost", says=says)
            self._holes.append((monotonic(), hole, gap))
            logger(source=self._source.name).error("frames missing", says=says)
            if self._means.resend:
                self._means.resend(self._source.name)
        for connection in before:
            self._last[connection] = int(keys["received"][keys["connection"] == connection][-1])

    async def _same_log(self, epoch: Epoch) -> None:
        """Asked after a read: an id is never used again, so what was read came from the log that we know."""
        if await self._means.bus.log_id(self._source.name) != epoch.log_id:
            raise OffsetError(f"topic {self._source.name} was made anew while it was being read")

    def _say(self, report: Reporter, at: int) -> None:
        state = self._states[at]
        if self._means.spool.trouble:
            report.holding(f"received frames are not durable yet: {self._means.spool.trouble}")
        else:
            report.waiting(f"partition {at} drained to offset {state.offset:,}")
        report.beat(lag_seconds=state.lag_seconds, queue=max(0, state.end - state.offset))

    async def _tidy(self) -> None:
        """What need not be done for each batch: lag, holes, days that are over, and what others want to be told."""
        next_days = 0.0
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await self._means.bus.ping()
            ends = await self._means.bus.ends(self._source.name)
            for at, one in ends.items():
                if at in self._states:
                    state = self._states[at]
                    lag = 0.0 if one.end <= state.offset else state.lag_seconds
                    self._states[at] = replace(state, end=one.end, lag_seconds=lag)
                    with suppress(StoreError):  # for other people's monitoring; nothing of ours depends on it
                        await self._means.bus.committed(self._source.name, at, state.offset)
            self._means.meters.behind(
                self._source.name, frames=sum(one.end - one.offset for one in self._states.values())
            )
            waiting, size = self._means.spool.depth(self._source.name)
            self._means.meters.spooled(self._source.name, frames=waiting, size=size)
            await self._give_holes_up()
            if self._means.trim:
                await self._means.trim(self._source, {at: one.offset for at, one in self._states.items()})
            if monotonic() >= next_days:
                await self._close_days()
                next_days = monotonic() + 30.0

    async def _give_holes_up(self) -> None:
        """A hole that nobody filled in time is a gap."""
        patience = HOLE_SECONDS if self._means.resend else 0.0
        ripe = [one for one in self._holes if monotonic() - one[0] >= patience]
        for one in ripe:
            self._holes.remove(one)
            _, hole, gap = one
            if self._seen.give_up(hole):
                await self._means.positions.gap(gap)
                self._means.meters.gap(self._source.name, gap.cause)
                await self._means.spool.free(self._source.name, {hole.connection: self._seen.whole(hole.connection)})

    async def _close_days(self) -> None:
        """Days that are over, once all that is on the bus is drained: bars are made of them then."""
        if any(one.offset < one.end for one in self._states.values()):
            return
        now = datetime.now(UTC)
        for day in await self._means.parts.open_days(self._source):
            over = datetime.combine(day + timedelta(days=1), time(), UTC) + timedelta(seconds=DAY_OVER_SECONDS)
            if now >= over:
                await self._means.parts.close(self._source, day)
                logger(source=self._source.name).info("day closed", day=str(day))


async def _through(moving: asyncio.Task[None] | None) -> None:
    """Wait for a move, if there is one; its failure is the drain's."""
    if moving is not None:
        await moving


async def _finished(moving: asyncio.Task[None] | None) -> None:
    """Let the last move finish, for a while; then end it. Its failure was or will be told by the recovery."""
    if moving is None:
        return
    await asyncio.wait([moving], timeout=LAST_MOVE_SECONDS)
    moving.cancel()
    await asyncio.wait([moving])
    if not moving.cancelled() and (problem := moving.exception()):
        logger().warning("move unfinished", error=str(problem))


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
