"""From the bus into the table, each frame exactly once: intent, frames, rows, done; recovery counts before it repeats.

The position stands in our ledger for every bus. A bus's own committed offset is told for other people's monitoring and
never read: it expires, and it comes back from the dead in a topic that was made anew. That the log is still the same log
is seen by two things: its id, asked for after each read (so that what was read came from that log), and at the start by
the record before the position, which must carry the key that is known. If it is another log a new epoch begins, with an
alarm, and reading starts at its beginning: no high-water mark is ever trusted, so nothing is skipped.

Small batches are moved one at a time. While large ones are being moved, reading goes on: their frames are inserted one
batch after the other, their rows are decoded side by side, and they are done in order, so that the position never passes
what is still open.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from time import monotonic, time_ns
from typing import Any

import numpy as np

from spotlightd.errors import OffsetError, StoreError
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.counters import count_batch, measure_spool
from spotlightd.flows.stream.loss import LossTracker, StallDetector
from spotlightd.flows.stream.move import Move, Mover, finish_moves, split_by_day, wait_for_move
from spotlightd.flows.stream.parts import part_of
from spotlightd.flows.stream.recovery import DrainRecovery, received_at
from spotlightd.flows.stream.replay import Replay
from spotlightd.flows.stream.sequences import SequenceTracker, day_of, keys_of
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import Records
from spotlightd.model.offsets import DrainState, Epoch, Intent, LostFrame, Position
from spotlightd.model.stream import Stream, frames_of
from spotlightd.tasks import together

FIRST_HOLD_SECONDS = 0.5
LONGEST_HOLD_SECONDS = 15.0
LARGE_FRAMES = 10_000  # smaller batches are sooner done one at a time, and the next one grows meanwhile
MOVES_AT_ONCE = 3  # decoding a batch takes one core: with two cores two decode while frames are inserted
TIDY_SECONDS = 1.0
DAY_OVER_SECONDS = 120.0
BEATS_PER_MINUTE = 30.0  # an idle reader comes round every second; a batch may take longer


class Drain:
    """The flow that drains one stream. Holds while a store fails; nothing is ever skipped to go on."""

    def __init__(self, source: Stream, means: DrainContext, replay: Replay) -> None:
        self._source, self._means, self._replay = source, means, replay
        self._mover = Mover(source, means.warehouse, replay.decoder)
        self._seen = SequenceTracker(means.warehouse, frames_of(source).name)
        self._states: dict[int, DrainState] = {}
        self._moves: set[asyncio.Task[None]] = set()
        self._stuck = StallDetector()
        self._holds = False
        self._missing = LossTracker(source, means)

    def states(self) -> tuple[DrainState, ...]:
        """How far each partition is."""
        return tuple(self._states.values())

    async def __call__(self, report: Reporter) -> None:
        failures = 0
        report.expect_beats(BEATS_PER_MINUTE)
        while True:
            began = monotonic()
            try:
                await self._held(report)
                await self._drain(report)
            except StoreError as problem:
                failures = 0 if monotonic() - began > LONGEST_HOLD_SECONDS else failures + 1
                report.set_holding(str(problem))
                self._means.metrics.count("retries_total", source=self._source.name)
                logger(source=self._source.name).error("drain held", error=str(problem), attempt=failures)
                pause = min(LONGEST_HOLD_SECONDS, FIRST_HOLD_SECONDS * 2 ** min(failures, 8))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    async def _held(self, report: Reporter) -> None:
        """While the disk of the tables is too full: only say what waits. What is drained stands in the ledger."""
        while why := self._means.gate.hold_reason("the sink"):
            report.set_holding(why)
            states = self._states.values()
            report.beat(queue=sum(one.end - one.offset for one in states), did_something=False)
            await self._means.gate.wait_for_change(TIDY_SECONDS)
            await self._measure()

    def _is_to_hold(self) -> bool:
        """Once one part has seen the gate shut all come to their end, though it may be open again by then."""
        self._holds = self._holds or bool(self._means.gate.hold_reason("the sink"))
        return self._holds

    async def _drain(self, report: Reporter) -> None:
        """From where the ledger says, until something fails or the disk of the tables is too full."""
        self._holds = False
        self._seen = SequenceTracker(self._means.warehouse, frames_of(self._source).name)
        self._missing = LossTracker(self._source, self._means)
        means = self._means
        beginning = DrainRecovery(
            self._source, means.bus, means.positions, self._mover, means.parts, self._replay, means.resend, means.archives
        )  # fmt: skip
        epoch, positions = await beginning.found()
        for at, position in positions.items():
            self._states[at] = DrainState(self._source.name, at, epoch.number, position.offset, position.offset)
        works = {f"partition {at}": self._partition(report, epoch, position) for at, position in positions.items()}
        await together(works | {"tidy": self._tidy()}, prefix=f"drain {self._source.name} ")

    async def _partition(self, report: Reporter, epoch: Epoch, position: Position) -> None:
        means, at = self._means, position.partition
        moves: deque[Move] = deque()
        async with means.bus.open_reader(self._source.name, at, position.offset) as reading:
            try:
                many = 0
                while not self._is_to_hold():
                    while moves and many < LARGE_FRAMES:
                        await wait_for_move(moves[0].task)
                        moves.popleft()  # not before: all that runs is ended with us
                    records = await reading.next(
                        frames=means.settings.batch_frames,
                        size=means.settings.batch_bytes,
                        seconds=means.settings.batch_seconds,
                    )
                    many = len(records)
                    while moves and moves[0].task.done():
                        await wait_for_move(moves.popleft().task)
                    self._say(report, at)
                    if len(records):
                        await self._same_log(epoch)
                        for piece in split_by_day(records):
                            await self._begin(piece, epoch, at, moves)
                while moves:  # held: what was begun is brought to its end
                    await wait_for_move(moves[0].task)
                    moves.popleft()
            finally:
                await finish_moves([one.task for one in moves])

    async def _begin(self, piece: Records, epoch: Epoch, at: int, moves: deque[Move]) -> None:
        """Begin to move these records, beside those before."""
        keys = keys_of(piece)
        repeats: Any = np.zeros(len(piece), dtype=np.uint8)
        plain = self._seen.is_plain(keys)
        while len(moves) >= (MOVES_AT_ONCE if plain else 1):  # the table is asked about repeats when all are in it
            await wait_for_move(moves[0].task)
            moves.popleft()
        if not plain:
            repeats = await self._seen.repeats(keys)
        self._missing.note(keys, self._seen)
        durable, kept = self._seen.durable(keys), asyncio.get_running_loop().create_future()
        work = self._move(piece, epoch, at, repeats, durable, kept, moves[-1] if moves else None)
        name = f"move {self._source.name} {at} {piece.offsets[0]}"
        moves.append(Move(asyncio.create_task(work, name=name), kept))
        self._moves.add(moves[-1].task)
        moves[-1].task.add_done_callback(self._moves.discard)

    async def _move(
        self, piece: Records, epoch: Epoch, at: int, repeats: Any, durable: Mapping[int, int], kept: asyncio.Future[bool],
        before: Move | None,
    ) -> None:  # fmt: skip
        source, means, began = self._source, self._means, monotonic()
        first, last = int(keys_of(piece)["received"].min()), piece.key(len(piece) - 1)
        size = sum(map(len, piece.values))
        try:
            intent = await self._intended(piece, epoch, at)
            if before and not await asyncio.shield(before.kept):  # then what comes after must not be there either
                await wait_for_move(before.task)
            if means.resend is None:  # else the forwarder knows better when a frame was on the bus
                means.metrics.observe("lag_seconds", (time_ns() - first) / 1e9, source=source.name, stage="bus")
            await self._mover.keep(intent, piece, repeats)
            means.metrics.observe("lag_seconds", (time_ns() - first) / 1e9, source=source.name, stage="table")
        except BaseException:
            kept.set_result(False)
            raise
        kept.set_result(True)
        del piece  # several of 16 MB would wait for their rows
        rows, lost = await self._mover.decode(intent, _moment(first))
        means.metrics.observe("lag_seconds", (time_ns() - first) / 1e9, source=source.name, stage="queryable")
        if before:
            await wait_for_move(before.task)
        await means.positions.complete(intent, last, lost)
        await means.spool.mark_durable(source.name, durable)
        seconds = monotonic() - began
        count_batch(means.metrics, source.name, frames=intent.frames, rows=rows, size=size, seconds=seconds)
        self._moved(intent, last, rows, lost)

    async def _intended(self, piece: Records, epoch: Epoch, at: int) -> Intent:
        source, day = self._source, day_of(int(keys_of(piece)["received"][0]))
        async with self._means.parts.using(source, day) as load:
            intent = Intent(
                source.name, epoch.number, at, piece.offsets[0], piece.offsets[-1] + 1, len(piece), day, part_of(load),
                load.load_id, source.parser, secrets.token_hex(4),
            )  # fmt: skip
            await self._means.positions.intend(intent)
        return intent

    def _moved(self, intent: Intent, last: bytes, rows: int, lost: list[LostFrame]) -> None:
        if lost:
            self._means.metrics.count("frames_rejected_total", len(lost), source=self._source.name)
            logger(source=self._source.name).warning("frames rejected", frames=len(lost), reason=lost[0].reason)
        now = datetime.now(UTC)
        state, newest = self._states[intent.partition], received_at(last)
        lag = (now - newest).total_seconds()
        self._states[intent.partition] = replace(
            state, offset=intent.hi, end=max(state.end, intent.hi), batches=state.batches + 1,
            frames=state.frames + intent.frames, rows=state.rows + rows, last_batch_at=now, lag_seconds=lag,
            newest=max(state.newest or newest, newest),
        )  # fmt: skip

    async def _same_log(self, epoch: Epoch) -> None:
        """Asked after a read: an id is never used again, so what was read came from the log that we know."""
        if await self._means.bus.log_id(self._source.name) != epoch.log_id:
            raise OffsetError(f"topic {self._source.name} was made anew while it was being read")

    def _say(self, report: Reporter, at: int) -> None:
        state = self._states[at]
        if self._means.spool.error:
            report.set_holding(f"received frames are not durable yet: {self._means.spool.error}")
        else:
            report.set_waiting(f"partition {at} drained to offset {state.offset:,}")
        report.beat(lag_seconds=state.lag_seconds, queue=max(0, state.end - state.offset))

    async def _tidy(self) -> None:
        """What need not be done for each batch: lag, holes, days that are over, and what others want to be told."""
        next_days = 0.0
        while not self._is_to_hold():
            await asyncio.sleep(TIDY_SECONDS)
            waiting = await self._measure()
            await self._give_up()
            self._insist(waiting)
            if self._means.trim:
                await self._means.trim(self._source, {at: one.offset for at, one in self._states.items()})
            if monotonic() >= next_days:
                await self._close_days()
                next_days = monotonic() + 30.0

    async def _measure(self) -> int:
        """See how far behind we are, and tell it; how many frames wait in the spool."""
        await self._means.bus.ping()
        ends = await self._means.bus.ends(self._source.name)
        for at, one in ends.items():
            if at in self._states:
                state = self._states[at]
                lag = 0.0 if one.end <= state.offset else state.lag_seconds
                self._states[at] = replace(state, end=one.end, lag_seconds=lag)
                with suppress(StoreError):  # for other people's monitoring; nothing of ours depends on it
                    await self._means.bus.commit(self._source.name, at, state.offset)
        waiting = sum(one.end - one.offset for one in self._states.values())
        self._means.metrics.gauge("bus_waiting_frames", waiting, source=self._source.name)
        return measure_spool(self._means.metrics, self._source.name, self._means.spool)

    async def _give_up(self) -> None:
        """What was spooled behind holes that nobody filled is free, as soon as all that is being moved now is durable."""
        durable = await self._missing.give_up(self._seen)
        if durable:
            for task in tuple(self._moves):
                await wait_for_move(task)
            await self._means.spool.mark_durable(self._source.name, durable)

    def _insist(self, waiting: int) -> None:
        """Have the spool send again what the bus has lost."""
        states = self._states.values()
        offset, drained = sum(one.offset for one in states), all(one.offset >= one.end for one in states)
        freed = self._means.spool.count_durable(self._source.name)
        stuck = self._stuck.is_so(freed=freed, waiting=waiting, offset=offset, drained=drained)
        if stuck and self._means.resend:
            logger(source=self._source.name).warning("frames sent again", waiting=waiting)
            self._means.resend(self._source.name)

    async def _close_days(self) -> None:
        """Days that are over, once all that was received until then is drained: bars are made of them, and they may leave
        for the archive. On a busy feed there is always something on the bus, of today.
        """
        now = datetime.now(UTC)
        for day in await self._means.parts.open_days(self._source):
            over = datetime.combine(day + timedelta(days=1), time(), UTC) + timedelta(seconds=DAY_OVER_SECONDS)
            if now >= over and all(one.is_past(over) for one in self._states.values()):
                await self._means.parts.close(self._source, day)
                logger(source=self._source.name).info("day closed", day=str(day))


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // 1000 / 1e6, UTC)
