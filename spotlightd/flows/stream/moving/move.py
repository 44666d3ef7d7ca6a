"""Moves one intent: frames unchanged into the source's frames table, then the source's SELECT over exactly those offsets.

Each statement carries a token made of the offsets. Before a statement is repeated, any earlier attempt that still runs
is ended, and the rows are counted: what is complete stays, what is there in part is deleted and written again. The token
is only a second safeguard, because it does not recognise a repeat that is cut into other blocks.

Frames and rows are counted before an intent is done: an engine on a full disk once answered that it had written rows,
and had kept none.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from spotlightd.errors import StoreError
from spotlightd.flows.stream.decode import Decoder
from spotlightd.flows.stream.sequences import DAY_NANOSECONDS, keys_of
from spotlightd.log import logger
from spotlightd.model.bus import Records
from spotlightd.model.offsets import Intent, LostFrame
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode

PIECE_BYTES = 1 << 20
FINISH_SECONDS = 4.0  # at a stop, moves may finish for so long; what does not is recovered at the next start
BY_RECEIVED = "toYYYYMMDD(received)"
OF_INTENT = f"source = {{source:String}} AND load_id = {{load_id:UInt64}} AND {decode.SPAN}"
BY_INTENT = "roundDown(offset, {starts:Array(UInt64)}) AS start"
SCHEMA = pa.schema([
    ("epoch", pa.uint16()), ("partition", pa.uint16()), ("offset", pa.uint64()), ("part", pa.uint16()),
    ("connection", pa.uint64()), ("sequence", pa.uint64()), ("received", pa.timestamp("ns", "UTC")),
    ("repeat", pa.uint8()), ("frame", pa.binary()),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mover:
    """Moves the frames of one stream."""

    source: Stream
    warehouse: Warehouse
    decoder: Decoder

    async def insert_frames(self, intent: Intent, records: Records, repeats: Any) -> None:
        """Insert the frames as one block. They are counted when they are decoded."""
        await self.warehouse.insert_stream(
            frames_of(self.source),
            _split_bytes(_frames_block(intent, records, repeats)),
            token=f"{intent.token}-frames",
        )

    async def count_frames(self, intent: Intent) -> int:
        """How many of the intent's frames are in the table."""
        table = frames_of(self.source).name
        sql = f"SELECT count() FROM {table} WHERE {decode.SPAN}"
        return int((await self.warehouse.rows(sql, _intent_values(intent))).rows[0][0])

    async def decode(self, intent: Intent) -> tuple[int, list[LostFrame]]:
        """Decode frames that are in the table and have no rows yet. Returns the number of rows and the rejected frames."""
        return await self.decoder.insert(decode.SPAN, _intent_values(intent), token=intent.token, strict=True)

    async def check_counts(self, rows: Mapping[Intent, int], since: datetime | None = None) -> None:
        """StoreError unless the warehouse holds the frames of these intents and so many rows of each, once. `since` is when
        the first of the frames was received.

        The intents are of one partition and one load, in order. One statement counts all, because a statement costs more
        than counting; two scalar subqueries cost a third more than this union.
        """
        intents = list(rows)
        which, values = self._rows_condition(intents[0], since)
        values |= {"hi": intents[-1].hi, "starts": [intent.lo for intent in intents]}
        sql = (
            f"SELECT 'frames', {BY_INTENT}, count() FROM {frames_of(self.source).name} WHERE {decode.SPAN} GROUP BY start"
            f" UNION ALL SELECT 'rows', {BY_INTENT}, count() FROM {self.source.dataset.name} WHERE {which} GROUP BY start"
            " SETTINGS max_threads = 1"
        )
        counts = {(kind, start): count for kind, start, count in (await self.warehouse.rows(sql, values)).rows}
        for intent in intents:
            frames, decoded = counts.get(("frames", intent.lo), 0), counts.get(("rows", intent.lo), 0)
            if (frames, decoded) != (intent.frames, rows[intent]):
                raise StoreError(
                    f"{intent.frames} frames and {rows[intent]} rows of {self.source.name} were written, and the warehouse"
                    f" holds {frames} and {decoded}: is its disk full?"
                )

    async def count_rows(self, intent: Intent) -> int:
        """How many rows of the intent are in the table."""
        which, values = self._rows_condition(intent)
        sql = f"SELECT count() FROM {self.source.dataset.name} WHERE {which}"
        return int((await self.warehouse.rows(sql, values)).rows[0][0])

    def _rows_condition(self, intent: Intent, since: datetime | None = None) -> tuple[str, dict[str, Any]]:
        """The condition of the intent's rows. Where the table is partitioned by `received`, older parts are not read, so
        the cost does not grow with the day.
        """
        values = _intent_values(intent)
        if self.source.dataset.partition != BY_RECEIVED:
            return OF_INTENT, values
        values["since"] = since or datetime.combine(intent.day, time(), UTC)
        return f"{OF_INTENT} AND received >= {{since:DateTime64(6, 'UTC')}}", values

    async def recover_intent(
        self, intent: Intent, *, readable: bool, take_back: bool = False
    ) -> tuple[bool, list[LostFrame]]:
        """Finish an interrupted intent. Returns whether its frames are in the table, and the rejected frames.

        When frames are missing, or `take_back` is set, everything of the intent is deleted and it is moved again later.
        Frames that can no longer be read from the log are never deleted.
        """
        await self.warehouse.end_statements(intent.token)
        is_complete = await self.count_frames(intent) == intent.frames
        is_changed = intent.decode != self.source.parser
        if is_changed:
            logger(source=self.source.name).warning("decode changed", was=intent.decode, now=self.source.parser)
        if not is_complete or (readable and (take_back or is_changed)):
            await self.delete(intent)
            return False, []
        values = _intent_values(intent)
        if await self.count_rows(intent) == await self.decoder.count_rows(decode.SPAN, values):
            return True, await self.decoder.list_rejects(decode.SPAN, values)
        await self.delete_rows(intent)
        token = f"{intent.token}-again-{secrets.token_hex(4)}"
        rows, lost = await self.decoder.insert(decode.SPAN, values, token=token)
        await self.check_counts({intent: rows})
        return True, lost

    async def delete(self, intent: Intent) -> None:
        """Delete the frames and rows of an intent."""
        await self.delete_rows(intent)
        await self.warehouse.execute(
            f"DELETE FROM {frames_of(self.source).name} WHERE {decode.SPAN}", _intent_values(intent)
        )

    async def delete_rows(self, intent: Intent) -> None:
        if await self.count_rows(intent):
            await self.warehouse.execute(
                f"DELETE FROM {self.source.dataset.name} WHERE {OF_INTENT}", _intent_values(intent)
            )


