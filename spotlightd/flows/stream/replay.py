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
from spotlightd.flows.loads.publish import Publications, select_current
from spotlightd.flows.stream.decode import Decoder
from spotlightd.flows.stream.parts import Parts, day_of, part_of
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.offsets import LostFrame
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream
from spotlightd.model.stream import covers as slice_of
from spotlightd.ports.ledger import Job, Ledger, Positions
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode

JOB_POLL_SECONDS = 2.0
LONGEST_PART_SECONDS = 900.0

Progress = Callable[[str, int, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ReplayResult:
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

    async def days(self, first: date, last: date, progress: Progress) -> list[ReplayResult]:
        """All parts of the received days from `first` to `last`, both included, oldest first."""
        visible = select_current(await self.ledger.loads(self.source.name, states=("published",)))
        days = sorted({day_of(load) for load in visible if first <= day_of(load) <= last})
        done: list[ReplayResult] = []
        for day in days:
            for load in await self.parts.close(self.source, day):
                await progress(f"replaying {slice_of(day, part_of(load))}", len(done), max(len(days), len(done) + 1))
                done.append(await self.part(day, load))
        return done

    async def part(self, day: date, old: Load) -> ReplayResult:
        """Decode again what a load decodes, and put a new load in its place. It must be closed."""
        return await self.made(day, old.digest, old.covers)

    async def made(self, day: date, digest: str, covers: str, proof: Proof | None = None) -> ReplayResult:
        """A load of all kept frames of that part of a day, closed, proven and published."""
        load = await self.ledger.begin_load(self.source, digest, covers)
        values = {"day": day, "part": part_of(load), "load_id": load.load_id}
        try:
            rows, lost = await self._fill(values)
            if proof:
                await proof(load)
        except BaseException:
            await self.ledger.mark_dead(load.load_id)
            raise
        await self.positions.save_lost_frames(self.source.name, self.source.parser, lost)
        await self.ledger.close_load(load.load_id)  # first: what is loaded may be published by the next start
        loaded = await self.ledger.mark_loaded(load.load_id, {self.source.dataset.name: rows}, ())
        await self.publications.publish(loaded)
        logger(source=self.source.name).info("part replayed", covers=covers, rows=rows, rejects=len(lost))
        return ReplayResult(day, part_of(load), load.load_id, rows, len(lost))

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
class ReplayRunner:
    """The flow that runs replay jobs beside the drains."""

    ledger: Ledger
    replays: Sequence[Replay]
    gate: Gate = field(default_factory=Gate)

    async def __call__(self, report: Reporter) -> None:
        known = {one.source.name: one for one in self.replays}
        report.expect_beats(60.0 / JOB_POLL_SECONDS / 2)
        while True:
            report.set_waiting("waiting for a job")
            report.beat(did_something=False)
            for job in await self.ledger.open_jobs("replay"):
                if job.target in known:
                    report.expect_beats(60.0 / LONGEST_PART_SECONDS)
                    await self._run_job(known[job.target], job, report)
                    report.expect_beats(60.0 / JOB_POLL_SECONDS / 2)
            await asyncio.sleep(JOB_POLL_SECONDS)

    async def _run_job(self, replay: Replay, job: Job, report: Reporter) -> None:
        async def progress(says: str, done: int, total: int) -> None:
            await self.gate.wait_until_open("the sink", report)
            report.set_working(says, done, total)
            report.beat()
            await self.ledger.update_job(dataclasses.replace(job, state="running", detail=says, done=done, total=total))

        try:
            done = await replay.days(job.first, job.last, progress)
        except StoreError as problem:
            report.set_holding(str(problem))
            await self.ledger.update_job(dataclasses.replace(job, state="failed", detail=str(problem)))
        else:
            says = (
                f"{len(done)} parts, {sum(one.rows for one in done):,} rows, {sum(one.rejects for one in done)} rejects"
            )
            await self.ledger.update_job(
                dataclasses.replace(job, state="done", detail=says, done=len(done), total=len(done))
            )
