"""Where a drain begins: which log this is, what was interrupted, and from which offset each partition is read.

Stored frames are deleted only if they can be read again. So the log is checked before the open intents are recovered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from spotlightd.errors import StoreError
from spotlightd.flows.stream.decode import day_span
from spotlightd.flows.stream.moving.move import Mover
from spotlightd.flows.stream.parts import Parts, part_of
from spotlightd.flows.stream.replay import Replay
from spotlightd.log import logger
from spotlightd.model.bus import KEY, Ends, source_mark
from spotlightd.model.offsets import Completion, Epoch, Gap, Intent, Position
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.bus import Bus
from spotlightd.ports.ledger import Positions
from spotlightd.sql import decode
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.sql.visibility import all_rows

MARK = 8  # the records of other programs have no mark of the source in their key
END = 2**63 - 1
KEY_AT = """
SELECT connection, sequence, toUnixTimestamp64Nano(received) AS received, offset FROM {table}
WHERE epoch = {{epoch:UInt16}} AND partition = {{partition:UInt16}} AND offset < {{below:UInt64}} ORDER BY offset DESC LIMIT 1
"""
NEWEST_EPOCH = "SELECT epoch FROM {table} ORDER BY epoch DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class DrainRecovery:
    """Finds where to begin. Runs before the first read, and again when a log lost records that were not read yet."""

    source: Stream
    bus: Bus
    positions: Positions
    mover: Mover
    parts: Parts
    replay: Replay
    resend: Callable[[str], None] | None
    archives: Archives = NoArchives()

    async def find_start(self) -> tuple[Epoch, Mapping[int, Position]]:
        """The epoch, and the position of each partition. Interrupted intents are recovered when this returns."""
        name = self.source.name
        await self.bus.ensure(self.source.topic)
        log_id, ends = await self.bus.log_id(name), await self.bus.ends(name)
        if not log_id:
            raise StoreError(f"the bus made no topic {name}")
        await self._restore_positions(log_id, ends)
        epoch = await self.positions.epoch(name)
        known = await self.positions.positions(name)
        difference = await self._compare_log(epoch, log_id, known, ends) if epoch else "new"
        await self._recover_intents(await self.positions.intents(name), {} if difference else ends)
        known = await self.positions.positions(name)
        if epoch is not None:
            if not difference:
                return epoch, {
                    number: await self._start_of(epoch, number, known.get(number), ends[number]) for number in ends
                }
            detail = f"{difference}: offsets are counted from the beginning of this log"
            await self._record_loss(epoch.number, known, detail)
        epoch = Epoch(name, epoch.number + 1 if epoch else 1, log_id)
        starts = {partition: Position(epoch.number, partition, log.start) for partition, log in ends.items()}
        await self.positions.begin_epoch(epoch, list(starts.values()))
        return epoch, starts

    async def _compare_log(
        self, epoch: Epoch, log_id: str, known: Mapping[int, Position], ends: Mapping[int, Ends]
    ) -> str:
        """Why this is not the log of the known offsets; empty when it is."""
        if epoch.log_id != log_id:
            return f"topic {self.source.name} is another log than before"
        for partition, position in known.items():
            if partition not in ends or ends[partition].end < position.offset:
                return f"partition {partition} of topic {self.source.name} ends before the offset that was read"
            if position.key and ends[partition].start < position.offset:
                before = await self.bus.peek(self.source.name, partition, position.offset - 1, most=1)
                if not len(before) or before.key(0)[MARK:] != position.key[MARK:]:
                    return f"partition {partition} of topic {self.source.name} holds other records than were read"
        return ""

    async def _start_of(self, epoch: Epoch, partition: int, known: Position | None, ends: Ends) -> Position:
        position = known or Position(epoch.number, partition, ends.start)
        if position.offset >= ends.start:
            return position
        offsets = f"offsets {position.offset} to {ends.start - 1} of partition {partition}"
        await self._record_loss(epoch.number, {partition: position}, f"{offsets} were deleted before they were read")
        return replace(position, offset=ends.start, key=b"")

    async def _record_loss(self, epoch: int, known: Mapping[int, Position], detail: str) -> None:
        """Record the loss in the log and in `gaps`. What the spool still holds is sent again; the rest is in this gap."""
        now = datetime.now(UTC)
        keys = [position.key or (await self._key_before(epoch, number, END))[0] for number, position in known.items()]
        feed = await self.positions.get_feed_state(self.source.name)
        since = min((received_at(key) for key in keys if key), default=feed[1] if feed else now)
        logger(source=self.source.name).error("log lost", detail=detail)
        await self.positions.add_gap(Gap(self.source.name, since, now, "log lost", detail=detail))
        if self.resend:
            self.resend(self.source.name)

    async def _recover_intents(self, intents: tuple[Intent, ...], ends: Mapping[int, Ends]) -> None:
        """In order. When one intent is taken back, so are later ones of its partition: a position skips nothing.

        `ends` are those of the log that the intents belong to. Without them nothing can be read again.
        """
        taken_back: set[tuple[int, int]] = set()
        for intent in intents:
            partition = intent.epoch, intent.partition
            log = ends.get(intent.partition)
            readable = log is not None and log.start <= intent.lo
            is_complete, lost = await self.mover.recover_intent(
                intent, readable=readable, take_back=partition in taken_back
            )
            if is_complete:
                key, _ = await self._key_before(intent.epoch, intent.partition, intent.hi)
                await self.positions.complete(Completion(intent, key, lost))
            else:
                taken_back.add(partition)
                await self.positions.forget(intent)
            logger(source=self.source.name).info(
                "intent recovered", lo=intent.lo, hi=intent.hi, frames=intent.frames, kept=is_complete
            )

    async def _key_before(self, epoch: int, partition: int, below: int) -> tuple[bytes, int]:
        """The key and offset of the last stored frame below an offset; empty and -1 when there is none."""
        sql = KEY_AT.format(table=frames_of(self.source).name)
        values = {"epoch": epoch, "partition": partition, "below": below}
        rows = (await self.mover.warehouse.rows(sql, values)).rows
        if not rows:
            return b"", -1
        connection, sequence, received, offset = rows[0]
        return KEY.pack(source_mark(self.source.name), connection, sequence, received), offset

    # -- a ledger that was lost, or restored from a backup -----------------------------------------------------------------

    async def _restore_positions(self, log_id: str, ends: Mapping[int, Ends]) -> None:
        """Take positions from the frames table where it is ahead of the ledger: the ledger was lost, or is older."""
        epoch = await self.positions.epoch(self.source.name)
        newest = await self._newest_epoch(epoch)
        if newest is None or (epoch is not None and epoch.number > newest):
            return
        stored = {partition: await self._key_before(newest, partition, END) for partition in ends}
        intents = await self.positions.intents(self.source.name)
        if epoch is not None and epoch.number == newest and not await self._is_ledger_behind(newest, stored, intents):
            return
        logger(source=self.source.name).warning("positions restored", epoch=newest, partitions=len(stored))
        for intent in intents:  # the tables show what was moved of them
            await self.mover.warehouse.end_statements(intent.token)
            await self.positions.forget(intent)
        if times := [received_at(key) for key, _ in stored.values() if key]:
            await self._replay_differing(times)
        positions = [Position(newest, number, offset + 1, key) for number, (key, offset) in stored.items() if key]
        log = epoch.log_id if epoch is not None and epoch.number == newest else log_id
        await self.positions.begin_epoch(Epoch(self.source.name, newest, log), positions)

    async def _newest_epoch(self, epoch: Epoch | None) -> int | None:
        """The newest epoch of the frames; archived ones are read only when the ledger knows nothing."""
        frames, archived = frames_of(self.source), self.archives.archived
        rows = (await self.mover.warehouse.rows(NEWEST_EPOCH.format(table=frames.name))).rows
        if not rows and epoch is None and archived.of_dataset(frames.name):
            rows = (await self.mover.warehouse.rows(NEWEST_EPOCH.format(table=all_rows(frames, archived)))).rows
        return rows[0][0] if rows else None

    async def _is_ledger_behind(
        self, epoch: int, stored: Mapping[int, tuple[bytes, int]], intents: Sequence[Intent]
    ) -> bool:
        """Whether a partition has frames that neither a position nor an open intent covers."""
        ends: dict[int, int] = {}
        for partition, position in (await self.positions.positions(self.source.name)).items():
            ends[partition] = position.offset
        for intent in intents:
            if intent.epoch == epoch:
                ends[intent.partition] = max(ends.get(intent.partition, 0), intent.hi)
        return any(offset >= ends.get(partition, 0) for partition, (_, offset) in stored.items())

    async def _replay_differing(self, times: list[datetime]) -> None:
        """Decode again the parts of the last two days whose rows differ from their frames: the lost ledger knew which
        batch was being moved.
        """
        newest = max(times).date()
        for day in (newest - timedelta(days=1), newest):
            for load in await self.parts.close(self.source, day):
                values = {"day": day, "part": part_of(load), "load_id": load.load_id}
                table = all_rows(self.source.dataset, self.archives.archived, day_span(day))
                sql = f"SELECT count() FROM {table} WHERE load_id = {{load_id:UInt64}}"
                rows = int((await self.mover.warehouse.rows(sql, values)).rows[0][0])
                if rows != await self.mover.decoder.count_rows(decode.PART, values):
                    await self.replay.replay_load(day, load)


def received_at(key: bytes) -> datetime:
    """When the record with that key was received."""
    return datetime.fromtimestamp(KEY.unpack(key)[3] / 1e9, UTC)
