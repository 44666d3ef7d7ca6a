"""Kept frames decoded again, after a decode was mended: the drain's own statement over older frames, without the bus.

Each part of a day gets a new load, which is filled first and then published: one row in `loads` switches readers, and
what was shown before stays readable through `as_of`. A day that is still being received is closed first, so that new
frames go into another part.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.load import Proof
from spotlightd.flows.loads.publish import Publications, current
from spotlightd.flows.stream.decode import Decoder
from spotlightd.flows.stream.parts import Parts, day_of, part_of
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.offsets import LostFrame
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream
from spotlightd.model.stream import covers as slice_of
from spotlightd.ports.ledger import Ledger, Positions, Wish
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode

WISH_SECONDS = 2.0
LONGEST_PART_SECONDS = 900.0

Progress = Callable[[str, int, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One part of a day, decoded again."""

    day: date
    part: int
    load_id: int
    rows: int
    rejects: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Replays days of one stream."""

    source: Stream
    ledger: Ledger
    warehouse: Warehouse
    decoder: Decoder
    publications: Publications
    positions: Positions
    parts: Parts

    async def days(self, first: date, last: date, progress: Progress) -> list[Replayed]:
        """All parts of the received days from `first` to `last`, both included, oldest first."""
        visible = current(await self.ledger.loads(self.source.name, states=("published",)))
        days = sorted({day_of(load) for load in visible if first <= day_of(load) <= last})
        done: list[Replayed] = []
        for day in days:
            for load in await self.parts.close(self.source, day):
                await progress(f"replaying {slice_of(day, part_of(load))}", len(done), max(len(days), len(done) + 1))
                done.append(await self.part(day, load))
        return done

    async def part(self, day: date, old: Load) -> Replayed:
        """Decode again what a load decodes, and put a new load in its place. It must be closed."""
        return await self.made(day, old.digest, old.covers)

    async def made(self, day: date, digest: str, covers: str, proof: Proof | None = None) -> Replayed:
        """A load of all kept frames of that part of a day, closed, proven and published."""
        load = await self.ledger.begin_load(self.source, digest, covers)
        values = {"day": day, "part": part_of(load), "load_id": load.load_id}
        try:
            rows, lost = await self._fill(values)
            if proof:
                await proof(load)
        except BaseException:
            await self.ledger.dead(load.load_id)
            raise
        await self.positions.keep_lost(self.source.name, self.source.parser, lost)
        await self.ledger.close_load(load.load_id)  # first: what is loaded may be published by the next start
        loaded = await self.ledger.loaded(load.load_id, {self.source.dataset.name: rows}, ())
        await self.publications.publish(loaded)
        logger(source=self.source.name).info("part replayed", covers=covers, rows=rows, rejects=len(lost))
        return Replayed(day, part_of(load), load.load_id, rows, len(lost))

    async def _fill(self, values: dict[str, object]) -> tuple[int, list[LostFrame]]:
        which = decode.PART
        _, lost = await self.decoder.insert(which, values, token="")
        wanted = await self.decoder.wanted(which, values)
        here = f"SELECT count() FROM {self.source.dataset.name} WHERE load_id = {{load_id:UInt64}}"
        have = int((await self.warehouse.rows(here, values)).rows[0][0])
        if have != wanted:
            raise StoreError(f"the replay wrote {have} of {wanted} rows: is the warehouse's disk full?")
        return have, lost


@dataclass(frozen=True, slots=True)
class Replaying:
    """The flow that grants wishes for replays beside the running drains."""

    ledger: Ledger
    replays: Sequence[Replay]
    gate: Gate = field(default_factory=Gate)

    async def __call__(self, report: Reporter) -> None:
        known = {one.source.name: one for one in self.replays}
        report.expects(60.0 / WISH_SECONDS / 2)
        while True:
            report.waiting("waiting for a wish")
            report.beat(did_something=False)
            for wish in await self.ledger.wishes():
                if wish.source in known:
                    report.expects(60.0 / LONGEST_PART_SECONDS)
                    await self._grant(known[wish.source], wish, report)
                    report.expects(60.0 / WISH_SECONDS / 2)
            await asyncio.sleep(WISH_SECONDS)

    async def _grant(self, replay: Replay, wish: Wish, report: Reporter) -> None:
        async def progress(says: str, done: int, total: int) -> None:
            await self.gate.passed("the sink", report)
            report.working(says, done, total)
            report.beat()
            await self.ledger.answer(dataclasses.replace(wish, state="running", says=says, done=done, total=total))

        try:
            done = await replay.days(wish.first, wish.last, progress)
        except StoreError as problem:
            report.holding(str(problem))
            await self.ledger.answer(dataclasses.replace(wish, state="failed", says=str(problem)))
        else:
            says = (
                f"{len(done)} parts, {sum(one.rows for one in done):,} rows, {sum(one.rejects for one in done)} rejects"
            )
            await self.ledger.answer(
                dataclasses.replace(wish, state="done", says=says, done=len(done), total=len(done))
            )
