"""The import of frames: inserted at the positions that they have in the bundle, then decoded like a replay.

Only the bytes are taken over, as for documents: this instance's own decoder makes the rows, and they are published only
when they equal the bundle's rows in everything but the moment of decoding. The positions (epoch, partition, offset) are
kept, so that the pointer of a row is the same at both instances. For that reason an instance that receives the same
feed itself cannot import it: its own frames have the same positions, and each trade would appear twice.

Publishing the load is the last step, and nothing depends on the frames before it. After an interruption the next import
therefore compares the stored frames of the part with the bundle's fingerprint: equal frames stay, anything else is
deleted and inserted again.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from spotlightd.errors import FormatError, StoreError
from spotlightd.flows.bundle import frames
from spotlightd.flows.bundle.frames import FrameGroup
from spotlightd.flows.bundle.outcome import ImportOutcome, make_outcome, require_same_rows
from spotlightd.flows.bundle.select import fingerprint_load
from spotlightd.flows.loads.context import IngestContext
from spotlightd.flows.stream.moving.move import Mover
from spotlightd.flows.stream.replay import Replay
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Frames, PackedLoad
from spotlightd.model.offsets import Intent
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.storage import OpenBundle
from spotlightd.sql import decode
from spotlightd.sql.tiers import Archives
from spotlightd.sql.visibility import all_rows as stored_rows

WITHIN = "epoch = {epoch:UInt16} AND partition = {partition:UInt16} AND offset BETWEEN {lo:UInt64} AND {hi:UInt64}"


@dataclass(frozen=True, slots=True)
class FrameImporter:
    """Imports parts of received days of one stream, one at a time. Its user holds the lock of the state folder."""

    source: Stream
    context: IngestContext
    archives: Archives
    replay: Replay

    async def import_part(self, packed: PackedLoad, part: Frames, bundle: OpenBundle) -> ImportOutcome:
        """Store, decode and publish the frames of one part, or return the reason why not."""
        visible = await self._visible_load(packed.covers)
        if visible is not None and await self._fingerprint(part) != part.mark:
            detail = (
                "this instance has frames of another instance under that name: import these into a separate state"
                " folder (--state DIR)"
            )
            return ImportOutcome(self.source.name, packed.covers, "refused", detail=detail)
        if visible is not None and visible.parser == self.source.parser:
            return make_outcome(self.source, packed, await self._row_fingerprints(visible), "here")
        if visible is None:
            await self._store(part, bundle)
        fingerprints: dict[str, Fingerprint] = {}

        async def prove(begun: Load) -> None:
            fingerprints.update(await self._row_fingerprints(begun))
            require_same_rows(self.source, packed, fingerprints)

        try:
            await self.replay.make_load(part.day, packed.digest, packed.covers, prove)
        except FormatError as problem:
            if visible is None:
                await self._delete(part)
            return ImportOutcome(self.source.name, packed.covers, "refused", detail=str(problem))
        return make_outcome(self.source, packed, fingerprints, "imported")

    async def _visible_load(self, covers: str) -> Load | None:
        visible = await self.context.ledger.related_loads(self.source.name, covers)
        return next((load for load in visible if load.covers == covers), None)

    async def _fingerprint(self, part: Frames) -> Fingerprint:
        return await frames.fingerprint_frames(self.context.warehouse, self.source, self.archives, part.day, part.part)

    async def _row_fingerprints(self, load: Load) -> dict[str, Fingerprint]:
        dataset = self.source.dataset
        fingerprint = await fingerprint_load(self.context.warehouse, dataset, load.load_id, self.archives)
        return {dataset.name: fingerprint}

    async def _store(self, part: Frames, bundle: OpenBundle) -> None:
        """Afterwards the table holds all frames of the part, each once, and no other frame at their positions."""
        stored = await self._fingerprint(part)
        if stored != part.mark:
            if stored.rows:
                await self._delete(part)
            await self._insert(part, bundle)
        try:
            await self._check_positions(part)
        except FormatError:
            await self._delete(part)
            raise

    async def _insert(self, part: Frames, bundle: OpenBundle) -> None:
        mover, inserted = Mover(self.source, self.context.warehouse, self.replay.decoder), 0
        try:
            async for group in frames.read_groups(self.source, part.day, _read_members(part, bundle)):
                await mover.insert_frames(self._intent(part, group), group.records, np.array(group.repeats, "u1"))
                inserted += len(group.records)
        except FormatError:
            await self._delete(part)
            raise
        stored = await self._fingerprint(part)
        if stored.rows != inserted:
            raise StoreError(
                f"{inserted} frames were inserted, and the warehouse holds {stored.rows}: is its disk full?"
            )
        if stored != part.mark:
            await self._delete(part)
            raise FormatError(f"the frames of {part.day}, part {part.part}, do not match the bundle's manifest")

    def _intent(self, part: Frames, group: FrameGroup) -> Intent:
        """Where the frames go. The ledger does not record it: nothing uses the frames before they are published."""
        lo, hi = group.records.offsets[0], group.records.offsets[-1] + 1
        return Intent(
            self.source.name, group.epoch, group.partition, lo, hi, len(group.records), part.day, part.part, 0,
            self.source.parser, secrets.token_hex(4),
        )  # fmt: skip

    async def _check_positions(self, part: Frames) -> None:
        """FormatError when another frame has the position of one of these: a pointer must lead to one frame."""
        table, values = frames_of(self.source), {"day": part.day, "part": part.part}
        all_frames = stored_rows(table, self.archives.archived)
        spans = f"SELECT epoch, partition, min(offset), max(offset) FROM {table.name} WHERE {decode.PART} GROUP BY 1, 2"
        for epoch, partition, lo, hi in (await self.context.warehouse.rows(spans, values)).rows:
            within = {"epoch": epoch, "partition": partition, "lo": lo, "hi": hi}
            others = f"SELECT offset FROM {all_frames} WHERE {WITHIN} AND NOT ({decode.PART})"
            sql = f"SELECT count() FROM {table.name} WHERE {WITHIN} AND {decode.PART} AND offset IN ({others})"
            if (await self.context.warehouse.rows(sql, values | within)).rows[0][0]:
                raise FormatError(
                    f"other frames of {self.source.name} are stored at the positions of those of {part.day}: another"
                    " instance received them; import these into a separate state folder (--state DIR)"
                )

    async def _delete(self, part: Frames) -> None:
        values = {"day": part.day, "part": part.part}
        await self.context.warehouse.execute(f"DELETE FROM {frames_of(self.source).name} WHERE {decode.PART}", values)


async def _read_members(part: Frames, bundle: OpenBundle) -> AsyncIterator[bytes]:
    for name in part.members:
        async for chunk in bundle.read(name):
            yield chunk
