"""Moves frames from the bus into the tables, each exactly once: intent, frames, rows, done. Recovery counts before it
repeats.

The position is kept in our ledger for every kind of bus. The offset committed at the bus is for other people's
monitoring and is never read: it expires, and an old one can reappear in a topic that was created again. Two checks show
that the log is still the same one: its id, which is read after each batch (so that the batch came from that log), and at
the start the record before the position, which must carry the known key. In another log a new epoch begins, with an
alarm, and reading starts at the beginning: no high-water mark is trusted, so nothing is skipped.

Small batches are moved one at a time. While large ones are moved, reading goes on: frames are inserted one batch after
the other, rows are decoded in parallel, and batches are completed in order, so that the position never passes an open
batch.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic, time_ns
from typing import Any

import numpy as np

from spotlightd.backoff import Backoff
from spotlightd.errors import OffsetError, StoreError
from spotlightd.flows.stream.context import DrainContext
from spotlightd.flows.stream.counters import count_batch, count_rejects, measure_spool
from spotlightd.flows.stream.days import close_days
from spotlightd.flows.stream.gaps import to_datetime
from spotlightd.flows.stream.loss import LossTracker, StallDetector
from spotlightd.flows.stream.moving.confirm import Confirmer, Moved
from spotlightd.flows.stream.moving.move import Move, Mover, split_by_day, wait_for_move
from spotlightd.flows.stream.parts import part_of
from spotlightd.flows.stream.recovery import DrainRecovery, received_at
from spotlightd.flows.stream.replay import Replay
from spotlightd.flows.stream.sequences import SequenceTracker, day_of, keys_of
from spotlightd.flows.stream.venue_clock import VenueClock
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import Records
from spotlightd.model.offsets import Completion, DrainState, Epoch, Intent, Position
from spotlightd.model.stream import Stream, frames_of
from spotlightd.tasks import run_together

HOLD = Backoff(first=0.5, most=15.0)
LARGE_FRAMES = 10_000  # smaller batches finish sooner one at a time, and the next batch grows meanwhile
MOVES_AT_ONCE = 3  # decoding a batch takes one core: with two cores, two batches decode while frames are inserted
TIDY_SECONDS = 1.0
TRIM_SECONDS = 5.0
CLOSE_DAYS_SECONDS = 30.0
BEATS_PER_MINUTE = 30.0  # an idle reader returns every second; a batch may take longer


class Drain:
    """The flow that drains one stream. It holds while a store fails, and skips nothing to go on.

    `clock` is what the drained rows show of the venue's clock.
    """

    def __init__(self, source: Stream, context: DrainContext, replay: Replay) -> None:
        self._source, self._context, self._replay = source, context, replay
        self._written = (source.dataset, frames_of(source))
        self._mover = Mover(source, context.warehouse, replay.decoder)
        self._sequences = SequenceTracker(context.warehouse, frames_of(source).name)
        self._losses = LossTracker(source, context)
        self._states: dict[int, DrainState] = {}
        self._moves: set[asyncio.Task[None]] = set()
        self._confirmers: dict[int, Confirmer] = {}
        self._stall = StallDetector()
        self.clock = VenueClock(source, context.warehouse, context.metrics)
        self._is_holding = False

    def states(self) -> tuple[DrainState, ...]:
        """How far each partition is."""
        return tuple(self._states.values())

    async def __call__(self, report: Reporter) -> None:
        failures = 0
        report.expect_beats(BEATS_PER_MINUTE)
        while True:
            started = monotonic()
            try:
                await self._wait_until_open(report)
                await self._drain(report)
            except StoreError as problem:
                failures = 1 if monotonic() - started > HOLD.most else failures + 1
                report.set_holding(str(problem))
                self._context.metrics.count("retries_total", source=self._source.name)
                logger(source=self._source.name).error("drain held", error=str(problem), attempt=failures)
                await asyncio.sleep(HOLD.pause(failures))

    async def _wait_until_open(self, report: Reporter) -> None:
        """While the disk of the tables is too full, only report what waits. What is drained is in the ledger."""
        while reason := self._context.gate.hold_reason("the sink", self._written):
            report.set_holding(reason)
            queue = sum(state.end - state.offset for state in self._states.values())
            report.beat(queue=queue, did_something=False)
            await self._context.gate.wait_for_change(TIDY_SECONDS)
            await self._measure()

    def _must_hold(self) -> bool:
        """Once the gate has held, all partitions come to an end, even if it is open again by then."""
        self._is_holding = self._is_holding or bool(self._context.gate.hold_reason("the sink", self._written))
        return self._is_holding

    async def _drain(self, report: Reporter) -> None:
        """Drain from the position in the ledger until something fails or the disk of the tables is too full."""
        context = self._context
        self._is_holding = False
        self._sequences = SequenceTracker(context.warehouse, frames_of(self._source).name)
        self._losses = LossTracker(self._source, context)
        recovery = DrainRecovery(
            self._source, context.bus, context.positions, self._mover, context.parts, self._replay, context.resend,
            context.archives,
        )  # fmt: skip
        epoch, positions = await recovery.find_start()
        for partition, start in positions.items():
            self._states[partition] = DrainState(self._source.name, partition, epoch.number, start.offset, start.offset)
            self._confirmers[partition] = Confirmer(context, self._mover, start.offset)
        works = {f"partition {at}": self._drain_partition(report, epoch, start) for at, start in positions.items()}
        await run_together(works | {"tidy": self._tidy()}, prefix=f"drain {self._source.name} ")

    async def _drain_partition(self, report: Reporter, epoch: Epoch, position: Position) -> None:
        context, partition = self._context, position.partition
        moves: deque[Move] = deque()
        async with context.bus.open_reader(self._source.name, partition, position.offset) as reader:
            try:
                frames = 0
                while not self._must_hold():
                    while moves and frames < LARGE_FRAMES:
                        await wait_for_move(moves[0].task)
                        moves.popleft()  # only now: moves in the queue are finished when this partition ends
                    records = await context.read_batch(reader)
                    frames = len(records)
                    while moves and moves[0].task.done():
                        await wait_for_move(moves.popleft().task)
                    self._report(report, partition)
                    if len(records):
                        await self._check_log(epoch)
                        for piece in split_by_day(records):
                            await self._start_move(piece, epoch, partition, moves)
                while moves:  # holding: moves that were started are completed
                    await wait_for_move(moves[0].task)
                    moves.popleft()
            finally:
                await self._confirmers[partition].finish([move.task for move in moves])

    async def _start_move(self, piece: Records, epoch: Epoch, partition: int, moves: deque[Move]) -> None:
        """Start to move these records, beside earlier ones."""
        keys = keys_of(piece)
        repeats: Any = np.zeros(len(piece), dtype=np.uint8)
        are_new = self._sequences.are_new(keys)
        while len(moves) >= (MOVES_AT_ONCE if are_new else 1):  # repeats are found when all earlier frames are stored
            await wait_for_move(moves[0].task)
            moves.popleft()
        if not are_new:
            repeats = await self._sequences.find_repeats(keys)
        self._losses.record(keys, self._sequences)
        durable = self._sequences.durable_sequences(keys)
        inserted = asyncio.get_running_loop().create_future()
        work = self._move(piece, epoch, partition, repeats, durable, inserted, moves[-1] if moves else None)
        name = f"move {self._source.name} {partition} {piece.offsets[0]}"
        moves.append(Move(asyncio.create_task(work, name=name), inserted))
        self._moves.add(moves[-1].task)
        moves[-1].task.add_done_callback(self._moves.discard)

    async def _move(
        self, piece: Records, epoch: Epoch, partition: int, repeats: Any, durable: Mapping[int, int],
        inserted: asyncio.Future[bool], before: Move | None,
    ) -> None:  # fmt: skip
        source, context, started = self._source, self._context, monotonic()
        first, last = int(keys_of(piece)["received"].min()), piece.key(len(piece) - 1)
        size = sum(map(len, piece.values))
        try:
            intent = await self._intend(piece, epoch, partition)
            if before and not await asyncio.shield(
                before.frames_inserted
            ):  # then these frames must not be there either
                await wait_for_move(before.task)
            if context.resend is None:  # else the forwarder measures when a frame was on the bus
                self._observe_lag(first, "bus")
            await self._mover.insert_frames(intent, piece, repeats)
            self._observe_lag(first, "table")
        except BaseException:
            inserted.set_result(False)
            raise
        inserted.set_result(True)
        del piece  # several pieces of 16 MB would wait for their rows
        rows, lost = await self._mover.decode(intent)
        self._observe_lag(first, "queryable")
        if before:
            await wait_for_move(before.task)
        moved = Moved(Completion(intent, last, lost), to_datetime(first), rows, durable)
        await self._confirmers[partition].add(moved)
        seconds = monotonic() - started
        count_batch(context.metrics, source.name, frames=intent.frames, rows=rows, size=size, seconds=seconds)
        count_rejects(context.metrics, source.name, lost)
        self._note_batch(moved)

    def _observe_lag(self, received: int, stage: str) -> None:
        lag = (time_ns() - received) / 1e9
        self._context.metrics.observe("lag_seconds", lag, source=self._source.name, stage=stage)

    async def _intend(self, piece: Records, epoch: Epoch, partition: int) -> Intent:
        source, day = self._source, day_of(int(keys_of(piece)["received"][0]))
        async with self._context.parts.open_load(source, day) as load:
            intent = Intent(
                source.name, epoch.number, partition, piece.offsets[0], piece.offsets[-1] + 1, len(piece), day,
                part_of(load), load.load_id, source.parser, secrets.token_hex(4),
            )  # fmt: skip
            await self._context.positions.intend(intent)
        return intent

    def _note_batch(self, moved: Moved) -> None:
        now, intent, newest = datetime.now(UTC), moved.intent, received_at(moved.completion.key)
        state = self._states[intent.partition]
        self._states[intent.partition] = replace(
            state, offset=intent.hi, end=max(state.end, intent.hi), batches=state.batches + 1,
            frames=state.frames + intent.frames, rows=state.rows + moved.rows, last_batch_at=now,
            lag_seconds=(now - newest).total_seconds(), newest=max(state.newest or newest, newest),
        )  # fmt: skip

    async def _check_log(self, epoch: Epoch) -> None:
        """Called after a read: an id is never used again, so the records came from the known log."""
        if await self._context.bus.log_id(self._source.name) != epoch.log_id:
            raise OffsetError(f"topic {self._source.name} was created again while it was being read")

    def _report(self, report: Reporter, partition: int) -> None:
        state = self._states[partition]
        if self._context.spool.error:
            report.set_holding(f"received frames are not durable yet: {self._context.spool.error}")
        else:
            report.set_waiting(f"partition {partition} drained to offset {state.offset:,}")
        report.beat(lag_seconds=state.lag_seconds, queue=max(0, state.end - state.offset))

    async def _tidy(self) -> None:
        """What need not be done for each batch: confirm, measure lag and clock, give up holes, trim the log, close days."""
        next_trim = next_days = 0.0
        while not self._must_hold():
            await asyncio.sleep(TIDY_SECONDS)
            waiting = await self._measure()
            for confirmer in self._confirmers.values():
                await confirmer.confirm_due()
            await self._give_up_holes()
            self._resend_if_stalled(waiting)
            await self.clock.measure()
            if monotonic() >= next_trim:
                await self._trim()
                next_trim = monotonic() + TRIM_SECONDS
            if monotonic() >= next_days:
                states = self.states()
                for confirmer in self._confirmers.values():  # a day waits for its open intents when it is closed
                    await confirmer.confirm()
                await close_days(self._source, self._context.parts, states)
                next_days = monotonic() + CLOSE_DAYS_SECONDS

    async def _measure(self) -> int:
        """Measure how far the drain is behind. Returns the number of frames in the spool."""
        await self._context.bus.ping()
        for partition, ends in (await self._context.bus.ends(self._source.name)).items():
            if state := self._states.get(partition):
                lag = 0.0 if ends.end <= state.offset else state.lag_seconds
                self._states[partition] = replace(state, end=ends.end, lag_seconds=lag)
        waiting = sum(state.end - state.offset for state in self._states.values())
        self._context.metrics.gauge("bus_waiting_frames", waiting, source=self._source.name)
        return measure_spool(self._context.metrics, self._source.name, self._context.spool)

    async def _trim(self) -> None:
        """Tell the bus how far the drain is, and free records that were drained and are old."""
        offsets = {partition: confirmer.offset for partition, confirmer in self._confirmers.items()}
        for partition, offset in offsets.items():
            with suppress(StoreError):  # for other people's monitoring; spotlightd does not depend on it
                await self._context.bus.commit(self._source.name, partition, offset)
        if self._context.trim:
            await self._context.trim(self._source, offsets)

    async def _give_up_holes(self) -> None:
        """Free what was spooled behind holes that stayed open, as soon as all current moves are durable."""
        durable = await self._losses.give_up(self._sequences)
        if durable:
            for task in tuple(self._moves):
                await wait_for_move(task)
            await self._context.spool.mark_durable(self._source.name, durable)

    def _resend_if_stalled(self, waiting: int) -> None:
        """Make the spool send again what the bus has lost."""
        states, context = self._states.values(), self._context
        is_stalled = self._stall.is_stalled(
            durable=context.spool.count_durable(self._source.name), waiting=waiting,
            offset=sum(state.offset for state in states), drained=all(state.offset >= state.end for state in states),
        )  # fmt: skip
        if is_stalled and context.resend:
            logger(source=self._source.name).warning("frames resent", waiting=waiting)
            context.resend(self._source.name)