def _intent_values(intent: Intent) -> dict[str, Any]:
    return {
        "epoch": intent.epoch, "partition": intent.partition, "lo": intent.lo, "hi": intent.hi,
        "load_id": intent.load_id, "source": intent.source,
    }  # fmt: skip


def _frames_block(intent: Intent, records: Records, repeats: Any) -> pa.Buffer:
    keys = keys_of(records)
    count = len(records)
    columns = [
        pa.array(np.full(count, intent.epoch, "u2")),
        pa.array(np.full(count, intent.partition, "u2")),
        pa.array(np.asarray(records.offsets, "u8")),
        pa.array(np.full(count, intent.part, "u2")),
        pa.array(np.ascontiguousarray(keys["connection"])),
        pa.array(np.ascontiguousarray(keys["sequence"])),
        pa.array(np.ascontiguousarray(keys["received"]).astype("i8")).cast(SCHEMA.field("received").type),
        pa.array(repeats),
        _binary_array(records.values),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    return sink.getvalue()


def _binary_array(values: Sequence[bytes]) -> pa.Array:
    """A column of bytes, built without a Python object for each value: the cumulated lengths, and all bytes in a row."""
    ends = np.fromiter(map(len, values), "i8", len(values)).cumsum()
    offsets = np.concatenate([[0], ends]).astype("i4")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


async def _split_bytes(block: pa.Buffer) -> AsyncIterator[bytes]:
    """The block in pieces. In one piece it would be copied twice as a whole, which would block the event loop."""
    for start in range(0, block.size, PIECE_BYTES):
        yield block[start : start + PIECE_BYTES].to_pybytes()


def split_by_day(records: Records) -> Sequence[Records]:
    """The records in pieces of one received day each, in order."""
    days = keys_of(records)["received"] // np.uint64(DAY_NANOSECONDS)
    edges = [0, *(int(index) + 1 for index in np.flatnonzero(np.diff(days))), len(records)]
    return [records.slice(first, last) for first, last in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Move:
    """A piece that is being moved. `frames_inserted` is set as soon as it is known whether its frames are in their table."""

    task: asyncio.Task[None]
    frames_inserted: asyncio.Future[bool]


async def wait_for_move(task: asyncio.Task[None]) -> None:
    """Wait for a move, and raise its failure. When the wait is cancelled, the move goes on."""
    await asyncio.wait([task])
    task.result()


async def finish_moves(moves: Collection[asyncio.Task[None]]) -> None:
    """Let running moves finish for a while, then cancel them. The recovery deals with what they left.

    No move runs any more when this returns, however often it is cancelled meanwhile: a move that finished beside the
    recovery would write to the tables what the recovery has just written.
    """
    cancelled: asyncio.CancelledError | None = None
    seconds: float | None = FINISH_SECONDS
    while waiting := [task for task in moves if not task.done()]:
        try:
            await asyncio.wait(waiting, timeout=seconds)
        except asyncio.CancelledError as cancel:
            cancelled = cancel
        seconds = None
        for task in waiting:
            task.cancel()
    for task in moves:
        if not task.cancelled() and (problem := task.exception()):
            logger().warning("move not completed", error=str(problem))
    if cancelled is not None:
        raise cancelled
