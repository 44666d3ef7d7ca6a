"""Decodes stored frames again after a decode was corrected: the drain's statement over older frames, without the bus.

Each part of a day gets a new load, which is filled first and then published. One row in `loads` switches readers, and
what was visible before stays readable with `as_of`. A day that is still being received is closed first, so that new
frames go into another part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.context import Proof
from spotlightd.flows.loads.publish import Publications
from spotlightd.flows.stream.decode import Decoder
from spotlightd.flows.stream.parts import Parts, day_of, part_of
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.offsets import LostFrame
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream, frames_of
from spotlightd.model.stream import covers as covers_of
from spotlightd.model.text import count
from spotlightd.ports.ledger import Job, Ledger, Positions
from spotlightd.ports.progress import Checkpoint
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode

JOB_POLL_SECONDS = 2.0
LONGEST_PART_SECONDS = 900.0


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

    async def replay_days(self, first: date, last: date, checkpoint: Checkpoint) -> list[ReplayResult]:
        """Replay all parts of the received days from `first` to `last`, both included, oldest first."""
        visible = await self.ledger.visible_loads(self.source.name)
        days = sorted({day_of(load) for load in visible if first <= day_of(load) <= last})
        results: list[ReplayResult] = []
        for day in days:
            for load in await self.parts.close(self.source, day):
                step, total = f"replaying {covers_of(day, part_of(load))}", max(len(days), len(results) + 1)
                await checkpoint(step, len(results), total)
                results.append(await self.replay_load(day, load))
        return results

    async def replay_load(self, day: date, old: Load) -> ReplayResult:
        """Decode again what a closed load decodes, and put a new load in its place."""
        return await self.make_load(day, old.digest, old.covers)

    async def make_load(self, day: date, digest: str, covers: str, proof: Proof | None = None) -> ReplayResult:
        """Make a load of all stored frames of that part of a day: filled, proven, closed and published."""
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
        await self.ledger.close_load(load.load_id)  # first: the next start may publish what is loaded
        loaded = await self.ledger.mark_loaded(load.load_id, {self.source.dataset.name: rows}, ())
        await self.publications.publish(loaded)
        logger(source=self.source.name).info("part replayed", covers=covers, rows=rows, rejects=len(lost))
        return ReplayResult(day, part_of(load), load.load_id, rows, len(lost))

    async def _fill(self, values: dict[str, object]) -> tuple[int, list[LostFrame]]:
        _, lost = await self.decoder.insert(decode.PART, values, token="")
        expected = await self.decoder.count_rows(decode.PART, values)
        sql = f"SELECT count() FROM {self.source.dataset.name} WHERE load_id = {{load_id:UInt64}}"
        rows = int((await self.warehouse.rows(sql, values)).rows[0][0])
        if rows != expected:
            raise StoreError(f"the replay wrote {rows} of {expected} rows: is the warehouse's disk full?")
        return rows, lost


@dataclass(frozen=True, slots=True)
class ReplayRunner:
    """The flow that runs replay jobs beside the drains."""

    ledger: Ledger
    replays: Sequence[Replay]
    gate: Gate = field(default_factory=Gate)

    async def __call__(self, report: Reporter) -> None:
        by_source = {replay.source.name: replay for replay in self.replays}
        report.expect_beats(60.0 / JOB_POLL_SECONDS / 2)
        while True:
            report.set_waiting("waiting for a job")
            report.beat(did_something=False)
            for job in await self.ledger.open_jobs("replay"):
                if job.target in by_source:
                    report.expect_beats(60.0 / LONGEST_PART_SECONDS)
                    await self._run_job(by_source[job.target], job, report)
                    report.expect_beats(60.0 / JOB_POLL_SECONDS / 2)
            await asyncio.sleep(JOB_POLL_SECONDS)

    async def _run_job(self, stream_replay: Replay, job: Job, report: Reporter) -> None:
        async def checkpoint(step: str, done: int, total: int) -> None:
            await self.gate.wait_until_open("the sink", report, (frames_of(stream_replay.source),))
            report.set_working(step, done, total)
            report.beat()
            await self.ledger.update_job(replace(job, state="running", detail=step, done=done, total=total))

        try:
            results = await stream_replay.replay_days(job.first, job.last, checkpoint)
        except StoreError as problem:
            report.set_holding(str(problem))
            await self.ledger.update_job(replace(job, state="failed", detail=str(problem)))
        else:
            rows, rejects = sum(result.rows for result in results), sum(result.rejects for result in results)
            parts = len(results)
            detail = f"{count(parts, 'part')}, {count(rows, 'row')}, {count(rejects, 'reject')}"
            await self.ledger.update_job(replace(job, state="done", detail=detail, done=parts, total=parts))
