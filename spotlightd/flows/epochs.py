"""Where a drain begins: which log this is, what was interrupted, and from which offset on each partition is read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from spotlightd.flows.move import Mover
from spotlightd.flows.parts import Parts, part_of
from spotlightd.log import logger
from spotlightd.model.bus import KEY, Bus, Ends, mark
from spotlightd.model.drain import Epoch, Gap, Intent, Position, Positions
from spotlightd.model.errors import StoreError
from spotlightd.model.stream import Stream, frames_of

MARK = 8  # a record that somebody else wrote has no mark of the source in its key
KEY_AT = """
SELECT connection, sequence, toUnixTimestamp64Nano(received) AS received, offset FROM {table}
WHERE epoch = {{epoch:UInt16}} AND partition = {{partition:UInt16}} AND offset < {{below:UInt64}} ORDER BY offset DESC LIMIT 1
"""
LAST_ONES = """
SELECT partition, part, toDate(received) AS day, min(offset) AS lo, max(offset) + 1 AS hi, count() AS frames FROM {table}
WHERE epoch = {{epoch:UInt16}} AND received >= (SELECT toDate(max(received)) FROM {table} WHERE epoch = {{epoch:UInt16}})
GROUP BY partition, part, day ORDER BY partition, part
"""
KEPT = "SELECT epoch, partition, max(offset) + 1 AS offset FROM {table} GROUP BY epoch, partition ORDER BY epoch, partition"


@dataclass(frozen=True, slots=True)
class Beginning:
    """Finds out where to begin. Run before the first read, and again whenever a log lost what was to be read."""

    source: Stream
    bus: Bus
    positions: Positions
    mover: Mover
    parts: Parts

    async def found(self) -> tuple[Epoch, Mapping[int, Position]]:
        """The epoch, and where each partition is read on from. Interrupted intents are settled when this returns."""
        await self.bus.ensure(self.source.topic)
        log_id = await self.bus.log_id(self.source.name)
        ends = await self.bus.ends(self.source.name)
        if not log_id:
            raise StoreError(f"the bus made no topic {self.source.name}")
        await self._remembered(log_id)
        await self._settle_all(await self.positions.intents(self.source.name))
        epoch = await self.positions.epoch(self.source.name)
        known = await self.positions.positions(self.source.name)
        if epoch is not None:
            why = await self._other_log(epoch, log_id, known, ends)
            if not why:
                return epoch, {at: await self._within(epoch, at, known.get(at), ends[at]) for at in ends}
            await self._lost(known, f"{why}: offsets are counted anew, from the beginning of what is there now")
        epoch = Epoch(self.source.name, epoch.number + 1 if epoch else 1, log_id)
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
        await self._lost({at: position}, says)
        return replace(position, offset=ends.start, key=b"")

    async def _lost(self, known: Mapping[int, Position], says: str) -> None:
        """Say so in the log and in `gaps`: what the spool still holds comes again, the rest is in this span."""
        now = datetime.now(UTC)
        times = [received(position.key) for position in known.values() if position.key]
        logger(source=self.source.name).error("log lost", says=says)
        await self.positions.gap(Gap(self.source.name, min(times, default=now), now, "log lost", says=says))

    async def _settle_all(self, intents: Sequence[Intent]) -> None:
        """In order. When one is taken back, so are those after it in its partition: a position skips nothing."""
        taken_back: set[tuple[int, int]] = set()
        for intent in intents:
            place = intent.epoch, intent.partition
            kept, lost = await self.mover.settle(intent, take_back=place in taken_back)
            if kept:
                key, _ = await self._key_before(intent.epoch, intent.partition, intent.hi)
                await self.positions.done(intent, key, lost)
            else:
                taken_back.add(place)
                await self.positions.forget(intent)
            logger(source=self.source.name).info(
                "intent settled", lo=intent.lo, hi=intent.hi, frames=intent.frames, kept=kept
            )

    async def _key_before(self, epoch: int, partition: int, below: int) -> tuple[bytes, int]:
        """The key and offset of the last frame that is kept below an offset; empty and 0 when there is none."""
        sql = KEY_AT.format(table=frames_of(self.source).name)
        values = {"epoch": epoch, "partition": partition, "below": below}
        rows = (await self.mover.warehouse.rows(sql, values)).dicts()
        if not rows:
            return b"", 0
        one = rows[0]
        return KEY.pack(mark(self.source.name), one["connection"], one["sequence"], one["received"]), one["offset"]

    async def _remembered(self, log_id: str) -> None:
        """A ledger that knows nothing of this source, beside a table that does: it was lost, and is made again."""
        if await self.positions.epoch(self.source.name) is not None:
            return
        rows = (await self.mover.warehouse.rows(KEPT.format(table=frames_of(self.source).name))).dicts()
        if not rows:
            return
        newest = max(row["epoch"] for row in rows)
        found = []
        for row in (one for one in rows if one["epoch"] == newest):
            key, _ = await self._key_before(newest, row["partition"], row["offset"])
            found.append(Position(newest, row["partition"], row["offset"], key))
        logger(source=self.source.name).warning("positions restored", epoch=newest, partitions=len(found))
        await self.positions.begin_epoch(Epoch(self.source.name, newest, log_id), found)
        await self._settle_all(await self._last_ones(newest))

    async def _last_ones(self, epoch: int) -> list[Intent]:
        """All frames of the newest day as if they were still being moved: which of them were, nobody remembers."""
        table = frames_of(self.source).name
        rows = (await self.mover.warehouse.rows(LAST_ONES.format(table=table), {"epoch": epoch})).dicts()
        loads = {
            (row["day"], part_of(load)): load for row in rows for load in await self.parts.of(self.source, row["day"])
        }
        return [
            Intent(
                self.source.name, epoch, row["partition"], row["lo"], row["hi"], row["frames"], row["day"], row["part"],
                loads[row["day"], row["part"]].load_id, loads[row["day"], row["part"]].parser, secrets.token_hex(4),
            )
            for row in rows
            if (row["day"], row["part"]) in loads
        ]  # fmt: skip


def received(key: bytes) -> datetime:
    """When the record with that key was received."""
    return datetime.fromtimestamp(KEY.unpack(key)[3] / 1e9, UTC)
