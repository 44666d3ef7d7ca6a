"""The import of frames: into their table at the very places that they have in the bundle, then decoded like a replay.

As for documents nothing but the bytes is taken over: this instance's own decode makes the rows, and they are published only
when they are those that the bundle says, but for the moment of decoding. The places (epoch, partition, offset) stay
what they are, so that the pointer of a row is the same at both instances. So an instance that receives the same feed
itself cannot import it: its own frames have such places, and each trade would be shown twice.

Nothing rests on frames until a load is published, and that is the last step. So whatever ended in between, the next
import compares what is there of the part with the bundle's fingerprint: the same is left, anything else is taken
back and done again.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from spotlightd.errors import FormatError, StoreError
from spotlightd.flows.bundle import frames
from spotlightd.flows.bundle.frames import Group
from spotlightd.flows.bundle.outcome import Brought, hold, told
from spotlightd.flows.bundle.select import mark_of
from spotlightd.flows.loads.load import IngestContext
from spotlightd.flows.loads.publish import current
from spotlightd.flows.stream.move import Mover
from spotlightd.flows.stream.replay import Replay
from spotlightd.model.archive import Fingerprint
from spotlightd.model.bundle import Frames, Opened, Packed
from spotlightd.model.offsets import Intent
from spotlightd.model.provenance import Load
from spotlightd.model.stream import Stream, frames_of
from spotlightd.sql import decode
from spotlightd.sql.tiers import Archives
from spotlightd.sql.visibility import rows as stored

WITHIN = "epoch = {epoch:UInt16} AND partition = {partition:UInt16} AND offset BETWEEN {lo:UInt64} AND {hi:UInt64}"


@dataclass(frozen=True, slots=True)
class Receiving:
    """Imports parts of received days of one stream. One at a time, by the holder of the state folder's lock."""

    source: Stream
    stores: IngestContext
    archives: Archives
    replay: Replay

    async def part(self, packed: Packed, part: Frames, bundle: Opened) -> Brought:
        """One part, its frames kept, decoded and published, or the reason why not."""
        known = await self._shown(packed.covers)
        if known is not None and await self._mark(part) != part.mark:
            says = "another instance's frames are here under that name: import these into a state folder of their own"
            return Brought(self.source.name, packed.covers, "refused", says=says)
        if known is not None and known.parser == self.source.parser:
            return told(self.source, packed, await self._rows(known), "here")
        if known is None:
            await self._keep(part, bundle)
        found: dict[str, Fingerprint] = {}

        async def proof(begun: Load) -> None:
            found.update(await self._rows(begun))
            hold(self.source, packed, found)

        try:
            await self.replay.made(part.day, packed.digest, packed.covers, proof)
        except FormatError as problem:
            if known is None:
                await self._forget(part)
            return Brought(self.source.name, packed.covers, "refused", says=str(problem))
        return told(self.source, packed, found, "imported")

    async def _shown(self, covers: str) -> Load | None:
        published = current(await self.stores.ledger.loads(self.source.name, states=("published",)))
        return next((one for one in published if one.covers == covers), None)

    async def _mark(self, part: Frames) -> Fingerprint:
        return await frames.mark_of(self.stores.warehouse, self.source, self.archives, part.day, part.part)

    async def _rows(self, load: Load) -> dict[str, Fingerprint]:
        dataset = self.source.dataset
        return {dataset.name: await mark_of(self.stores.warehouse, dataset, load.load_id, self.archives)}

    async def _keep(self, part: Frames, bundle: Opened) -> None:
        """All frames of the part are in the table when this returns, each once, and nothing else at their places."""
        found = await self._mark(part)
        if found != part.mark:
            if found.rows:
                await self._forget(part)
            await self._insert(part, bundle)
        try:
            await self._alone(part)
        except FormatError:
            await self._forget(part)
            raise

    async def _insert(self, part: Frames, bundle: Opened) -> None:
        mover, many = Mover(self.source, self.stores.warehouse, self.replay.decoder), 0
        try:
            async for group in frames.groups(self.source, part.day, _bytes(part, bundle)):
                await mover.keep(self._intent(part, group), group.records, np.array(group.repeats, "u1"))
                many += len(group.records)
        except FormatError:
            await self._forget(part)
            raise
        found = await self._mark(part)
        if found.rows != many:
            raise StoreError(f"{many} frames were written, and the warehouse holds {found.rows}: is its disk full?")
        if found != part.mark:
            await self._forget(part)
            raise FormatError(
                f"the frames of {part.day}, part {part.part}, are not those that the bundle's manifest says"
            )

    def _intent(self, part: Frames, group: Group) -> Intent:
        """Where the frames go. It is not written to the ledger: until they are published nobody looks for them."""
        lo, hi = group.records.offsets[0], group.records.offsets[-1] + 1
        return Intent(
            self.source.name, group.epoch, group.partition, lo, hi, len(group.records), part.day, part.part, 0,
            self.source.parser, secrets.token_hex(4),
        )  # fmt: skip

    async def _alone(self, part: Frames) -> None:
        """That no other frame has a place of one of these: the pointer of a row must lead to one frame."""
        table, values = frames_of(self.source), {"day": part.day, "part": part.part}
        every = stored(table, self.archives.cold)
        spans = f"SELECT epoch, partition, min(offset), max(offset) FROM {table.name} WHERE {decode.PART} GROUP BY 1, 2"
        for epoch, partition, lo, hi in (await self.stores.warehouse.rows(spans, values)).rows:
            within = {"epoch": epoch, "partition": partition, "lo": lo, "hi": hi}
            others = f"SELECT offset FROM {every} WHERE {WITHIN} AND NOT ({decode.PART})"
            sql = f"SELECT count() FROM {table.name} WHERE {WITHIN} AND {decode.PART} AND offset IN ({others})"
            if (await self.stores.warehouse.rows(sql, values | within)).rows[0][0]:
                raise FormatError(
                    f"other frames of {self.source.name} are here at the places of those of {part.day}: they were received by"
                    " another instance; import these into a state folder of their own (--state)"
                )

    async def _forget(self, part: Frames) -> None:
        values = {"day": part.day, "part": part.part}
        await self.stores.warehouse.execute(f"DELETE FROM {frames_of(self.source).name} WHERE {decode.PART}", values)


async def _bytes(part: Frames, bundle: Opened) -> AsyncIterator[bytes]:
    for name in part.members:
        async for chunk in bundle.read(name):
            yield chunk
