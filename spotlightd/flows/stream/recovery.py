"""Where a drain begins: which log this is, what was interrupted, and from which offset on each partition is read.

Nothing that is kept is ever taken back unless it can be read again: so the log is looked at before the intents are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from spotlightd.errors import StoreError
from spotlightd.flows.stream.decode import day_span
from spotlightd.flows.stream.move import Mover
from spotlightd.flows.stream.parts import Parts, part_of
from spotlightd.flows.stream.replay import Replay
from spotlightd.log import logger
from spotlightd.model.bus import KEY, Ends, source_mark
from spotlightd.model.offsets import Epoch, Gap, Intent, Position
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.bus import Bus
from spotlightd.ports.ledger import Positions
from spotlightd.sql import decode
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.sql.visibility import all_rows as stored

MARK = 8  # a record that somebody else wrote has no mark of the source in its key
END = 2**63 - 1
KEY_AT = """
SELECT connection, sequence, toUnixTimestamp64Nano(received) AS received, offset FROM {table}
WHERE epoch = {{epoch:UInt16}} AND partition = {{partition:UInt16}} AND offset < {{below:UInt64}} ORDER BY offset DESC LIMIT 1
"""
NEWEST_EPOCH = "SELECT epoch FROM {table} ORDER BY epoch DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class DrainRecovery:
    """Finds out where to begin. Run before the first read, and again whenever a log lost what was to be read."""

    source: Stream
    bus: Bus
    positions: Positions
    mover: Mover
    parts: Parts
    replay: Replay
    resend: Callable[[str], None] | None
    archives: Archives = NoArchives()

    async def found(self) -> tuple[Epoch, Mapping[int, Position]]:
        """The epoch, and where each partition is read on from. Interrupted intents are settled when this returns."""
        name = self.source.name
        await self.bus.ensure(self.source.topic)
        log_id, ends = await self.bus.log_id(name), await self.bus.ends(name)
        if not log_id:
            raise StoreError(f"the bus made no topic {name}")
        await self._restored(log_id, ends)
        epoch = await self.positions.epoch(name)
        why = await self._other_log(epoch, log_id, await self.positions.positions(name), ends) if epoch else "new"
        await self._settle_all(await self.positions.intents(name), {} if why else ends)
        known = await self.positions.positions(name)
        if epoch is not None:
            if not why:
                return epoch, {at: await self._within(epoch, at, known.get(at), ends[at]) for at in ends}
            await self._lost(
                epoch.number, known, f"{why}: offsets are counted anew, from the beginning of what is there"
            )
        epoch = Epoch(name, epoch.number + 1 if epoch else 1, log_id)
        begun = {at: Position(epoch.number, at, one.start) for at, one in ends.items()}
        await self.positions.begin_epoch(epoch, list(begun.values()))
        return epoch, begun

    async def _other_log(
        self, epoch: Epoch, log_id: str, known: Mapping[int, Position], ends: Mapping[int, Ends]
    ) -> str:
        """Why this is not the log whose offsets we know; empty when it is."""
        if epoch.log_id != log_id:
            return f"topic {self.source.name} is another log than it was"
        for at, position in known.items():
            if at not in ends or ends[at].end < position.offset:
                return f"partition {at} of topic {self.source.name} ends before what was read of it"
            if position.key and ends[at].start < position.offset:
                before = await self.bus.peek(self.source.name, at, position.offset - 1, most=1)
                if not len(before) or before.key(0)[MARK:] != position.key[MARK:]:
                    return f"partition {at} of topic {self.source.name} holds other records than were read of it"
        return ""

    async def _within(self, epoch: Epoch, at: int, known: Position | None, ends: Ends) -> Position:
        position = known or Position(epoch.number, at, ends.start)
        if position.offset >= ends.start:
            return position
        says = f"offsets {position.offset} to {ends.start - 1} of partition {at} were gone before they were read"
        await self._lost(epoch.number, {at: position}, says)
        return replace(position, offset=ends.start, key=b"")

    async def _lost(self, epoch: int, known: Mapping[int, Position], says: str) -> None:
        """Say so in the log and in `gaps`: what the spool still holds is sent again, the rest is in this span."""
        now = datetime.now(UTC)
        keys = [position.key or (await self._key_before(epoch, at, END))[0] for at, position in known.items()]
        feed = await self.positions.get_feed_state(self.source.name)
        since = min((received_at(key) for key in keys if key), default=feed[1] if feed else now)
        logger(source=self.source.name).error("log lost", says=says)
        await self.positions.add_gap(Gap(self.source.name, since, now, "log lost", detail=says))
        if self.resend:
            self.resend(self.source.name)

    async def _settle_all(self, intents: tuple[Intent, ...], ends: Mapping[int, Ends]) -> None:
        """In order. When one is taken back, so are those after it in its partition: a position skips nothing.

        `ends` are those of the log that the intents are of; without them nothing can be read again.
        """
        taken_back: set[tuple[int, int]] = set()
        for intent in intents:
            place = intent.epoch, intent.partition
            log = ends.get(intent.partition)
            readable = log is not None and log.start <= intent.lo
            kept, lost = await self.mover.settle(intent, readable=readable, take_back=place in taken_back)
            if kept:
                key, _ = await self._key_before(intent.epoch, intent.partition, intent.hi)
                await self.positions.complete(intent, key, lost)
            else:
                taken_back.add(place)
                await self.positions.forget(intent)
            logger(source=self.source.name).info(
                "intent settled", lo=intent.lo, hi=intent.hi, frames=intent.frames, kept=kept
            )

    async def _newest_epoch(self, frames: str) -> Sequence[Sequence[int]]:
        return (await self.mover.warehouse.rows(NEWEST_EPOCH.format(table=frames))).rows

    async def _key_before(self, epoch: int, partition: int, below: int) -> tuple[bytes, int]:
        """The key and offset of the last frame that is kept below an offset; empty and -1 when there is none."""
        sql = KEY_AT.format(table=frames_of(self.source).name)
        values = {"epoch": epoch, "partition": partition, "below": below}
        rows = (await self.mover.warehouse.rows(sql, values)).dicts()
        if not rows:
            return b"", -1
        one = rows[0]
        return KEY.pack(source_mark(self.source.name), one["connection"], one["sequence"], one["received"]), one[
            "offset"
        ]

    # -- a ledger that was lost, or put back from a backup ----------------------------------------------------------------

    async def _restored(self, log_id: str, ends: Mapping[int, Ends]) -> None:
        """Take positions over from the frames table where it is ahead of the ledger: its file was lost, or is older."""
        epoch = await self.positions.epoch(self.source.name)
        rows = await self._newest_epoch(frames_of(self.source).name)
        if not rows and epoch is None and self.archives.archived.of_dataset(frames_of(self.source).name):
            rows = await self._newest_epoch(stored(frames_of(self.source), self.archives.archived))
        if not rows or (epoch is not None and epoch.number > rows[0][0]):
            return
        newest = rows[0][0]
        kept = {at: await self._key_before(newest, at, END) for at in ends}
        intents = await self.positions.intents(self.source.name)
        if epoch is not None and epoch.number == newest:
            known = await self.positions.positions(self.source.name)
            told = [(at, one.offset) for at, one in known.items()]
            told += [(one.partition, one.hi) for one in intents if one.epoch == newest]
            if all(
                offset < max((to for place, to in told if place == at), default=0) for at, (_, offset) in kept.items()
            ):
                return
        logger(source=self.source.name).warning("positions restored", epoch=newest, partitions=len(kept))
        for intent in intents:  # what became of them stands in the tables
            await self.mover.warehouse.end_statements(intent.token)
            await self.positions.forget(intent)
        if times := [received_at(key) for key, _ in kept.values() if key]:
            await self._compared(times)
        found = [Position(newest, at, offset + 1, key) for at, (key, offset) in kept.items() if key]
        log = epoch.log_id if epoch is not None and epoch.number == newest else log_id
        await self.positions.begin_epoch(Epoch(self.source.name, newest, log), found)

    async def _compared(self, times: list[datetime]) -> None:
        """Decode the parts of the last two days again whose rows are not those of their frames: nobody remembers which
        batch was being moved.
        """
        newest = max(times).date()
        for day in (newest - timedelta(days=1), newest):
            for load in await self.parts.close(self.source, day):
                values = {"day": day, "part": part_of(load), "load_id": load.load_id}
                table = stored(self.source.dataset, self.archives.archived, day_span(day))
                here = f"SELECT count() FROM {table} WHERE load_id = {{load_id:UInt64}}"
                have = int((await self.mover.warehouse.rows(here, values)).rows[0][0])
                if have != await self.mover.decoder.wanted(decode.PART, values):
                    await self.replay.part(day, load)


def received_at(key: bytes) -> datetime:
    """When the record with that key was received."""
    return datetime.fromtimestamp(KEY.unpack(key)[3] / 1e9, UTC)
